"""Fault: SIGKILL of a worker before and after each of its commits. Promise: law 8, one of everything at the end."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from perene.app import open_project
from perene.clock import machine_clock
from perene.records.run import STEPS, RunState
from perene.scheduling.worker import MOST_DEATHS
from perene.storage.envelope import Log

TINY = Path(__file__).parent.parent / "tiny"
MODEL = "parcel-hours"
# Works one run, and dies before the commit that is named by its step and its number in the step: before one is after
# the one before. Without a name it prints every commit's. Each worker comes when the last one was silent for a minute.
WORK = """
import os, signal, sys, threading
from datetime import timedelta
from pathlib import Path
import sqlalchemy as sa
from perene.app import open_project
from perene.clock import machine_clock

folder, minutes, last = sys.argv[1:]
app = open_project(Path(folder), machine=lambda: machine_clock() + timedelta(minutes=int(minutes)))
place = ["claim", 0]

@sa.event.listens_for(app.database.engine, "commit")
def count(connection):
    if threading.current_thread() is not threading.main_thread():
        return
    place[1] += 1
    name = f"{place[0]} {place[1]}"
    if name == last:
        os.kill(os.getpid(), signal.SIGKILL)
    if not last:
        print(name, flush=True)

begin = app.runs.begin_step

def begin_step(run, name):
    place[:] = [name, 0]
    begin(run, name)

app.runs.begin_step = begin_step
app.worker(f"worker {minutes}").work_one()
app.close()
"""


def work(folder: Path, minutes: int, last: str = "") -> subprocess.CompletedProcess[str]:
    """A worker process; ``minutes`` after the first."""
    command = [sys.executable, "-c", WORK, str(folder), str(minutes), last]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120)


def a_project(folder: Path) -> Path:
    """A project with one queued run."""
    shutil.copytree(TINY, folder)
    app = open_project(folder)
    now = app.time.now()
    app.runs.create(MODEL, trigger="manual", due_at=now, created_at=now, actor="test")
    app.close()
    return folder


def rows_of(commits: list[str]) -> list[list[str]]:
    """The commits that workers of one project die at: each in a later step, and not too many for a run."""
    order = ("claim", *STEPS)
    rows: list[list[str]] = []
    for commit in sorted(commits, key=lambda name: int(name.split()[1])):
        step = order.index(commit.split()[0])
        fit = [row for row in rows if len(row) < MOST_DEATHS - 1 and order.index(row[-1].split()[0]) < step]
        if fit:
            fit[0].append(commit)
        else:
            rows.append([commit])
    return rows


@pytest.mark.timeout(600)
def test_a_worker_killed_at_any_commit_repeats_no_effect(tmp_path: Path) -> None:
    """Proof: workers die before each commit of a run, up to four in one run; each run ends as an undisturbed one."""
    commits = work(a_project(tmp_path / "whole"), 0).stdout.splitlines()
    whole = ending(tmp_path / "whole")

    for n, row in enumerate(rows_of(commits)):
        folder = a_project(tmp_path / str(n))
        for minutes, commit in enumerate(row):
            assert work(folder, minutes, commit).returncode == -signal.SIGKILL, (row, commit)
        assert work(folder, len(row)).returncode == 0

        assert ending(folder) == whole, row
    assert {commit.split()[0] for commit in commits} == {"claim", *STEPS}


def ending(folder: Path) -> dict[str, object]:
    """What a project holds when its run has ended."""
    app = open_project(folder, machine=lambda: machine_clock() + timedelta(minutes=MOST_DEATHS))
    (run,) = app.runs.list(MODEL)
    (dataset,) = app.datasets.list(MODEL)
    examples = app.lake.scan(MODEL, Log.EXAMPLES).collect()
    found = {
        "run": (run.state, run.outcome, [(step.name, step.state) for step in run.steps]),
        "versions": [version.version for version in app.models.versions(MODEL)],
        "evaluations": len(app.evaluations.list(MODEL)),
        "releases": [(release.version, release.state) for release in app.releases.list(MODEL)],
        "events": [event.state for event in app.releases.events(MODEL)],
        "examples": examples.height == examples.select("key", "event_at").n_unique() == dataset.rows,
        "verified": app.datasets.verify(app.project.models[MODEL], dataset).ok,
        "alerts": app.alerts.list(),
        "audit": sorted(line.verb for line in app.audits.list(limit=100)),
    }
    app.close()
    assert run.state is RunState.SUCCEEDED
    return found
