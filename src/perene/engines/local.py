"""Tasks in child processes of this machine.

Laws. A task is a function of a folder: what it needs lies in it, what it makes is left in it. It runs in a process of
its own, so an abort or a memory blow-up is a failed task, and nothing else. When the asking process dies, however it
dies, the task dies with it. One engine runs one task at a time.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perene.engines.nursery import PRINTED
from perene.errors import LostLease, PereneError

_LOOK_S = 0.2
# Waiting OpenMP threads that spin for long take the cores from the server beside them: 4 to 17 s a fit, not 0.6 s.
# Those that never spin are woken up for each of thousands of small steps: 3.1 s a fit on quiet cores, not 1.4 s.
_THREADS = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "300"}
_SHOWN = 12  # lines of what a task printed


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEnd:
    """How a task ended: ``died`` says of what, where it did not end by itself; ``failed`` that it raised.

    ``peak_memory`` is in bytes; ``printed`` has the last lines that it printed.
    """

    seconds: float
    peak_memory: int
    failed: bool
    died: str
    printed: tuple[str, ...]


class LocalEngine:
    """Runs tasks in children of a process that has imported ``preload`` already. Any thread may ask."""

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self._preload = list(preload)
        self._process: subprocess.Popen[str] | None = None
        self._turn = threading.Lock()

    def run(
        self, task: str, folder: Path, *, lost: threading.Event | None = None, limit_s: float = math.inf
    ) -> TaskEnd:
        """Run a task, named ``"module:function"``, on a folder; one that takes longer than ``limit_s`` is killed.

        Raises LostLease, and kills the task, when ``lost`` is set meanwhile.
        """
        with self._turn:
            try:
                process = self._asked(json.dumps({"task": task, "folder": str(folder)}) + "\n")
                told = self._wait(process, lost, limit_s)
            except BaseException:
                self._kill()
                raise
            if told is None:
                self._kill()
                died = f"the end of its time ({limit_s:g} s)"
                return TaskEnd(seconds=limit_s, peak_memory=0, failed=False, died=died, printed=_printed(folder))
        return _end(told, folder)

    def close(self) -> None:
        """End the nursery."""
        with self._turn:
            self._kill()

    def _asked(self, line: str) -> subprocess.Popen[str]:
        """The process that was told to start a task; one that is found dead gives way to another."""
        for last_try in (False, True):
            process = self._nursery()
            assert process.stdin is not None
            try:
                process.stdin.write(line)
                process.stdin.flush()
                break
            except BrokenPipeError:
                self._kill()
                if last_try:
                    raise
        return process

    def _nursery(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._kill()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "perene.engines.nursery", *self._preload],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**_THREADS, **os.environ},
                start_new_session=True,  # Ctrl-C reaches the asking process only
            )
        return self._process

    def _wait(
        self, process: subprocess.Popen[str], lost: threading.Event | None, limit_s: float
    ) -> dict[str, Any] | None:
        """What the nursery says of the task's end; None when its time is over before."""
        assert process.stdout is not None
        until = time.monotonic() + limit_s
        while not select.select([process.stdout], [], [], _LOOK_S)[0]:
            if time.monotonic() >= until:
                return None
            if lost is not None and lost.is_set():
                what = "the run was taken over by another worker, so its task was ended"
                raise LostLease(what, mend="nothing: the other one goes on")
        line = process.stdout.readline()
        if not line:
            raise PereneError(
                "the process that starts tasks ended",
                why=f"its exit code is {process.wait()}",
                mend="see what it printed on stderr",
                code="process-ended",
            )
        told: dict[str, Any] = json.loads(line)
        return told

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _end(told: dict[str, Any], folder: Path) -> TaskEnd:
    status = told["status"]
    died = ""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        died = f"signal {number} ({signal.strsignal(number)})"
    return TaskEnd(
        seconds=told["seconds"],
        peak_memory=told["peak_memory"],
        failed=not died and os.WEXITSTATUS(status) != 0,
        died=died,
        printed=_printed(folder),
    )


def _printed(folder: Path) -> tuple[str, ...]:
    lines = (folder / PRINTED).read_text(errors="replace").splitlines() if (folder / PRINTED).exists() else []
    return tuple(lines[-_SHOWN:])
