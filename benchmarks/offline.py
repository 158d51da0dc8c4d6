"""What offline predictions cost: computed in bulk, stored, and looked up while a load runs.

    python -m benchmarks.offline                      about five minutes on two quiet cores
    python -m benchmarks.offline --rows 200000        a smaller table
    python -m benchmarks.offline --memory 10000000    the peak memory of so many rows, and nothing else

The model is the demo's with LightGBM (200 trees of 63 leaves, one thread), on SQLite. *Bare* is what one would write by
hand: the Parquet file read batch by batch, the feature code, and LightGBM's booster called natively; nothing is
checked, post-processed or kept. *Stored* is ``App.store`` of the same file: read, checked, predicted, post-processed,
encoded, written, indexed and on the disk. They run in turn, so that a ratio is of the same minutes. Look-ups are sent
at a fixed pace over eight connections and timed from the moment at which they were due, alone and while
``perene predict --store`` loads the same table in another process.
"""

from __future__ import annotations

import argparse
import http.client
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import polars as pl
from benchmarks.serving.project import NATIVE, ensure_project, recent_flights

from perene.app import App
from perene.pipelines.bulk import batches_of
from perene.pipelines.predictor import Predictor

PACE, CONNECTIONS, SECONDS, ROUNDS = 500, 8, 15.0, 3
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
        app.close()
        show_memory(place, memory)
        return
    table = place.parent / f"{rows}.parquet"
    write_table(table, rows)
    print(f"{rows:,} rows of {len(app.model(NATIVE.model).schema.fields)} fields, {table.stat().st_size >> 20} MiB\n")
    show_speed(app, table, rows)
    show_lookups(place, table, rows)
    app.close()
    table.unlink()


def write_table(path: Path, rows: int) -> None:
    """A table of flights, each of its own key."""
    flights = recent_flights().select(pl.exclude("late", "landed_at")) if rows else pl.DataFrame()
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
    """Latency of look-ups, alone and beside a load."""
    with server(place) as port:
        alone = paced(port, rows, lambda: False)
        command = [sys.executable, "-m", "perene.cli", "predict", NATIVE.model, str(table), "--store"]
        load = subprocess.Popen([*command, "--project", str(place), "-q"], stdout=subprocess.DEVNULL)
        beside = paced(port, rows, lambda: load.poll() is not None)
        load.wait()
    print(f"look-ups at {PACE} a second        count   p50 ms   p99 ms   max ms   not answered")
    for name, (took, failed) in (("alone", alone), ("while a load runs", beside)):
        p50, p99, most = (1000 * float(np.quantile(took, q)) for q in (0.5, 0.99, 1.0))
        print(f"{name:28}  {len(took):9,}  {p50:7.2f}  {p99:7.2f}  {most:7.1f}  {failed:13,}")
    print("goal: p99 under 5 ms while a load runs\n")


@contextmanager
def server(place: Path) -> Iterator[int]:
    """A server of the project, in a process of its own; its port."""
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(place)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline().rpartition(":")[2])
    finally:
        process.terminate()
        process.wait()


def paced(port: int, rows: int, is_over) -> tuple[list[float], int]:
    """Ask at the pace; the seconds that each answer took from when it was due, and how many were no answers."""
    template = recent_flights().select("carrier", "origin").rows()
    began, took, failed = perf_counter() + 0.1, [], []

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        noise = np.random.default_rng(number)
        for turn in range(int(SECONDS * PACE / CONNECTIONS)):
            due = began + (turn * CONNECTIONS + number) / PACE
            time.sleep(max(due - perf_counter(), 0))
            if is_over():
                break
            flight = int(noise.integers(rows))
            carrier, origin = template[flight % len(template)]
            connection.request("GET", f"/v1/models/{NATIVE.model}/predictions/{carrier},{flight},{origin}")
            response = connection.getresponse()
            body = response.read()
            took.append(perf_counter() - due)
            if response.status != 200 or b'"stored"' not in body:
                failed.append(json.loads(body))
        connection.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took, len(failed)


def show_memory(place: Path, rows: int) -> None:
    """The peak memory of a load of many rows."""
    table = place.parent / f"{rows}.parquet"
    write_table(table, rows)
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
