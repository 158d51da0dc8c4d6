"""Fault: the project's folder is away while worker and scheduler run. Promise: they wait, and go on when it is back."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from perene.app import open_project
from perene.records.run import RunState

MODEL = "parcel-hours"


@contextmanager
def running(folder: Path, command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs until it is asked to end; it ends cleanly."""
    with (folder / f"{command}.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "perene.cli", command], cwd=folder, stderr=log)
    try:
        yield process
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def states(folder: Path) -> dict[str, RunState]:
    """The newest run of each trigger."""
    app = open_project(folder)
    found = {run.trigger: run.state for run in reversed(app.runs.list(MODEL))}
    app.close()
    return found


def test_an_outage_ends_no_process(tiny, wait_for) -> None:
    """Proof: both say that the database is away, live, and do what is to be done after it came back."""
    commands = ("worker", "scheduler")
    with closing(sqlite3.connect(tiny / ".perene" / "perene.db")) as connection, connection:
        connection.execute("UPDATE run SET state = 'cancelled'")  # so that today's training is still due
    with ExitStack() as stack:
        processes = [stack.enter_context(running(tiny, command)) for command in commands]
        wait_for(lambda: states(tiny).get("schedule") == RunState.SUCCEEDED, seconds=60)
        (tiny / ".perene").rename(tiny / "away")
        for command in commands:
            wait_for(lambda log=tiny / f"{command}.log": "database_away" in log.read_text(), seconds=60)
        (tiny / "away").rename(tiny / ".perene")
        app = open_project(tiny)
        now = app.time.now()
        run = app.runs.create(MODEL, trigger="after", due_at=now, created_at=now, actor="test")
        app.close()
        wait_for(lambda: states(tiny)["after"] == RunState.SUCCEEDED, seconds=60)
        alive = [process.poll() for process in processes]

    assert alive == [None, None]
    assert run.deaths == 0
