"""Fault: the scheduler runs twice at once. Promise: one run per due time, whoever asks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from perene.app import open_project
from perene.records.run import RunState

TINY = Path(__file__).parent.parent / "tiny"
MODEL = "parcel-hours"
START = datetime(2026, 3, 1, 6, tzinfo=UTC)
SCHEDULE = """
import sys
from pathlib import Path
from perene.app import open_project

app = open_project(Path(sys.argv[1]))
print("ready", flush=True)
for line in sys.stdin:
    print(*[run.id for run in app.schedule()], flush=True)
app.close()
"""


def test_two_schedulers_create_one_run_per_due_time(tmp_path: Path) -> None:
    """Proof: two processes schedule at the same moment, twenty days in a row; each day has one run, made by one."""
    folder = Path(shutil.copytree(TINY, tmp_path / "tiny"))
    app = open_project(folder)
    app.time.start_replay(START, actor="test")
    command = [sys.executable, "-c", SCHEDULE, str(folder)]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told: list[list[str]] = []
    try:
        for process in both:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for day in range(20):
            app.time.advance(START + timedelta(days=day))
            told.append(asked_at_once(both))
            for run in app.runs.list(MODEL, state=RunState.QUEUED):
                app.runs.cancel(run.id, actor="test", at=app.time.now())
    finally:
        for process in both:
            process.communicate(timeout=60)
    due = [run.due_at for run in app.runs.list(MODEL)]
    app.close()

    assert [len(made) for made in told] == [1] * 20
    assert sorted(due) == [START.replace(hour=0) + timedelta(days=day) for day in range(20)]


def asked_at_once(both: list[subprocess.Popen[str]]) -> list[str]:
    """Let both schedule; the runs that they say they made."""
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [made for process in both if process.stdout for made in process.stdout.readline().split()]
