"""Fault: one of the server processes at a port is killed under load. Promise: laws 3 and 8; the others go on."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

from perene.app import open_project
from perene.monitoring.doctor.lives import check_servers
from perene.storage.envelope import Log
from perene.storage.journal import journal_folder

MODEL = "parcel-hours"


@dataclass
class Workers:
    """A running ``perene serve --workers 2``."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        """What it wrote."""
        return (self.folder / "serve.log").read_text()

    @property
    def port(self) -> int:
        """Where it answers."""
        said = re.search(r"^listening on http://127\.0\.0\.1:(\d+)$", self.log, re.MULTILINE)
        return int(said.group(1)) if said else 0

    def pids(self) -> list[int]:
        """The processes that answer, by name."""
        children = psutil.Process(self.process.pid).children()
        return [child.pid for child in children if "serve" in child.cmdline()]


@contextmanager
def workers_of(folder: Path, wait_for: Any) -> Iterator[Workers]:
    """Start two processes on a free port, wait until both answer; end them in any case."""
    with (folder / "serve.log").open("wb") as log:
        command = [sys.executable, "-m", "perene.cli", "serve", "--port", "0", "--workers", "2"]
        process = subprocess.Popen(command, cwd=folder, stderr=log, start_new_session=True)
    running = Workers(folder, process)
    try:
        wait_for(lambda: running.port or process.poll() is not None, seconds=60)
        assert process.poll() is None, running.log
        yield running
    finally:
        pids = running.pids() if process.poll() is None else []
        process.kill()
        process.wait()
        for pid in pids:
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGKILL)


@dataclass
class Caller:
    """Sends one request after another, and connects again when a connection ends; counts those without an answer."""

    port: int
    a_row: Any
    number: int
    answered: list[str] = field(default_factory=list)
    truths: list[int] = field(default_factory=list)
    broken: int = 0  # on a connection that had been taken: it had answered before
    untaken: int = 0  # on a new one, which the dead process had not taken yet
    wrong: list[object] = field(default_factory=list)

    def __call__(self, stop: threading.Event, client_of: Any) -> None:
        sent = self.number * 1_000_000
        client, has_answered = client_of(self.port), False
        while not stop.is_set():
            sent += 1
            try:
                status, answer = client.predict([self.a_row(sent), self.a_row(sent + 500_000)])
                has_answered = True
                if status != 200:
                    self.wrong.append(answer)
                    continue
                self.answered += [p["prediction_id"] for p in answer["predictions"]]
                if sent % 7 == 0:
                    truth = {"number": sent, "sent_at": "2026-05-01T12:00:00Z", "hours": 0.5}
                    assert client.post_truth([truth])[0] == 202
                    self.truths.append(sent)
            except (OSError, http.client.HTTPException):
                self.broken += has_answered
                self.untaken += not has_answered
                client.close()
                client, has_answered = client_of(self.port), False
        client.close()


def test_a_killed_process_takes_no_more_along_than_its_requests(tiny, a_row, wait_for, client_of) -> None:
    """Proof: four clients under load, one process killed. Each client loses at most the request that it had there, and
    one on a connection that the dead process had not taken yet (each process has its own queue at the port); the other
    answers on, another comes, and in the end each answer and truth is in the log once.
    """
    stop = threading.Event()
    with workers_of(tiny, wait_for) as running:
        callers = [Caller(running.port, a_row, n) for n in range(4)]
        threads = [threading.Thread(target=caller, args=(stop, client_of)) for caller in callers]
        for thread in threads:
            thread.start()
        wait_for(lambda: all(len(caller.answered) > 100 for caller in callers))
        before = running.pids()
        os.kill(before[0], signal.SIGKILL)
        counts = [len(caller.answered) for caller in callers]
        wait_for(lambda: all(len(c.answered) > n + 100 for c, n in zip(callers, counts, strict=True)))
        wait_for(lambda: "answers again" in running.log, seconds=60)
        after = running.pids()
        stop.set()
        for thread in threads:
            thread.join(60)
        running.process.send_signal(signal.SIGTERM)
        code = running.process.wait(60)
    with closing(open_project(tiny)) as app:
        assert app.drained()  # also what the killed one left, where no other came to it before all ended
        log = app.lake.scan(MODEL, Log.PREDICTIONS).collect()["prediction_id"].to_list()
        truths = app.lake.scan(MODEL, Log.TRUTHS).collect()["key"].to_list()
        alive = app.servers.alive(timedelta(hours=1))

    assert [caller.wrong for caller in callers] == [[], [], [], []]
    assert max(caller.broken for caller in callers) <= 1
    assert max(caller.untaken for caller in callers) <= 1
    assert len(set(after) - set(before)) == 1
    assert len(set(after) & set(before)) == 1
    assert code == 0
    assert len(log) == len(set(log))
    assert {id_ for caller in callers for id_ in caller.answered} <= set(log)
    assert {f"[{number}]" for caller in callers for number in caller.truths} <= set(truths)
    assert len(truths) == len(set(truths))
    assert list(journal_folder(tiny).iterdir()) == []
    assert alive == []


def test_both_processes_answer_follow_a_release_and_end_together(tiny, a_row, wait_for, client_of) -> None:
    """Each beats with the version that it answers with; new connections go to both; doctor counts them."""
    with workers_of(tiny, wait_for) as running, closing(open_project(tiny)) as app:
        beating = wait_for(lambda: len(found := app.servers.alive(timedelta(seconds=10))) == 2 and found)
        app.train(MODEL, actor="test")
        wait_for(lambda: [s.serves for s in app.servers.alive(timedelta(seconds=10))] == [{MODEL: 2}] * 2)
        clients = [client_of(running.port) for _ in range(24)]
        answers = [client.predict([a_row()]) for client in clients]
        held = [len(psutil.Process(pid).net_connections()) - 1 for pid in running.pids()]
        (servers,) = [
            finding.what for finding in check_servers(app.database, app.machine) if finding.check == "servers"
        ]
        for client in clients:
            client.close()
        pids = running.pids()
        running.process.send_signal(signal.SIGINT)
        code = running.process.wait(60)

    assert {server.address for server in beating} == {f"http://127.0.0.1:{running.port}"}
    assert {(status, answer["model_version"]) for status, answer in answers} == {(200, 2)}
    assert sum(held) == 24
    assert min(held) > 0
    assert servers == f"http://127.0.0.1:{running.port} (2 processes)"
    assert code == 0
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert running.log.count("listening on") == 1
    assert "Traceback" not in running.log


def test_a_port_that_others_share_is_taken(tiny, wait_for) -> None:
    """A second server does not join the processes of the first: it is told that the port is taken."""
    with workers_of(tiny, wait_for) as running:
        ends = []
        for workers in ("1", "2"):
            command = [sys.executable, "-m", "perene.cli", "serve", "--port", str(running.port), "--workers", workers]
            ends.append(subprocess.run(command, cwd=tiny, capture_output=True, text=True, timeout=120))

    assert [end.returncode for end in ends] == [1, 1]
    assert all("error[port-unusable]" in end.stderr for end in ends)


def test_the_processes_end_when_the_one_that_watches_them_is_killed(tiny, wait_for) -> None:
    """Killed with SIGKILL, it leaves nobody behind."""
    with workers_of(tiny, wait_for) as running:
        pids = running.pids()
        running.process.kill()
        wait_for(lambda: not [pid for pid in pids if psutil.pid_exists(pid)], seconds=60)

    assert len(pids) == 2
