"""Processes that run together: started, watched, their lines prefixed, and stopped together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from perene.errors import PereneError

GRACE_S = 20.0  # what a process gets to finish what it took
_LAST_GRACE_S = 3.0
SETTLED_S = 10.0  # one that ran this long is started again when it ends; an earlier end would repeat itself
LISTENING = "listening on "  # what a server says, with its address, as soon as it answers
_AGAIN = 5  # so often one that had been well may end early before all are stopped
AGAIN_S = 0.5  # until it is started again, and twice as long each time
_PAUSE_S = 0.1
_ASK_EVERY_S = 1.0
SAME_WISH_S = 0.5  # a second signal within this is the first one again: some wrappers pass on what the terminal sent
_WITH_PARENT = "PERENE_WITH_PARENT"
WORKER, LOAD = 10, 19  # niceness; beside a load of 10, p99 of look-ups was 17 to 26 ms, beside one of 19 it is 6 to 8


class ProcessEnded(PereneError):
    """One of the processes ended by itself, so all were stopped."""

    code = "process-ended"


def end_with_parent() -> bool:
    """In a child: ask oneself to stop when the parent is gone, however it went. Its stdin is a pipe that ends then.

    Returns whether this is one.
    """
    if os.environ.pop(_WITH_PARENT, None) is None:
        return False

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
    return True


def give_way(niceness: int) -> None:
    """Let what serves go first where processors are busy; to be called before the first thread begins."""
    with contextlib.suppress(AttributeError, OSError):
        os.nice(max(niceness - os.nice(0), 0))


@dataclass(slots=True)
class _Child:
    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes]
    started: float
    reader: threading.Thread
    was_well: bool  # it, or the one before it, has settled or has answered
    early_ends: int  # in a row, before it
    again_at: float | None = None  # when it ended: when another is started


@dataclass(slots=True)
class Children:
    """Commands that run beside each other until ``stop``. Their lines go to ``err``, the process's name before each.

    They run in process groups of their own, so that a Ctrl-C reaches only this process, which then asks them to stop.
    One that ends is started again, unless it ends soon after its start for the first time, or again and again. Once all
    of ``servers`` listen, ``ready`` is called with their address; their own lines that say it are left out. What
    ``news`` has to tell, which is asked every second, is a line too.
    """

    commands: Mapping[str, Sequence[str]]
    err: TextIO
    grace_s: float = GRACE_S
    settled_s: float = SETTLED_S
    same_wish_s: float = SAME_WISH_S
    again_s: float = AGAIN_S
    servers: Sequence[str] = ()
    ready: Callable[[str], None] | None = None
    news: Callable[[], str] | None = None
    _listening: set[str] = field(default_factory=set)
    _children: dict[str, _Child] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _writing: threading.Lock = field(default_factory=threading.Lock)
    _asked_at: float = 0.0
    _asked_news_at: float = 0.0

    def run(self) -> None:
        """Start all and watch them until ``stop`` is called, then let them finish.

        Raises:
            ProcessEnded: one ended by itself soon after its start, at once or often.
            KeyboardInterrupt: ``stop`` was called again while they were finishing.
        """
        try:
            for name in self.commands:
                self._start(name)
            while not self._stopping.wait(_PAUSE_S):
                for child in list(self._children.values()):
                    self._look_after(child)
                self._tell_news()
        finally:
            self._end()

    def stop(self) -> None:
        """Ask all to stop; a second call, a moment later, kills them."""
        if self._stopping.is_set():
            if time.monotonic() - self._asked_at < self.same_wish_s:
                return
            for child in self._children.values():
                child.process.kill()
            raise KeyboardInterrupt
        self._asked_at = time.monotonic()
        self._stopping.set()

    def _start(self, name: str, *, was_well: bool = False, early_ends: int = 0) -> None:
        process = subprocess.Popen(
            self.commands[name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {_WITH_PARENT: "1", "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        reader = threading.Thread(target=self._read, args=(name, process), name=name, daemon=True)
        started = time.monotonic()
        self._children[name] = _Child(name, self.commands[name], process, started, reader, was_well, early_ends)
        reader.start()

    def _look_after(self, child: _Child) -> None:
        now = time.monotonic()
        if child.again_at is not None:
            if now >= child.again_at:
                self._start(child.name, was_well=child.was_well, early_ends=child.early_ends)
            return
        code = child.process.poll()
        if code is None:
            return
        child.reader.join(timeout=1)
        is_early = now - child.started < self.settled_s
        child.was_well = child.was_well or not is_early
        child.early_ends = child.early_ends + 1 if is_early else 0
        if not child.was_well or child.early_ends > _AGAIN:
            times = f" {child.early_ends} times" if child.was_well else ""
            raise ProcessEnded(
                f"the {child.name} ended by itself{times}",
                why=f"its exit code is {code}; its last lines are above",
                mend=f"mend what they name, or run it alone: perene {' '.join(child.command[3:])}",
            )
        pause_s = self.again_s * 2 ** (child.early_ends - 1) if is_early else 0.0
        child.again_at = now + pause_s
        self._write(child.name, f"ended with code {code}; started again{f' in {pause_s:g} s' if pause_s else ''}")
        _close(child.process)

    def _tell_news(self) -> None:
        now = time.monotonic()
        if self.news is None or now - self._asked_news_at < _ASK_EVERY_S:
            return
        self._asked_news_at = now
        if line := self.news():
            self._write("perene", line)

    def _end(self) -> None:
        if self._running():
            self._write("perene", "stopping: what was begun is finished; Ctrl-C again does not wait")
        for grace_s in (self.grace_s, _LAST_GRACE_S):  # asked a second time, a worker leaves its run where it stands
            for child in self._running():
                child.process.terminate()
            self._wait(grace_s)
        for child in self._running():
            self._write(child.name, "did not stop and is killed; its work goes on at the next start")
            child.process.kill()
            child.process.wait()
        for child in self._children.values():
            child.reader.join(timeout=1)
            _close(child.process)

    def _running(self) -> list[_Child]:
        return [child for child in self._children.values() if child.process.poll() is None]

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._running() and time.monotonic() < until:
            time.sleep(_PAUSE_S / 2)

    def _read(self, name: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                text = line.decode(errors="replace").rstrip("\r\n")
                if name in self.servers and text.startswith(LISTENING):
                    self._note_listening(name, text.removeprefix(LISTENING))
                else:
                    self._write(name, text)

    def _note_listening(self, name: str, address: str) -> None:
        self._children[name].was_well = True
        with self._writing:
            is_last = name not in self._listening and len(self._listening) + 1 == len(self.servers)
            is_again = name in self._listening
            self._listening.add(name)
        if is_last and self.ready is not None:
            self.ready(address)
        if is_again:
            self._write(name, "answers again")

    def _write(self, name: str, line: str) -> None:
        wide = max(map(len, ("perene", *self.commands)))
        with self._writing:
            self.err.write(f"{name:{wide}} │ {line}\n")
            self.err.flush()


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        process.stdin.close()
