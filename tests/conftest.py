"""What tests of several rooms share: a tiny project, and server processes of it."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from ctypes.util import find_library
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

TINY = Path(__file__).parent / "tiny"
MODEL = "parcel-hours"
SERVE = """
import logging, sys
from pathlib import Path
from perene.app import open_project
from perene.server.process import serve
logging.basicConfig(level="INFO")
serve(open_project(Path(sys.argv[1])), port=0, ready=lambda address: print(address, flush=True))
"""


NEEDED = {"chromium": "apt-get install chromium", "libgomp1": "apt-get install libgomp1"}


def missing() -> dict[str, str]:
    """The Debian packages that some tests need and this machine lacks, with what installs them."""
    there = {"chromium": shutil.which("chromium"), "libgomp1": find_library("gomp")}
    return {name: how for name, how in NEEDED.items() if not there[name]}


def pytest_report_header() -> list[str]:
    """Say at the start what will be skipped, and why."""
    return [f"missing: {name}; tests that need it are skipped. Install it: {how}" for name, how in missing().items()]


@pytest.fixture
def needs() -> Callable[[str], None]:
    """Skip a test whose Debian package is missing, with the reason; in CI that is a failure."""

    def check(package: str) -> None:
        if package in missing():
            reason = f"{package} is missing: {NEEDED[package]}"
            assert not os.environ.get("CI"), reason
            pytest.skip(reason)

    return check


@dataclass
class Client:
    """One kept connection to a server."""

    port: int
    connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Status and decoded answer; a body that is not bytes is sent as JSON."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        self.connection.request(method, path, data, {"content-type": "application/json"} | (headers or {}))
        response = self.connection.getresponse()
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        return response.status, json.loads(response.read() or b"null")

    def predict(self, rows: list[Any], *, model: str = MODEL) -> tuple[int, Any]:
        """Ask for predictions."""
        return self.ask("POST", f"/v1/models/{model}/predict", {"rows": rows})

    def post_truth(self, rows: list[Any], *, model: str = MODEL) -> tuple[int, Any]:
        """Post ground truth."""
        return self.ask("POST", f"/v1/models/{model}/ground-truth", {"rows": rows})

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


@dataclass
class ServerProcess:
    """A server of a project, in a process of its own."""

    folder: Path
    process: subprocess.Popen[str]
    port: int

    def client(self) -> Client:
        """A new connection."""
        return Client(self.port)

    def end(self, sig: int = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@contextmanager
def _server_of(folder: Path) -> Iterator[ServerProcess]:
    with (folder / "server.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(folder)], stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert process.stdout is not None
    said = re.search(r":(\d+)\s*$", process.stdout.readline())
    server = ServerProcess(folder, process, int(said.group(1)) if said else 0)
    try:
        assert said, (folder / "server.log").read_text()
        yield server
    finally:
        server.end(signal.SIGKILL)


def _wait_for(condition: Callable[[], Any], *, seconds: float = 30) -> Any:
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.05)
    return value


@pytest.fixture(scope="session")
def server_of() -> Callable[[Path], AbstractContextManager[ServerProcess]]:
    """Start a server of a project and wait until it answers; it is ended in any case."""
    return _server_of


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., Any]:
    """What a condition gives as soon as it is true."""
    return _wait_for


@pytest.fixture(scope="session")
def a_row() -> Callable[..., dict[str, Any]]:
    """Make a row of the tiny model."""
    return lambda number=1, **changes: {"number": number, "sent_at": "2026-05-01T12:00:00Z", "grams": 500.0} | changes


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny project whose first version is live. Copy it; do not touch it."""
    from perene.app import open_project

    folder = tmp_path_factory.mktemp("trained") / "tiny"
    shutil.copytree(TINY, folder)
    app = open_project(folder)
    app.train(MODEL, actor="test")
    app.close()
    return folder


@pytest.fixture
def tiny(trained: Path, tmp_path: Path) -> Path:
    """A tiny project of one's own, whose first version is live."""
    return Path(shutil.copytree(trained, tmp_path / "tiny"))


@pytest.fixture(scope="module")
def server(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of a tiny project, shared by the tests of a file."""
    folder = tmp_path_factory.mktemp("served") / "tiny"
    with _server_of(Path(shutil.copytree(trained, folder))) as running:
        yield running


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    """A connection to the shared server."""
    client = server.client()
    yield client
    client.close()
