"""What a dataset version costs while its table grows by 100,000 rides a day to 4.2 million, with a version each night.

    python -m benchmarks.versions                     about five minutes
    python -m benchmarks.versions --rides 2000        so many rides a day

Each version holds the whole table so far (``train_on="365d"``, the last two days are tested on): the hardest case, as
its window grows with the table. Each night brings a day, corrections of the days before it and labels that came late.
Printed are how long it takes to collect and to cut a version, at the end beside the beginning; the bytes on disk
(tables and database, after compaction and vacuum) beside the same rows written once as one Delta table by the same
writer; and whether version 12 reads back row by row as it did in its night. The hour that vacuum leaves to readers is
taken to be over. CPU seconds are of all threads of this process: other work on the machine does not count in them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import polars as pl
from deltalake import write_deltalake

from perene.app import App, open_project
from perene.pipelines.data import collect, cut
from perene.storage.envelope import Log

RIDES, MODEL = Path(__file__).parent / "rides", "ride-minutes"
DAY = timedelta(days=1)
OLD = 12  # the version that is read again at the end
FIRST, EARLY = 3, 11  # the night of the first version, and the one beside which the last one stands


def main(rides: int, days: int) -> None:
    """Live through the nights, and print the tables."""
    os.environ |= {"RIDES_A_DAY": str(rides), "RIDES_TEST_DAYS": "2"}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        app = open_project(shutil.copytree(RIDES, place / "rides"))
        took: dict[str, list[float]] = {f"{what} {unit}": [] for what in ("collect", "cut") for unit in ("s", "CPU s")}
        for night in range(FIRST, days + 1):
            live(app, night, took)
            if app.datasets.latest(MODEL).version == OLD:
                app.datasets.read(app.model(MODEL), OLD).write_parquet(place / "aside.parquet")
        show_times(took, rides, days)
        show_bytes(app, place)
        show_old(app, place / "aside.parquet")
        app.close()


def live(app: App, night: int, took: dict[str, list[float]]) -> None:
    """One night: the table has so many days, and a version is cut."""
    model = app.model(MODEL)
    first = model.source_hook.function.__globals__["FIRST"]
    place = {"now": first + night * DAY + timedelta(hours=7), "lake": app.lake, "database": app.database}
    for what, deed in (("collect", collect), ("cut", cut)):
        start, cpu = perf_counter(), process_time()
        deed(model, **place)
        took[f"{what} s"].append(perf_counter() - start)
        took[f"{what} CPU s"].append(process_time() - cpu)


def show_times(took: dict[str, list[float]], rides: int, days: int) -> None:
    """Seconds by night: medians of a night and those before and after it."""
    print(f"{'medians of 3 nights':28}" + "".join(f"{what:>15}" for what in took))
    nights = sorted({min(EARLY, days - 1), (EARLY + days) // 2, days - 1})
    middle = [[median(s[night - FIRST - 1 : night - FIRST + 2]) for s in took.values()] for night in nights]
    for night, seconds in zip(nights, middle, strict=True):
        print(f"{f'night {night}, {night * rides:,} rows':28}" + "".join(f"{s:15.2f}" for s in seconds))
    ratios = (late / early for early, late in zip(middle[0], middle[-1], strict=True))
    print(f"{f'night {nights[-1]} beside night {nights[0]}':28}" + "".join(f"{ratio:15.2f}" for ratio in ratios))


def show_bytes(app: App, place: Path) -> None:
    """What lies on disk, beside the same rows written once."""
    before = size(place / "rides" / ".perene")
    app.lake.compact(MODEL, Log.EXAMPLES)
    app.lake.vacuum(MODEL, Log.EXAMPLES, keep=timedelta(0))
    after = size(place / "rides" / ".perene")
    said, held = write_once(app, place)
    versions = app.datasets.latest(MODEL).version
    print(f"\n{'bytes on disk':44}{'MB':>8}{'ratio':>8}")
    for what, many in (
        (f"{versions} versions", before),
        (f"{versions} versions, compacted and vacuumed", after),
        ("every row that was said, written once", said),
        ("the rows of the last version, written once", held),
    ):
        print(f"{what:44}{many / 1e6:8.1f}{after / many:8.2f}")


def write_once(app: App, place: Path) -> tuple[int, int]:
    """The bytes of a Delta table of all that was said, and of one of what the last version holds."""
    version = app.datasets.latest(MODEL)
    columns = app.lake.scan(MODEL, Log.EXAMPLES).collect_schema().names()
    for day in (version.since.date() + i * DAY for i in range((version.until - version.since).days)):
        said = app.lake.scan(MODEL, Log.EXAMPLES, days=[day]).collect()
        newest = said.sort("ingest").unique(["key", "event_at"], keep="last", maintain_order=True)
        for name, rows in (("said", said), ("held", newest.filter(~pl.col("retracted")))):
            if rows.height:
                write_deltalake(place / name, rows.select(columns), mode="append", partition_by=["day"])
    assert pl.scan_delta(place / "held").select(pl.len()).collect().item() == version.rows
    return size(place / "said"), size(place / "held")


def show_old(app: App, aside: Path) -> None:
    """Whether an old version is what it was."""
    if not aside.exists():
        return
    model = app.model(MODEL)
    now, then = app.datasets.read(model, OLD), pl.read_parquet(aside)
    proof = app.datasets.verify(model, OLD)
    last = app.datasets.latest(MODEL)
    changed = app.datasets.read(model, last).join(then, on=["key", "event_at"], suffix="_then")
    other = changed.filter(pl.col("km") != pl.col("km_then")).height
    print(f"\nversion {OLD}: {now.height:,} rows; as set aside in its night: {now.equals(then)}; digest: {proof.ok}"
          f"\n(in version {last.version}, {other:,} of these rows are corrected)")  # fmt: skip


def size(folder: Path) -> int:
    """The bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rides", type=int, default=100_000, help="a day")
    options.add_argument("--days", type=int, default=42)
    given = options.parse_args()
    main(given.rides, given.days)
