"""Fault: SIGKILL of a worker within a step. Promise: law 8, another goes on there, and no effect comes twice."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from perene.app import open_project
from perene.records.run import RunState

TINY = Path(__file__).parent.parent / "tiny"
MODEL = "parcel-hours"
WORK = """
import sys, time
from datetime import timedelta
from pathlib import Path
from perene.app import open_project

app = open_project(Path(sys.argv[1]))
worker = app.worker("doomed")
step = worker._steps[sys.argv[2]]

def stop_within(context):
    if sys.argv[3] == "after":
        step(context)
    print("within", flush=True)
    time.sleep(600)

worker._steps[sys.argv[2]] = stop_within
worker.work_one()
"""


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", ["train", "release"])
def test_another_worker_goes_on_at_the_step(tmp_path, step, moment) -> None:
    """Proof: killed before or after a step's effect, the run ends with one dataset, one version and one release."""
    folder = Path(shutil.copytree(TINY, tmp_path / "tiny"))
    app = open_project(folder)
    now = app.time.now()
    app.runs.create(MODEL, trigger="manual", due_at=now, created_at=now, actor="test")
    doomed = subprocess.Popen(
        [sys.executable, "-c", WORK, str(folder), step, moment], stdout=subprocess.PIPE, text=True
    )
    assert doomed.stdout is not None
    assert doomed.stdout.readline() == "within\n"
    doomed.send_signal(signal.SIGKILL)
    doomed.wait()
    doomed.stdout.close()
    worker = app.worker("second")
    early = worker.work_one()
    worker._lease = timedelta(0)  # as if its 30 seconds of silence were over

    run = worker.work_one()

    assert early is None
    assert run is not None
    assert (run.state, run.attempt, run.owner) == (RunState.SUCCEEDED, 2, "second")
    assert {s.attempt for s in run.steps if s.started_at < _started(run, step)} == {1}
    assert len(app.datasets.list(MODEL)) == 1
    assert [v.version for v in app.models.versions(MODEL)] == [1]
    assert len(app.evaluations.list(MODEL)) == 1
    assert [(r.version, r.state) for r in app.releases.list(MODEL)] == [(1, "live")]
    assert [e.state for e in app.releases.events(MODEL)] == ["proposed", "approved", "live"]
    app.close()


def _started(run, step):
    return next(s.started_at for s in run.steps if s.name == step)
