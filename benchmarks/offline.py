"""What offline predictions cost: computed in bulk, stored, and looked up while a load runs.

    python -m benchmarks.offline                      about five minutes on two quiet cores
    python -m benchmarks.offline --rows 200000        a smaller table
    python -m benchmarks.offline --memory 10000000    the peak memory of so many rows, and nothing else

The model is the demo's with LightGBM (200 trees of 63 leaves, one thread), on SQLite. *Bare* is what one would write by
hand: the Parquet file read batch by batch, the feature code, and LightGBM's booster called natively; nothing is
checked, post-processed or kept. *Stored* is ``App.store`` of the same file: read, checked, predicted, post-processed,
encoded, written, indexed and on the disk. They run in turn, so that a ratio is of the same minutes. Look-ups are sent
by wrk (Debian: apt-get install wrk) over 32 connections, each of which pauses at random between two, alone and while
``perene predict --store`` loads the same table in another process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import polars as pl
from benchmarks.serving.project import NATIVE, ensure_project, recent_flights, rows_of

from perene.app import App
from perene.pipelines.bulk import batches_of
from perene.pipelines.predictor import Predictor

PACE, CONNECTIONS, SECONDS, ROUNDS = 500, 32, 10, 3
LOAD = Path(__file__).parent / "serving" / "load.lua"
SERVE = """
import sys
from pathlib import Path
from perene.app import open_project
from perene.server.process import serve
serve(open_project(Path(sys.argv[1])), port=0, ready=lambda address: print(address, flush=True))
"""


def main(rows: int, memory: int) -> None:
    """Run all, and print the tables."""
    place = Path(tempfile.gettempdir()) / f"perene-benchmark-{NATIVE.key}" / "project"
    app = ensure_project(NATIVE, place)
    if memory:
        show_memory(app, place, memory)
        return
    table = place.parent / f"{rows}.parquet"
    write_table(app, table, rows)
    print(f"{rows:,} rows of {len(app.model(NATIVE.model).schema.fields)} fields, {table.stat().st_size >> 20} MiB\n")
    show_speed(app, table, rows)
    show_lookups(place, table, rows)
    app.close()
    table.unlink()


def write_table(app: App, path: Path, rows: int) -> None:
    """A table of flights of today and tomorrow, each of its own key."""
    flights = rows_of(app, NATIVE)
    parts = range(0, rows, flights.height)
    lazy = pl.concat([
        flights.lazy().with_row_index("n").with_columns(flight=(pl.col("n") + first).cast(pl.Int64)).drop("n")
        for first in parts
    ])  # fmt: skip
    lazy.head(rows).sink_parquet(path, row_group_size=100_000)


def show_speed(app: App, table: Path, rows: int) -> None:
    """Rows a second, bare and stored."""
    predictor = app.predictor(NATIVE.model)
    bare, stored = [], []
    for _ in range(ROUNDS):
        bare.append(timed(lambda: run_bare(predictor, table)))
        stored.append(timed(lambda: app.store(NATIVE.model, pl.scan_parquet(table), actor="benchmark")))
    ratio = median(b / s for b, s in zip(bare, stored, strict=True))
    print("            seconds   rows/s")
    for name, seconds in (("bare", bare), ("stored", stored)):
        print(f"{name:8}  {median(seconds):9.1f}  {rows / median(seconds):7,.0f}")
    print(f"stored / bare in rows/s: {ratio:.2f} (goal: at least 0.80)")
    print(f"loading 1,000,000: {median(stored) * 1e6 / rows:.0f} s (goal: under 60)\n")


def run_bare(predictor: Predictor, table: Path) -> None:
    """What one would write by hand."""
    for batch in batches_of(pl.scan_parquet(table)):
        features = predictor.model.compute_features(batch)
        assert predictor._native is not None
        predictor._native(features)


def show_lookups(place: Path, table: Path, rows: int) -> None:
    """Latency of look-ups, alone and beside a load, in turn."""
    paths = place.parent / "paths.txt"
    write_paths(paths, rows)
    found: dict[str, list[dict[str, float]]] = {"alone": [], "while a load runs": []}
    is_whole = True
    with server(place) as address:
        paced(address, paths)  # not counted
        for _ in range(ROUNDS):
            found["alone"].append(paced(address, paths))
            command = [sys.executable, "-m", "perene.cli", "predict", NATIVE.model, str(table), "--store"]
            load = subprocess.Popen([*command, "--project", str(place), "-q"], stdout=subprocess.DEVNULL)
            time.sleep(3)  # until it has imported what it needs
            found["while a load runs"].append(paced(address, paths))
            is_whole &= load.poll() is None
            load.wait()
    print(f"look-ups at {PACE} a second, medians of {ROUNDS}     p50 ms   p99 ms   [least – most]   not answered")
    for name, rounds in found.items():
        p50, p99 = (sorted(one[f"{which}_ms"] for one in rounds) for which in ("p50", "p99"))
        failed = sum(one["failed"] for one in rounds)
        print(f"{name:40}  {median(p50):7.2f}  {median(p99):7.2f}   [{p99[0]:.1f} – {p99[-1]:.1f}]   {failed:9,}")
    print("goal: p99 under 5 ms while a load runs" + ("" if is_whole else " (a load ended too early: more --rows)\n"))


def write_paths(path: Path, rows: int) -> None:
    """Look-ups of keys at random."""
    template = recent_flights().select("carrier", "origin").rows()
    flights = np.random.default_rng(0).integers(rows, size=100_000).tolist()
    names = ((flight, *template[flight % len(template)]) for flight in flights)
    lines = (f"/v1/models/{NATIVE.model}/predictions/{carrier},{flight},{origin}" for flight, carrier, origin in names)
    path.write_text("\n".join(lines))


@contextmanager
def server(place: Path) -> Iterator[str]:
    """A server of the project, in a process of its own; its address."""
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(place)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def paced(address: str, paths: Path) -> dict[str, float]:
    """Ask at the pace, by wrk in a process of its own, which is quicker than any client in Python; what it measured."""
    pause_ms = 1_000 * CONNECTIONS / PACE
    options = ["-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--timeout", "10s", "-s", str(LOAD), address]
    done = subprocess.run(
        ["wrk", *options, "--", str(paths), str(pause_ms)], check=True, capture_output=True, text=True
    )
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))


def show_memory(app: App, place: Path, rows: int) -> None:
    """The peak memory of a load of many rows."""
    table = place.parent / f"{rows}.parquet"
    write_table(app, table, rows)
    app.close()
    command = [sys.executable, "-m", "perene.cli", "predict", NATIVE.model, str(table), "--store"]
    seconds = timed(lambda: subprocess.run([*command, "--project", str(place), "-q"], check=True, capture_output=True))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"{rows:,} rows stored in {seconds:.0f} s, peak memory {peak:.2f} GiB (goal: 10,000,000 under 4)")
    table.unlink()


def timed(deed) -> float:
    """How long a deed takes, in seconds."""
    began = perf_counter()
    deed()
    return perf_counter() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--memory", type=int, default=0, metavar="N")
    given = parser.parse_args()
    main(given.rows, given.memory)
