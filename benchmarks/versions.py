"""What a dataset version costs while its table grows by 100,000 rides a day to 4.2 million, with a version each night.

    python -m benchmarks.versions                     about five minutes
    python -m benchmarks.versions --rides 2000        so many rides a day

Each version holds the whole table so far (``train_on="365d"``, the last two days are tested on): the hardest case, as
its window grows with the table. Each night brings a day, corrections of the days before it and labels that came late.
Printed are how long it takes to collect and to cut a version at the end and early on; the bytes on disk (tables and
database, after compaction and vacuum) beside the same rows written once as one Delta table by the same writer; and
whether version 12 reads back row by row as it did in its night. The early nights are lived in a copy of the project,
made then, in turn with the last ones: so their ratio is of the same minute, whatever else the machine does. CPU seconds
are of all threads. The hour that vacuum leaves to readers is taken to be over.
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
COLUMNS = ("collect s", "collect CPU s", "cut s", "cut CPU s")
FIRST, EARLY = 3, 11  # the night of the first version, and the one beside which the last one stands


def main(rides: int, days: int) -> None:
    """Live through the nights, and print the tables."""
    os.environ |= {"RIDES_A_DAY": str(rides), "RIDES_TEST_DAYS": "2"}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        app = open_project(shutil.copytree(RIDES, place / "rides"))
        for night in range(FIRST, days - 2):
            live(app, night)
            if night == EARLY - 2:
                shutil.copytree(place / "rides", place / "early")
            if app.datasets.latest(MODEL).version == OLD:
                app.datasets.read(app.model(MODEL), OLD).write_parquet(place / "aside.parquet")
        early = open_project(place / "early")
        pairs = [(live(early, EARLY - 1 + i), live(app, days - 2 + i)) for i in range(3)]
        show_times(pairs, (EARLY, days - 1), rides)
        early.close()
        show_bytes(app, place)
        show_old(app, place / "aside.parquet")
        app.close()


def live(app: App, night: int) -> list[float]:
    """One night: the table has so many days, and a version is cut. Returns what the columns name."""
    model = app.model(MODEL)
    first = model.source_hook.function.__globals__["FIRST"]
    place = {"now": first + night * DAY + timedelta(hours=7), "lake": app.lake, "database": app.database}
    took = []
    for deed in (collect, cut):
        start, cpu = perf_counter(), process_time()
        deed(model, **place)
        took += [perf_counter() - start, process_time() - cpu]
    return took


def show_times(pairs: list[tuple[list[float], list[float]]], nights: tuple[int, int], rides: int) -> None:
    """Seconds of early and of late nights: medians of a night and those before and after it, and their ratios."""
    print(f"{'medians of 3 nights':28}" + "".join(f"{what:>15}" for what in COLUMNS))
    middle = [[median(seconds) for seconds in zip(*times, strict=True)] for times in zip(*pairs, strict=True)]
    for night, seconds in zip(nights, middle, strict=True):
        print(f"{f'night {night}, {night * rides:,} rows':28}" + "".join(f"{s:15.2f}" for s in seconds))
    ratios = (late / early for early, late in zip(*middle, strict=True))
    print(f"{f'night {nights[1]} beside night {nights[0]}':28}" + "".join(f"{ratio:15.2f}" for ratio in ratios))


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
