"""Servers in processes of their own: how one is started, asked and stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from benchmarks.serving.environments import PEERS
from benchmarks.serving.protocols import Protocol, Rows

ROOT = Path(__file__).parents[2]
_PATIENCE_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A server that can be started. ``PORT`` in its command stands for a free port; ``path`` is where it predicts."""

    name: str
    command: Sequence[str]
    path: str
    protocol: Protocol
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server. ``bodies`` are files of request bodies by the number of their rows."""

    name: str
    url: str
    process: psutil.Process
    protocol: Protocol
    bodies: Mapping[int, Path]
    cold_s: float

    def ask(self, rows: Rows) -> list[float]:
        """Its predictions for rows."""
        return self.protocol.predictions(_post(self.url, self.protocol.encode(rows)))

    def version(self, rows: Rows) -> int:
        """The model version that answers, of perene."""
        return int(_post(self.url, self.protocol.encode(rows))["model_version"])


@contextmanager
def running(recipe: Recipe, bodies: Mapping[int, Path], rows: Rows, log: Path) -> Iterator[Server]:
    """A server in processes of its own, from its first answer until the end."""
    port = str(free_port())
    command = [port if part == "PORT" else part for part in recipe.command]
    variables = {name: port if value == "PORT" else value for name, value in recipe.variables.items()}
    url, body = f"http://127.0.0.1:{port}{recipe.path}", recipe.protocol.encode(rows)
    started = time.perf_counter()
    with log.open("wb") as written:
        process = subprocess.Popen(
            command, cwd=PEERS, env=environment_of(variables), stdout=written, stderr=written, start_new_session=True
        )
    try:
        while not _answers(url, body):
            if process.poll() is not None or time.perf_counter() - started > _PATIENCE_S:
                raise RuntimeError(f"{recipe.name} does not answer; see {log}")
            time.sleep(0.02)
        yield Server(
            name=recipe.name, url=url, process=psutil.Process(process.pid), protocol=recipe.protocol, bodies=bodies,
            cold_s=time.perf_counter() - started,
        )  # fmt: skip
    finally:
        _end(process)


def free_port() -> int:
    """A port that nobody uses at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def environment_of(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of a server's process. One thread for arithmetic, as perene serve sets it: more only wait."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **variables}


def _answers(url: str, body: bytes) -> bool:
    try:
        _post(url, body)
    except (OSError, urllib.error.HTTPError):
        return False
    return True


def _post(url: str, body: bytes) -> Any:
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a server to end, then end whatever is left of it."""
    left = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
    for one in left:
        if one.is_running():
            one.kill()
