"""Fault: requests that no client of good will sends. Promise: law 11, each is refused clearly; the server goes on."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psutil
import pytest

MODEL = "parcel-hours"
PREDICT = f"/v1/models/{MODEL}/predict"
HURRIED = """
from perene.server import slow

slow.READ_S = 1.0
"""
MANY = 100 * 1024 * 1024
DEEP = 100_000


@pytest.fixture(scope="module")
def server(trained, tmp_path_factory, server_of) -> Iterator[Any]:
    """A server of a tiny project, with less patience than usual."""
    import shutil

    folder = tmp_path_factory.mktemp("bad") / "tiny"
    shutil.copytree(trained, folder)
    with server_of(folder, HURRIED) as running:
        yield running


@contextmanager
def connected(server: Any) -> Iterator[socket.socket]:
    """A bare connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        yield connection


def heads(length: str, path: str = PREDICT) -> bytes:
    """The head of a request."""
    lines = (f"POST {path} HTTP/1.1", "host: localhost", "content-type: application/json", length, "", "")
    return "\r\n".join(lines).encode()


def told(connection: socket.socket) -> bytes:
    """What comes until the connection ends."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def told_at_once(connection: socket.socket) -> tuple[int, Any]:
    """Status and content of one answer, on a connection that stays."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += connection.recv(65536)
    return int(head.split()[1]), json.loads(body)


def still_answers(client: Any, a_row: Any) -> bool:
    """Whether the next request is answered."""
    return client.predict([a_row()])[0] == 200


# ── what cannot be read ──────────────────────────────────────────────────────────────────────────────────────────────


def row(changes: str) -> bytes:
    """A body whose one row has a field written so."""
    return f'{{"rows": [{{"number": 1, "sent_at": "2026-05-01T12:00:00Z", "grams": {changes}}}]}}'.encode()


UNREADABLE = {
    "NaN": (row("NaN"), 400),
    "Infinity": (row("-Infinity"), 400),
    "a number too large": (row("1e999"), 400),
    "a number of a million digits": (row("9" * 1_000_000), 400),
    "deep lists": (row("[" * DEEP + "]" * DEEP), 400),
    "deep objects": (row('{"a":' * DEEP + "1" + "}" * DEEP), 400),
    "depth alone": (b"[" * DEEP, 400),
    "half a surrogate": (row('"\\ud800"'), 400),
    "no UTF-8": (row('"x"').replace(b"x", b"\xff"), 400),
    "a NUL": (row('"\\u0000"'), 422),
    "a text for a number": (row('"500"'), 422),
    "a list for a number": (row("[500]"), 422),
    "an object for a number": (row('{"value": 500}'), 422),
    "true for a number": (row("true"), 422),
    "null for a number": (row("null"), 422),
    "rows of rows": (b'{"rows": [[{"number": 1}]]}', 422),
    "two documents": (row("1.0") * 2, 400),
    "nothing": (b"", 400),
    "a row of 200,000 fields": (b'{"rows": [{' + b",".join(b'"%d": 1' % n for n in range(200_000)) + b"}]}", 422),
    "10,000 bad rows": (b'{"rows": [' + b",".join([b'{"a": 1, "b": 2, "c": 3}'] * 10_000) + b"]}", 422),
    "a name of a megabyte": (b'{"rows": [{"' + b"n" * 1_000_000 + b'": 1}]}', 422),
}


@pytest.mark.parametrize("route", ["predict", "ground-truth"])
@pytest.mark.parametrize("case", UNREADABLE)
def test_what_cannot_be_read_is_refused(client, a_row, case, route) -> None:
    """Proof: a problem with its four parts, of a readable size; the same connection answers the next request."""
    body, status = UNREADABLE[case]

    got, answer = client.ask("POST", f"/v1/models/{MODEL}/{route}", body)

    assert got in ((status,) if route == "predict" else (400, 422))
    assert {"what", "why", "mend", "code"} <= set(answer)
    assert len(json.dumps(answer)) < 200_000
    assert still_answers(client, a_row)


# ── what is too much ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["said", "in chunks"])
def test_a_hundred_megabytes_are_refused_cheaply(server, client, a_row, how) -> None:
    """Proof: 413 before the body is whole, hardly any memory, and others are answered meanwhile."""
    process = psutil.Process(server.process.pid)
    assert still_answers(client, a_row)
    before = process.memory_info().rss
    part = b" " * (1024 * 1024)
    with connected(server) as connection:
        connection.sendall(heads(f"content-length: {MANY}" if how == "said" else "transfer-encoding: chunked"))
        sent = 0
        connection.settimeout(0.0)
        answer = b""
        while not answer and sent < MANY:
            connection.settimeout(60)
            connection.sendall(part if how == "said" else b"%x\r\n%s\r\n" % (len(part), part))
            sent += len(part)
            connection.settimeout(0.0)
            try:
                answer = connection.recv(65536)
            except BlockingIOError:
                continue
        assert still_answers(client, a_row)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert sent < MANY
    assert process.memory_info().rss - before < MANY / 2


# ── what comes too slowly ────────────────────────────────────────────────────────────────────────────────────────────


def trickle(connection: socket.socket, part: bytes) -> bytes:
    """Send the same again and again, until the server has had enough; what it said."""
    while True:
        try:
            connection.sendall(part)
            connection.settimeout(0.1)
            return told(connection)
        except TimeoutError:
            continue
        except OSError:
            return b""


def test_a_body_that_trickles_in_is_cut_off(server, client, a_row) -> None:
    """Proof: a byte now and then; 408 and the end of the connection."""
    with connected(server) as connection:
        connection.sendall(heads("content-length: 1000000"))
        said = trickle(connection, b" ")

    assert said == b"" or said.startswith(b"HTTP/1.1 408 ")
    assert still_answers(client, a_row)


def test_a_body_that_stops_is_told(server) -> None:
    """Proof: half a body, and then nothing: 408 with its four parts."""
    with connected(server) as connection:
        connection.sendall(heads("content-length: 100") + b'{"rows": [')
        said = told(connection)

    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in head
    assert {"what", "why", "mend", "code"} <= set(json.loads(body))
    assert json.loads(body)["code"] == "too-slow"


def test_a_head_that_trickles_in_is_cut_off(server) -> None:
    """Proof: a header now and then, or none at all: the connection ends."""
    with connected(server) as slow, connected(server) as silent:
        slow.sendall(b"POST / HTTP/1.1\r\n")
        said = trickle(slow, b"x: y\r\n"), told(silent)

    assert said == (b"", b"")


def test_the_second_request_of_a_connection_must_come_in_time_too(server) -> None:
    """Proof: a whole request, then half the head of another."""
    with connected(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        first = told_at_once(connection)
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        said = told(connection)

    assert first == (200, {"status": "ok"})
    assert said == b""


def test_who_does_not_read_is_cut_off(server, client, a_row) -> None:
    """Proof: thousands of large answers are asked for, and none is read: the connection ends."""
    body = json.dumps({"rows": [a_row(n) for n in range(2000)]}).encode()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(0.2)
        connection.connect(("127.0.0.1", server.port))
        until = time.monotonic() + 60
        with pytest.raises((ConnectionError, BrokenPipeError)):
            while time.monotonic() < until:
                try:
                    connection.sendall(heads(f"content-length: {len(body)}") + body)
                except TimeoutError:
                    continue

    assert still_answers(client, a_row)


def test_a_connection_may_wait_between_two_requests(server) -> None:
    """Proof: an idle connection is kept for longer than a request may take to come."""
    with closing(server.client()) as client:
        first = client.ask("GET", "/healthz")[0]
        kept = client.connection.sock
        time.sleep(2.5)
        again = client.ask("GET", "/healthz")[0]
        same = client.connection.sock is kept is not None

    assert (first, again, same) == (200, 200, True)


def test_many_slow_connections_keep_nobody_out(server, client, a_row) -> None:
    """Proof: three hundred half requests at once; others are answered, and all of them end."""
    connections = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(300)]
    for connection in connections:
        connection.sendall(heads("content-length: 100"))
    answered = [still_answers(client, a_row) for _ in range(20)]
    said = [told(connection).startswith(b"HTTP/1.1 408 ") for connection in connections]
    for connection in connections:
        connection.close()

    assert all(answered)
    assert all(said)
