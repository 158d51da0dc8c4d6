"""Tasks in child processes: what they cost, how they fail, and that none outlives who asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from perene.engines.local import LocalEngine
from perene.errors import LostLease

TASKS = """
import os, signal, sys, time
from pathlib import Path

def write(folder):
    (folder / "made.txt").write_text(str(os.getpid()))
    print("a line")
    print("another", file=sys.stderr)

def fail(folder):
    print("before")
    raise ValueError("no good")

def abort(folder):
    os.kill(os.getpid(), signal.SIGABRT)

def grow(folder):
    held = bytearray(300 * 1024 * 1024)
    held[::4096] = b"x" * len(held[::4096])

def hang(folder):
    (folder / "began.txt").write_text(str(os.getpid()))
    time.sleep(600)
"""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalEngine]:
    """An engine that can import the tasks above."""
    (tmp_path / "engine_tasks.py").write_text(TASKS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    engine = LocalEngine(["json", "no_such_package"])
    yield engine
    engine.close()


def test_a_task_works_in_a_process_of_its_own(engine, tmp_path) -> None:
    """What a task makes is left in its folder, what it prints is told, and it was not this process."""
    end = engine.run("engine_tasks:write", tmp_path)

    assert (end.failed, end.died) == (False, "")
    assert int((tmp_path / "made.txt").read_text()) != os.getpid()
    assert sorted(end.printed) == ["a line", "another"]
    assert 0 < end.seconds < 60


def test_a_task_that_raises_has_failed(engine, tmp_path) -> None:
    """Its last lines say why; the next task works."""
    end = engine.run("engine_tasks:fail", tmp_path)
    after = engine.run("engine_tasks:write", tmp_path)

    assert end.failed
    assert end.printed[0] == "before"
    assert end.printed[-1] == "ValueError: no good"
    assert not after.failed


def test_an_abort_is_a_failed_task_only(engine, tmp_path) -> None:
    """A task that aborts its process is told with its signal; engine and asker live."""
    end = engine.run("engine_tasks:abort", tmp_path)
    after = engine.run("engine_tasks:write", tmp_path)

    assert end.died.startswith("signal 6")
    assert not after.failed


def test_the_peak_memory_is_the_tasks_own(engine, tmp_path) -> None:
    """300 MiB that a task touched are in its peak, and not in the next one's."""
    large = engine.run("engine_tasks:grow", tmp_path).peak_memory
    small = engine.run("engine_tasks:write", tmp_path).peak_memory

    assert large > 300 * 2**20
    assert small < 200 * 2**20


def test_a_lost_run_ends_its_task(engine, tmp_path) -> None:
    """When another worker takes a run over, the task is killed and the asker hears LostLease."""
    lost = threading.Event()
    threading.Thread(target=lambda: (_pid_in(tmp_path / "began.txt"), lost.set())).start()

    with pytest.raises(LostLease):
        engine.run("engine_tasks:hang", tmp_path, lost=lost)

    _wait_until(lambda: not _is_alive(_pid_in(tmp_path / "began.txt")))
    assert not engine.run("engine_tasks:write", tmp_path).failed


def test_a_task_dies_with_who_asked(engine, tmp_path) -> None:
    """SIGKILL of the asking process ends the task and the process that forked it."""
    code = (
        "from pathlib import Path; from perene.engines.local import LocalEngine; import sys\n"
        "LocalEngine().run('engine_tasks:hang', Path(sys.argv[1]))"
    )
    asker = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    task = _pid_in(tmp_path / "began.txt")
    nursery = psutil.Process(task).ppid()

    asker.send_signal(signal.SIGKILL)
    asker.wait()

    _wait_until(lambda: not _is_alive(task) and not _is_alive(nursery))


def _pid_in(path: Path) -> int:
    _wait_until(lambda: path.exists() and path.read_text())
    return int(path.read_text())


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait_until(condition) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.02)


def test_a_task_is_killed_at_the_end_of_its_time(engine, tmp_path) -> None:
    """One that takes longer than its limit has died of that, and the engine goes on with the next."""
    end = engine.run("engine_tasks:hang", tmp_path, limit_s=1.0)
    child = int((tmp_path / "began.txt").read_text())

    assert end.died == "the end of its time (1 s)"
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    assert engine.run("engine_tasks:write", tmp_path).died == ""
