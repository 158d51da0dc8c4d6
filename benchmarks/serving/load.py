"""Loads, made by wrk in a process of its own, and what they take of the server's processor and memory."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from benchmarks.serving.servers import Server

_SCRIPT = Path(__file__).with_name("load.lua")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How a server is asked: by so many connections at once, so many rows in a request."""

    name: str
    connections: int
    rows: int


ONE = Shape(name="1 connection", connections=1, rows=1)
MANY = Shape(name="64 connections", connections=64, rows=1)
ROWS = Shape(name="100 rows, 8 connections", connections=8, rows=100)
SHAPES = (ONE, MANY, ROWS)


@dataclass(slots=True, kw_only=True)
class Taken:
    """What one load measured; ``cpu_ms`` is the processor time of the server's processes for each request."""

    requests: int = 0
    seconds: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    failed: int = 0
    cpu_ms: float = 0.0
    per_second: float = field(init=False, default=0.0)

    def as_json(self) -> dict[str, Any]:
        """As the results keep it."""
        return asdict(self)


def load(server: Server, shape: Shape, *, seconds: float, pause_ms: float = 0.0) -> Taken:
    """Ask a server for so long, and see what it takes."""
    with loading(server, shape, seconds=seconds, pause_ms=pause_ms) as taken:
        pass
    return taken


@contextmanager
def loading(server: Server, shape: Shape, *, seconds: float, pause_ms: float = 0.0) -> Iterator[Taken]:
    """A load that goes on during the block, at the end of which the figures are complete."""
    taken, before = Taken(), cpu_s(server.process)
    options = [f"-c{shape.connections}", f"-d{round(seconds)}s", "--timeout", "10s", "-s", str(_SCRIPT), server.url]
    command = ["wrk", "-t1", *options, "--", str(server.bodies[shape.rows]), f"{pause_ms:.2f}"]
    wrk = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield taken
        printed, _ = wrk.communicate(timeout=seconds + 60)
    finally:
        wrk.kill()
    found = json.loads(next(line for line in printed.splitlines() if line.startswith("{")))
    for name, value in found.items():
        setattr(taken, name, value)
    taken.cpu_ms = 1_000 * (cpu_s(server.process) - before) / max(taken.requests, 1)
    taken.per_second = taken.requests / taken.seconds


def cpu_s(process: psutil.Process) -> float:
    """Processor seconds of a process and its children so far."""
    times = [one.cpu_times() for one in _tree(process)]
    return sum(t.user + t.system for t in times)


def memory_mib(process: psutil.Process) -> float:
    """Memory of a process and its children: what they share is counted once (PSS)."""
    total = 0
    for one in _tree(process):
        with suppress(OSError):
            lines = Path(f"/proc/{one.pid}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def _tree(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]
