"""Whether a prediction log stays quick to write: 600 drains of a server's journal, a compaction, and 50 drains more.

    python -m benchmarks.drains                               about a minute
    python -m benchmarks.drains --drains 60 --rows 20

A drain is timed from the closed journal file to its end: lines read, appended to the Delta table and committed there
and in the database, file taken away. The rides are ordered for today and the two days after it, so an append touches
three partitions. ``open`` is what a process that has just started takes to find the newest state of the table,
``read`` what it takes to count a day's lines.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter

import polars as pl

from perene.app import App, open_project
from perene.clock import machine_clock
from perene.pipelines.drain import drain
from perene.pipelines.journaling import AnsweredRow, instant, records_of
from perene.records.identity import new_ids
from perene.storage.envelope import Log
from perene.storage.journal import Journal
from perene.storage.lake import Lake

RIDES, MODEL = Path(__file__).parent / "rides", "ride-minutes"
PART = 50
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


def main(drains: int, rows: int) -> None:
    """Drain, compact, drain, and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(shutil.copytree(RIDES, Path(folder) / "rides"))
        app = open_project(place)
        journal = Journal(place / ".perene" / "journal", "w1")
        part = min(PART, drains // 3)
        print(f"{drains} drains of {rows} lines\n{'':30}{'drain ms':>10}{'slowest':>10}{'open ms':>10}{'read ms':>10}")
        first = show(app, f"first {part}", [drained(app, journal, n, rows) for n in range(part)])
        times = [drained(app, journal, n, rows) for n in range(part, drains)]
        last = show(app, f"last {part}", times[-part:])
        start = perf_counter()
        app.lake.compact(MODEL, Log.PREDICTIONS)
        compacted = perf_counter() - start
        after = show(app, f"{part} after compaction", [drained(app, journal, drains + n, rows) for n in range(part)])
        print(
            f"{'last beside first':30}{last / first:10.2f}\n{'after compaction beside first':30}{after / first:10.2f}"
        )
        print(f"compaction: {compacted:.2f} s")
        lines = app.lake.scan(MODEL, Log.PREDICTIONS).select(pl.len()).collect().item()
        print(f"lines in the log: {lines:,} of {(drains + part) * rows:,}")
        journal.close()
        app.close()


def drained(app: App, journal: Journal, number: int, rows: int) -> float:
    """Answer some rides and drain them; returns the seconds of the drain."""
    journal.write([line.entry(MODEL) for line in lines_of(app, number, rows)])
    journal.rotate()
    start = perf_counter()
    done = drain(journal.closed(), app.logs)
    seconds = perf_counter() - start
    assert (done.files, done.predictions, done.failures) == (1, rows, [])
    return seconds


def lines_of(app: App, number: int, rows: int) -> list[AnsweredRow]:
    """Answered rides of the minute of this number."""
    model = app.model(MODEL)
    source = model.source_hook.function.__globals__
    table = source["source"](source["FIRST"], source["FIRST"] + timedelta(days=1)).head(rows)
    at = BEGIN + timedelta(minutes=number)
    ordered = pl.Series([at + timedelta(days=i % 3) for i in range(rows)]).cast(pl.Datetime("us", "UTC"))
    rides = table.with_columns(ordered_at=ordered, number=number * rows + pl.int_range(rows))
    said = instant(at)
    return [
        AnsweredRow(
            prediction_id=id_, request_id=id_, position=0, model_version=1, recipe="recipe",
            event_at=record["ordered_at"], predicted_at=said, recorded_at=said, request=record, raw=20.0, steps=[],
            final=20.0,
        )
        for id_, record in zip(new_ids(at, rows), records_of(rides.select(*model.schema.polars)), strict=True)
    ]  # fmt: skip


def show(app: App, what: str, times: list[float]) -> float:
    """A line of the table; returns the median."""
    opened, read = [], []
    for _ in range(3):
        lake = Lake(app.settings.storage, app.database, machine_clock)
        start = perf_counter()
        lines = lake.scan(MODEL, Log.PREDICTIONS, days=[BEGIN.date()])
        opened.append(perf_counter() - start)
        lines.select(pl.len()).collect()
        read.append(perf_counter() - start)
    cells = (median(times), max(times), median(opened), median(read))
    print(f"{what:30}" + "".join(f"{seconds * 1e3:10.1f}" for seconds in cells), flush=True)
    return median(times)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--drains", type=int, default=600)
    options.add_argument("--rows", type=int, default=200, help="a drain")
    given = options.parse_args()
    main(given.drains, given.rows)
