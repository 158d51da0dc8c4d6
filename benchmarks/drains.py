"""Whether a prediction log stays quick to write: 600 drains of a server's journal, a compaction, and 50 drains more.

    python -m benchmarks.drains                               about a minute
    python -m benchmarks.drains --drains 60 --rows 20

A drain is timed from the closed journal file to its end: lines read, appended to the Delta table and committed there
and in the database, file taken away, the log tidied where it has become many small files. The rides are ordered for
today and the two days after it, so an append touches three partitions. The last drains, and those after the compaction,
take turns with drains of a project that has just begun: so the ratios are of the same minute, whatever else the machine
does. ``open`` is what a process that has just started takes to find the newest state of the table, ``read`` what it
takes to count a day's lines; CPU is that of all threads.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import polars as pl

from perene.app import App, open_project
from perene.clock import machine_clock
from perene.pipelines.drain import drain
from perene.pipelines.journaling import AnsweredRows, instant
from perene.records.identity import new_ids
from perene.storage.envelope import Log
from perene.storage.journal import Journal
from perene.storage.lake import Lake

RIDES, MODEL = Path(__file__).parent / "rides", "ride-minutes"
PART = 50
COLUMNS = ("drain ms", "CPU ms", "slowest ms", "open ms", "read ms")
Took = list[tuple[float, float]]
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


def main(drains: int, rows: int) -> None:
    """Drain, compact, drain, and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        old = Server(Path(folder) / "old")
        part = min(PART, drains // 3)
        print(f"{drains} drains of {rows} lines\n{'':36}" + "".join(f"{what:>12}" for what in COLUMNS))
        show(f"first {part}", old, [old.drain(rows) for _ in range(part)])
        for _ in range(drains - 2 * part):
            old.drain(rows)
        take_turns(f"last {part}", old, Server(Path(folder) / "young"), part, rows)
        start = perf_counter()
        old.app.lake.compact(MODEL, Log.PREDICTIONS)
        print(f"compaction: {perf_counter() - start:.2f} s")
        take_turns(f"{part} after it", old, Server(Path(folder) / "younger"), part, rows)
        lines = old.app.lake.scan(MODEL, Log.PREDICTIONS).select(pl.len()).collect().item()
        print(f"lines in the log: {lines:,} of {(drains + part) * rows:,}")
        old.close()


class Server:
    """What a server process drains: its project, its journal, and how often it has."""

    def __init__(self, place: Path) -> None:
        self.app = open_project(shutil.copytree(RIDES, place))
        self.journal = Journal(place / ".perene" / "journal", "w1")
        self.drains = 0

    def drain(self, rows: int) -> tuple[float, float]:
        """Answer some rides and drain them; returns the seconds of the drain, and of CPU."""
        self.journal.write(rows_of(self.app, self.drains, rows).entries(MODEL))
        self.journal.rotate()
        self.drains += 1
        start, cpu = perf_counter(), process_time()
        done = drain(self.journal.closed(), self.app.logs)
        took = perf_counter() - start, process_time() - cpu
        assert (done.files, done.predictions, done.failures) == (1, rows, [])
        return took

    def close(self) -> None:
        """Let go of its files."""
        self.journal.close()
        self.app.close()


def take_turns(what: str, old: Server, young: Server, times: int, rows: int) -> None:
    """Drain both, one after the other, and print a line of each and the ratios of their medians."""
    young.drain(rows)  # makes its table
    both = [(old.drain(rows), young.drain(rows)) for _ in range(times)]
    aged = show(what, old, [pair[0] for pair in both])
    fresh = show("  a young project meanwhile", young, [pair[1] for pair in both])
    print(f"{'  ratio':36}" + "".join(f"{late / early:12.2f}" for late, early in zip(aged, fresh, strict=True)))
    young.close()


def rows_of(app: App, number: int, rows: int) -> AnsweredRows:
    """Answered rides of the minute of this number."""
    model = app.model(MODEL)
    source = model.source_hook.function.__globals__
    table = source["source"](source["FIRST"], source["FIRST"] + timedelta(days=1)).head(rows)
    at = BEGIN + timedelta(minutes=number)
    ordered = pl.Series([at + timedelta(days=i % 3) for i in range(rows)]).cast(pl.Datetime("us", "UTC"))
    rides = table.with_columns(ordered_at=ordered, number=number * rows + pl.int_range(rows))
    said, request = instant(at), plain_values(rides.select(*model.schema.polars)).to_dict(as_series=False)
    ids = new_ids(at, rows)
    return AnsweredRows(
        prediction_id=ids, request_id=ids, position=[0] * rows, model_version=1, recipe="recipe",
        event_at=request["ordered_at"], predicted_at=said, recorded_at=said, request=request, raw=[20.0] * rows,
        steps=[[]] * rows, final=[20.0] * rows,
    )  # fmt: skip


def plain_values(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows as a journal keeps them: instants are microseconds."""
    return frame.with_columns(pl.col(pl.Datetime).cast(pl.Int64))


def show(what: str, server: Server, took: Took) -> tuple[float, float]:
    """A line of the table; returns the medians of a drain's time and CPU time."""
    opened, read = [], []
    for _ in range(3):
        lake = Lake(server.app.settings.storage, server.app.database, machine_clock)
        start = perf_counter()
        lines = lake.scan(MODEL, Log.PREDICTIONS, days=[BEGIN.date()])
        opened.append(perf_counter() - start)
        lines.select(pl.len()).collect()
        read.append(perf_counter() - start)
    usual, cpu = (median(seconds) for seconds in zip(*took, strict=True))
    cells = (usual, cpu, max(took)[0], median(opened), median(read))
    print(f"{what:36}" + "".join(f"{seconds * 1e3:12.1f}" for seconds in cells), flush=True)
    return usual, cpu


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--drains", type=int, default=600)
    options.add_argument("--rows", type=int, default=200, help="a drain")
    given = options.parse_args()
    main(given.drains, given.rows)
