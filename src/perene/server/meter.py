"""What a server counts of its answers, for /metrics: right whichever of its processes is asked.

Each process of a server has a file of numbers, mapped into its memory; whoever is asked adds up those of its server.
Counters must never fall while the server lives, or a rate is computed from the fall: the file of a process that died is
taken over by the next one that starts. Laws: what was counted before a scrape is in its sums, and every later scrape's
sums are no smaller; where no file can be made, a process counts for itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import mmap
import os
import threading
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from perene.records.roles import CANARY, CHAMPION, SHADOW

log = logging.getLogger("perene.server")

Slot = tuple[str, ...]  # a counter's name and its labels' values
BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds
OUTCOMES = ("answered", "refused", "failed", "abandoned")
ROLES = (CHAMPION, CANARY, SHADOW)
STAGES = ("request", "lookup", "compute", "log")
MODES = {"online": "request", "stored": "lookup"}  # and the stage that an answered request counts as
_SUM, _COUNT = "sum", "+Inf"
_LOCK = "lock"
_WIDTH = 8  # bytes of a number


class ModelMeter:
    """The counters of a process for one model; any thread may add."""

    def __init__(self, numbers: memoryview[float], places: Mapping[Slot, int]) -> None:
        self._numbers = numbers
        self._turn = threading.Lock()
        self._rows = {slot[2:]: place for slot, place in places.items() if slot[0] == "predictions"}
        self._labels = {slot[2]: place for slot, place in places.items() if slot[0] == "labels"}
        self._asked = {slot[2:]: place for slot, place in places.items() if slot[0] == "asked"}
        self._seconds = _firsts(places, "seconds")
        self._version_seconds = _firsts(places, "version_seconds")
        (self._lost,) = (place for slot, place in places.items() if slot[0] == "lost")
        (self._dropped,) = (place for slot, place in places.items() if slot[0] == "dropped")

    def answered(self, rows: int, seconds: float, *, mode: str = "online") -> None:
        """A request was answered, so long after it was read."""
        self._add_timed(self._rows[mode, "answered"], rows, self._seconds[MODES[mode]], seconds)

    def not_answered(self, rows: int, outcome: str, *, mode: str = "online") -> None:
        """A request was refused for what it is, failed, or was abandoned by its caller."""
        self._add(self._rows[mode, outcome], rows)

    def lost(self, rows: int) -> None:
        """Rows were answered but not logged."""
        self._add(self._lost, rows)

    def labels(self, rows: int, status: str) -> None:
        """Ground truth was accepted, or refused."""
        self._add(self._labels[status], rows)

    def took(self, stage: str, seconds: float) -> None:
        """A batch took so long to be computed, or to be logged."""
        first = self._seconds[stage]
        numbers = self._numbers
        with self._turn:
            numbers[first] += seconds
            numbers[first + 1 + bisect_left(BUCKETS, seconds)] += 1

    def version_answered(self, role: str, requests: int, seconds: float) -> None:
        """The version in a role answered a batch of requests, or would have."""
        self._add_timed(self._asked[role, "answered"], requests, self._version_seconds[role], seconds)

    def version_failed(self, role: str, requests: int) -> None:
        """The code of the version in a role failed on requests."""
        self._add(self._asked[role, "failed"], requests)

    def shadow_dropped(self, rows: int) -> None:
        """A shadow was not asked rows, because it could not keep up."""
        self._add(self._dropped, rows)

    def _add(self, place: int, count: int) -> None:
        with self._turn:
            self._numbers[place] += count

    def _add_timed(self, place: int, count: int, first: int, seconds: float) -> None:
        """Add to a counter, and to the durations whose sum is at ``first``."""
        numbers = self._numbers
        with self._turn:
            numbers[place] += count
            numbers[first] += seconds
            numbers[first + 1 + bisect_left(BUCKETS, seconds)] += 1


class Meter:
    """The counters of one process. ``total`` gives those of every process of its server.

    ``folder`` is the project's; ``server`` names the server, and no other that lives has this name.
    """

    def __init__(self, models: Iterable[str], *, folder: Path | None = None, server: str = "") -> None:
        self._slots = list(_slots(models))
        self._folder, self._server = folder, f"{server}~"
        self._file: BinaryIO | None = None
        size = len(self._slots) * _WIDTH
        memory, start = mmap.mmap(-1, max(size, 1)), 0
        if folder is not None:
            try:
                self._file, start = self._begin(folder)
                memory = mmap.mmap(self._file.fileno(), 0)
            except OSError as error:
                log.warning("metrics_of_this_process_only why=%s", error)
        self._numbers: memoryview[float] = memoryview(memory)[start : start + size].cast("d")
        places: dict[str, dict[Slot, int]] = {}
        for n, slot in enumerate(self._slots):
            places.setdefault(slot[1], {})[slot] = n
        self._models = {model: ModelMeter(self._numbers, mine) for model, mine in places.items()}

    def of(self, model: str) -> ModelMeter:
        """What counts for one model, the same for all who ask."""
        return self._models[model]

    def total(self) -> dict[Slot, float]:
        """Every counter, added up over the processes of this server."""
        if self._folder is not None and self._file is not None:
            with contextlib.suppress(OSError), _locked(self._folder):
                return _sum(_files(self._folder, self._server))
        return dict(zip(self._slots, self._numbers, strict=True))

    def close(self) -> None:
        """Leave the numbers to the processes of this server that live on; the last one takes them all away."""
        if self._folder is None or self._file is None:
            return
        with contextlib.suppress(OSError), _locked(self._folder):
            fcntl.flock(self._file, fcntl.LOCK_UN)  # the mapped memory keeps the file open, and with it the lock
            self._file.close()
            _sweep(self._folder)

    def _begin(self, folder: Path) -> tuple[BinaryIO, int]:
        """Make this process's file, with what dead processes of its server had counted; and where its numbers start."""
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            _sweep(folder)
            dead = [path for path in _files(folder, self._server) if not _is_alive(path)]
            file, start = self._written(folder, _sum(dead))
            for path in dead:
                path.unlink()
        return file, start

    def _written(self, folder: Path, numbers: Mapping[Slot, float]) -> tuple[BinaryIO, int]:
        """A new file, held by this process: the slots as JSON, then their numbers, none of them a hole in the file."""
        slots = [*self._slots, *(numbers.keys() - set(self._slots))]
        head = json.dumps(slots).encode()
        head = b"%d\n" % len(head) + head
        head += b" " * (-len(head) % _WIDTH)
        path = folder / f"{self._server}{os.getpid()}-{os.urandom(4).hex()}"
        file = path.open("x+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(head + array("d", [numbers.get(slot, 0.0) for slot in slots]).tobytes())
            file.flush()
        except OSError:
            file.close()
            path.unlink(missing_ok=True)
            raise
        return file, len(head)


def bounds() -> Sequence[str]:
    """The upper bounds of the buckets, as their labels say them."""
    return (*(str(bound) for bound in BUCKETS), _COUNT)


def _slots(models: Iterable[str]) -> Iterator[Slot]:
    for model in models:
        yield "lost", model
        yield "dropped", model
        yield from (("predictions", model, mode, outcome) for mode in MODES for outcome in OUTCOMES)
        yield from (("labels", model, status) for status in ("accepted", "refused"))
        yield from (("asked", model, role, outcome) for role in ROLES for outcome in ("answered", "failed"))
        for name, kinds in (("seconds", STAGES), ("version_seconds", ROLES)):
            yield from ((name, model, kind, bound) for kind in kinds for bound in (_SUM, *bounds()))


def _firsts(places: Mapping[Slot, int], name: str) -> dict[str, int]:
    """Where the numbers of each kind of durations begin."""
    return {slot[2]: place for slot, place in places.items() if slot[0] == name and slot[3] == _SUM}


def _read(path: Path) -> dict[Slot, float]:
    """The numbers of a process. A file that is gone, or not whole, has none."""
    try:
        content = path.read_bytes()
        length, _, rest = content.partition(b"\n")
        slots = [tuple(slot) for slot in json.loads(rest[: int(length)])]
        start = len(length) + 1 + int(length)
        start += -start % _WIDTH
        numbers = memoryview(content)[start : start + len(slots) * _WIDTH].cast("d")
        return dict(zip(slots, numbers, strict=True))
    except (OSError, ValueError, TypeError):
        return {}


def _sum(paths: Iterable[Path]) -> dict[Slot, float]:
    totals: dict[Slot, float] = {}
    for path in paths:
        for slot, number in _read(path).items():
            totals[slot] = totals.get(slot, 0.0) + number
    return totals


def _files(folder: Path, server: str = "") -> list[Path]:
    """The files of a server's processes, or of all."""
    return [path for path in folder.iterdir() if path.name != _LOCK and path.name.startswith(server)]


def _sweep(folder: Path) -> None:
    """Take away the files of servers of which no process lives."""
    paths = _files(folder)
    alive = {_server_of(path) for path in paths if _is_alive(path)}
    for path in paths:
        if _server_of(path) not in alive:
            path.unlink()


def _server_of(path: Path) -> str:
    return path.name.partition("~")[0]


def _is_alive(path: Path) -> bool:
    """Whether a process holds a file."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time makes, takes over or adds up the files of a folder."""
    with (folder / _LOCK).open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
