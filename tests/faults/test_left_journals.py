"""Fault: a server is killed and leaves its journal. Promise: nothing is missing until, and after, the next start."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from perene.app import open_project
from perene.storage.envelope import Log
from perene.storage.journal import journal_files, journal_folder

MODEL = "parcel-hours"


@pytest.fixture
def left(tiny, server_of, a_row) -> list[str]:
    """The ids that a server of ``tiny`` answered, some of them the caller's own, before it was killed."""
    with server_of(tiny) as server:
        client = server.client()
        given = [a_row(n) | ({"prediction_id": f"own-{n}"} if n % 2 else {}) for n in range(20)]
        made = [p["prediction_id"] for p in client.predict(given)[1]["predictions"]]
        client.close()
        server.end(signal.SIGKILL)
    return made


def perene(folder: Path, *arguments: str) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "perene.cli", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60).stdout


@contextmanager
def up(folder: Path) -> Iterator[None]:
    """``perene up`` in a project; it is asked to end, and is killed with all that it started when it does not."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "perene.cli", "up", "--port", port], cwd=folder, stderr=log)
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (folder / "up.log").read_text()
    finally:
        process.kill()
        process.wait()


def logged(folder: Path) -> list[str]:
    """Every id in the table of predictions itself."""
    app = open_project(folder)
    found = app.lake.scan(MODEL, Log.PREDICTIONS).collect()
    app.close()
    return [] if found.is_empty() else found["prediction_id"].to_list()


def test_a_dead_servers_predictions_are_found_before_they_are_drained(tiny, left) -> None:
    """Proof: `perene prediction list` and `show` read the journal that nobody has drained yet."""
    listed = json.loads(perene(tiny, "prediction", "list", MODEL, "--limit", "50", "--json"))["data"]
    shown = json.loads(perene(tiny, "prediction", "show", left[1], "--json"))["data"]

    assert {line["prediction_id"] for line in listed} == {*left}
    assert shown["prediction_id"] == left[1] == "own-1"
    assert logged(tiny) == []


def test_up_drains_what_a_dead_server_left(tiny, left, wait_for) -> None:
    """Proof: `perene up` brings every line into the log once, and nothing is left of the dead writer."""
    before = {file.writer for file in journal_files(journal_folder(tiny))}

    with up(tiny):
        wait_for(lambda: len(logged(tiny)) >= 20, seconds=60)
        left_over = [path.name for path in journal_folder(tiny).iterdir() if path.name.rpartition("-")[0] in before]

    assert sorted(logged(tiny)) == sorted(left)
    assert left_over == []
    assert list(journal_folder(tiny).iterdir()) == []


def test_a_run_learns_from_what_a_dead_server_left(tiny, left) -> None:
    """Proof: before a run reads the log, it drains what dead servers left, and waits for none of them: no server is
    asked to drain.
    """
    app = open_project(tiny)
    there, asked, alive = app.drained(), app.servers.drain_requested_at(), app.servers.alive(timedelta(days=1))
    app.close()

    assert (there, asked, alive) == (True, None, [])
    assert sorted(logged(tiny)) == sorted(left)


def test_a_drain_that_is_killed_is_gone_on_with_by_the_next_start(tiny, left, server_of, wait_for) -> None:
    """Proof: a second server dies between the lake and the database, with the first one's journal in its hands."""
    dies = "import os, signal\nfrom perene.storage.ingests import Ingests\n"
    dies += "Ingests.commit = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
    with server_of(tiny, dies) as second:
        assert second.process.wait(60) == -signal.SIGKILL
    with server_of(tiny) as third:
        wait_for(lambda: len(logged(tiny)) >= 20)
        assert third.end(signal.SIGTERM) == 0

    assert sorted(logged(tiny)) == sorted(left)
    assert list(journal_folder(tiny).iterdir()) == []
