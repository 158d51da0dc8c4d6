"""Requests that wait: for how long, how many, and what becomes of them when nobody wants them or the server stops."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from perene.app import open_project

MODEL = "parcel-hours"
HELD = 777.5  # grams of a parcel whose features wait for the gate
GATE = """
    if (rows["grams"] == 777.5).any():
        import time
        from pathlib import Path
        Path({folder!r}, "busy").touch()
        while not Path({folder!r}, "open").exists():
            time.sleep(0.01)
    return rows.select("""
LIMITS = """
queue_rows = 5
max_rows = 4
max_body = "4kB"
deadline = "60s"
"""


@dataclass
class Gated:
    """A server whose model holds some rows until it is let go."""

    server: Any
    folder: Path
    a_row: Callable[..., dict[str, Any]]
    wait_for: Callable[..., Any]
    asked: list[threading.Thread] = field(default_factory=list)
    told: dict[str, tuple[int, Any]] = field(default_factory=dict)

    def ask(self, id_: str, *, grams: float = 500.0, rows: int = 1, timeout: str = "") -> tuple[int, Any]:
        """Ask for a prediction under an id of one's own, on a connection of one's own."""
        asked = [self.a_row(n, grams=grams) for n in range(rows)]
        asked[0]["prediction_id"] = id_
        with closing(self.server.client()) as client:
            headers = {"x-perene-timeout": timeout} if timeout else {}
            told = client.ask("POST", f"/v1/models/{MODEL}/predict", {"rows": asked}, headers)
        self.headers = client.headers
        return told

    def ask_aside(self, id_: str, **how: Any) -> None:
        """The same, without waiting for the answer, which goes to ``told``."""

        def one() -> None:
            try:
                while (told := self.ask(id_, **how))[0] == 503:  # another had the last place
                    time.sleep(0.01)
            except (OSError, http.client.HTTPException):
                told = 0, None
            self.told[id_] = told

        self.asked.append(threading.Thread(target=one))
        self.asked[-1].start()

    def hold(self, id_: str) -> None:
        """Have a request computed that does not end, so that others wait."""
        self.ask_aside(id_, grams=HELD)
        self.wait_for(lambda: (self.folder / "busy").exists())

    def counted(self) -> dict[str, float]:
        """How many rows ended how, as /metrics tells it."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.server.port}/metrics", timeout=60) as page:
            told = page.read().decode()
        found = re.findall(r'perene_predictions_total\{mode="online",.*outcome="(\w+)"\} (\S+)', told)
        return {outcome: float(number) for outcome, number in found}

    def let_go(self) -> None:
        """Open the gate, and wait until everybody has an answer."""
        (self.folder / "open").touch()
        for thread in self.asked:
            thread.join(60)


@pytest.fixture(scope="module")
def gated_project(tmp_path_factory, trained) -> Path:
    """A trained project whose model has a gate. Its server takes few rows."""
    folder = tmp_path_factory.mktemp("gated") / "tiny"
    shutil.copytree(trained.parent / trained.name, folder, ignore=shutil.ignore_patterns(".perene"))
    code = folder / "models" / "parcel_hours.py"
    text = code.read_text()
    assert "    return rows.select(kilograms" in text
    gate = GATE.format(folder=str(folder))
    code.write_text(text.replace("\n    return rows.select(kilograms", f"{gate}kilograms", 1))
    (folder / "perene.toml").write_text((folder / "perene.toml").read_text() + LIMITS)
    with closing(open_project(folder)) as app:
        app.train(MODEL, actor="test")
    return folder


@contextmanager
def gated_server(folder: Path, server_of, a_row, wait_for) -> Iterator[Gated]:
    for name in ("busy", "open"):
        (folder / name).unlink(missing_ok=True)
    with server_of(folder) as server:
        made = Gated(server, folder, a_row, wait_for)
        try:
            yield made
        finally:
            made.let_go()


@pytest.fixture(scope="module")
def shared(gated_project, server_of, a_row, wait_for) -> Iterator[Gated]:
    """One server for the tests that do not end it."""
    with gated_server(gated_project, server_of, a_row, wait_for) as made:
        yield made


@pytest.fixture
def gated(shared: Gated) -> Iterator[Gated]:
    """The gate is closed; at the end of a test nobody waits any more."""
    for name in ("busy", "open"):
        (shared.folder / name).unlink(missing_ok=True)
    shared.told.clear()
    yield shared
    shared.let_go()
    shared.asked.clear()


def test_rows_and_bytes_have_the_limits_of_the_settings(gated) -> None:
    """One row or one byte more is a 413 that names the limit."""
    fits, rows = gated.ask("fits", rows=4), gated.ask("rows", rows=5)
    with closing(gated.server.client()) as client:
        large = client.ask("POST", f"/v1/models/{MODEL}/predict", b" " * 4001)

    assert fits[0] == 200
    assert (rows[0], rows[1]["code"], rows[1]["why"]) == (413, "too-large", "5 rows; the limit is 4")
    assert (large[0], large[1]["code"], large[1]["why"]) == (413, "too-large", "the limit is 4000 bytes")


def test_a_full_queue_answers_at_once(gated) -> None:
    """Beyond queue_rows a request is refused with Retry-After while the others still wait; they are answered."""
    gated.hold("is computed")
    for n in range(5):
        gated.ask_aside(f"waits {n}")
    status, refused = gated.wait_for(lambda: (told := gated.ask("too many", timeout="200ms"))[0] == 503 and told)
    headers, waiting = gated.headers, dict(gated.told)
    gated.let_go()

    assert (status, refused["code"], headers["retry-after"]) == (503, "queue-full", "1")
    assert waiting == {}
    assert {status for status, _ in gated.told.values()} == {200}
    assert len(gated.told) == 6


def test_a_request_may_have_less_time_than_the_settings_give(gated) -> None:
    """Over its time it is a 504 while another is computed; it is not computed and not logged."""
    gated.hold("holds it up")
    status, late = gated.ask("late", timeout="100ms")
    gated.let_go()
    again = gated.ask("late", timeout="1m")

    assert (status, late["code"], late["status"]) == (504, "deadline", 504)
    assert gated.told["holds it up"][0] == 200
    assert again[0] == 200
    assert "repeated" not in again[1]["predictions"][0]


def test_what_is_being_computed_when_its_time_is_over_is_logged_whole(gated) -> None:
    """Its caller is told 504; whoever asks again under the same id gets what was logged."""
    status, _ = gated.ask("half", grams=HELD, timeout="300ms")
    gated.let_go()
    again = gated.wait_for(
        lambda: (told := gated.ask("half", grams=HELD))[1]["predictions"][0].get("repeated") and told
    )

    assert (status, again[0]) == (504, 200)


@pytest.mark.parametrize("timeout", ["5", "soon", "-1s", "1 second"])
def test_a_time_that_is_no_duration_is_refused(gated, timeout) -> None:
    """The header says a duration, as settings do."""
    status, refused = gated.ask("no time", timeout=timeout)

    assert (status, refused["code"]) == (400, "bad-request")
    assert "250ms" in refused["mend"]


def test_what_nobody_waits_for_is_not_computed(gated) -> None:
    """A caller that went away while its request waited: the id was never answered, and nothing is logged. It is counted
    as abandoned, and as no failure of the server's."""
    before = gated.counted()
    gated.hold("holds all up")
    body = json.dumps({"rows": [gated.a_row(prediction_id="gone")]}).encode()
    head = f"POST /v1/models/{MODEL}/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", gated.server.port)) as connection:
        connection.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
    with closing(gated.server.client()) as client:
        alive = [client.ask("GET", "/healthz")[0] for _ in range(20)]
    gated.wait_for(lambda: gated.counted()["abandoned"] > before["abandoned"])
    gated.let_go()
    counted = gated.counted()
    again = gated.ask("gone")

    assert set(alive) == {200}
    assert counted == before | {"abandoned": before["abandoned"] + 1, "answered": before["answered"] + 1}
    assert again[0] == 200
    assert "repeated" not in again[1]["predictions"][0]


def test_a_server_that_stops_answers_what_it_took_in(gated_project, server_of, a_row, wait_for) -> None:
    """After SIGTERM nobody is let in; who waits is answered and logged; the exit code is 0."""
    with gated_server(gated_project, server_of, a_row, wait_for) as gated:
        gated.hold("computed")
        for n in range(3):
            gated.ask_aside(f"waits {n}")
        wait_for(lambda: (told := gated.ask("too many", rows=3, timeout="200ms")) and told[0] == 503)
        gated.server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: refuses(gated.server.port))
        gated.let_go()
        code = gated.server.process.wait(60)
    with closing(open_project(gated_project)) as app:
        logged = app.predictions.scan(app.project.models[MODEL]).collect()["prediction_id"].to_list()

    assert code == 0
    assert {status for status, _ in gated.told.values()} == {200}
    assert {"computed", "waits 0", "waits 1", "waits 2"} <= set(logged)


def test_a_second_signal_does_not_wait(gated_project, server_of, a_row, wait_for) -> None:
    """While a request is computed that does not end, the server goes at once; the first signal twice is one."""
    with gated_server(gated_project, server_of, a_row, wait_for) as gated:
        gated.hold("never")
        for _ in range(2):
            gated.server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: refuses(gated.server.port))
        before = gated.server.process.poll()
        time.sleep(0.6)
        gated.server.process.send_signal(signal.SIGTERM)
        code = gated.server.process.wait(60)

    assert (before, code) == (None, 128 + signal.SIGTERM)


def refuses(port: int) -> bool:
    """Whether nobody listens any more."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False
