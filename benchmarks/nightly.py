"""A night of a model that learns from a million rows: what perene takes around the user's train().

    python -m benchmarks.nightly                          about two minutes
    python -m benchmarks.nightly --rides 200 --days 30    so many rides a day, of so many days

The first night brings everything in at once. Each night after it asks the source again for the days that may have
changed, cuts a dataset version, trains in a child process, compares the candidate with the champion and releases it.
The steps are those that the worker records; train() is a least squares, whose own seconds stand apart. Memory is the
peak of this process, and beside train() that of the child; what was held before the step is in it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import psutil

from perene.app import App, open_project
from perene.records.run import STEPS, Run

RIDES, MODEL = Path(__file__).parent / "rides", "ride-minutes"
DAY = timedelta(days=1)
NIGHTS = 5
LOOK_EVERY_S = 0.01
Looks = list[tuple[datetime, int]]


def main(rides: int, days: int) -> None:
    """Live through the nights, and print the table."""
    os.environ |= {"RIDES_A_DAY": str(rides), "RIDES_TEST_DAYS": "14"}
    with tempfile.TemporaryDirectory() as place, watched() as looks:
        app = open_project(shutil.copytree(RIDES, Path(place) / "rides"))
        begin = app.model(MODEL).source_hook.function.__globals__["FIRST"] + days * DAY + timedelta(hours=7)
        app.time.start_replay(begin)
        runs = [live(app, begin + night * DAY) for night in range(NIGHTS + 1)]
        rows = app.datasets.latest(MODEL).rows
        print(f"{rows:,} rows, {app.models.version(MODEL, 1).rows:,} of them trained on in the first night; "
              f"outcomes: {', '.join(str(run.outcome) for run in runs)}")  # fmt: skip
        show(app, runs, looks)
        app.close()


def live(app: App, now: datetime) -> Run:
    """One night's run, as the scheduler makes it and a worker works it."""
    app.time.advance(now)
    app.schedule()
    run = app.worker().work_one()
    assert run is not None
    if run.error is not None:
        raise SystemExit(str(run.error))
    return run


def show(app: App, runs: list[Run], looks: Looks) -> None:
    """Seconds and memory by step: of the first night, and the medians of the others."""
    nights = [steps_of(app, run, looks) for run in runs]
    first, others = nights[0], nights[1:]
    print(f"{'':20}{'first night':>24}{'nights after':>24}\n{'':20}" + f"{'seconds':>12}{'MiB':>12}" * 2)
    for step in first:
        usual = [median(night[step][i] for night in others) for i in (0, 1)]
        cells = (f"{seconds:12.2f}{peak / 2**20:12.0f}" for seconds, peak in (first[step], usual))
        print(f"{step:20}" + "".join(cells))


def steps_of(app: App, run: Run, looks: Looks) -> dict[str, tuple[float, int]]:
    """What each step of a run took, in seconds and bytes; train() itself, and all but train()."""
    took: dict[str, tuple[float, int]] = {}
    for step in run.steps:
        assert step.ended_at is not None
        seconds = (step.ended_at - step.started_at).total_seconds()
        before = max(at for at, _ in looks if at < step.ended_at)
        took[step.name] = seconds, max(b for at, b in looks if min(before, step.started_at) <= at <= step.ended_at)
    fitted = next(step.result for step in run.steps if step.name == "train")
    assert fitted is not None
    ordered = {name: took[name] for name in STEPS}
    around = sum(seconds for seconds, _ in ordered.values()) - fitted["seconds"]
    return ordered | {
        "in it train()": (fitted["seconds"], fitted["peak_memory"]),
        "all around train()": (around, max(peak for _, peak in ordered.values())),
    }


@contextmanager
def watched() -> Iterator[Looks]:
    """The memory of this process, looked at all the time."""
    looks: Looks = []
    process, done = psutil.Process(), threading.Event()

    def watch() -> None:
        while not done.wait(LOOK_EVERY_S):
            looks.append((datetime.now(UTC), process.memory_info().rss))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield looks
    finally:
        done.set()
        watcher.join()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rides", type=int, default=10_000, help="a day")
    options.add_argument("--days", type=int, default=100)
    given = options.parse_args()
    main(given.rides, given.days)
