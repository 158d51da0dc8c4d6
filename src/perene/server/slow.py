"""Connections that keep a server waiting: ended after a while, which uvicorn does not do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from perene.server.problems import RequestError, problem

READ_S = 20.0  # for the head of a request, for its body, and for reading the rest of an answer: this long each

# A connection is one of uvicorn's HttpToolsProtocol.
Connection = Any


class SlowConnections:
    """Looks through the connections now and then, so that no request pays for a timer of its own."""

    def __init__(self, *, read_s: float | None = None) -> None:
        self._read_s = READ_S if read_s is None else read_s
        self._waited_for: dict[Connection, tuple[object, float]] = {}  # what for, and since when

    def end(self, connections: Iterable[Connection], now: float) -> None:
        """End those that have been waited for too long; who was sending a body is told so (408)."""
        waited_for: dict[Connection, tuple[object, float]] = {}
        for connection in list(connections):
            what = _waits_for(connection)
            if what is None:
                continue
            before = self._waited_for.get(connection)
            since = before[1] if before is not None and before[0] == what else now
            if now - since < self._read_s:
                waited_for[connection] = what, since
            else:
                _end(connection, tell=what[0] == "body", seconds=self._read_s)
        self._waited_for = waited_for


def _waits_for(connection: Connection) -> tuple[str, object] | None:
    """What the server waits for here, and of which request; None where it is the server's turn, or nobody's."""
    cycle = connection.cycle
    if connection.transport.is_closing() or connection.transport.get_write_buffer_size():
        return "reader", cycle
    if cycle is None or cycle.response_complete:
        is_idle = connection.timeout_keep_alive_task is not None  # between two requests; uvicorn ends it in time
        return None if is_idle else ("head", cycle)
    return ("body", cycle) if cycle.more_body else None


def _end(connection: Connection, *, tell: bool, seconds: float) -> None:
    if not tell:
        connection.transport.abort()
        return
    why = f"it was not here after {seconds:g} seconds"
    refusal = problem(RequestError("the body comes too slowly", why=why, mend="send it at once", code="too-slow"))
    head = [b"HTTP/1.1 408 Request Timeout", *(b"%s: %s" % header for header in refusal.headers), b"connection: close"]
    connection.transport.write(b"\r\n".join([*head, b"", refusal.body]))
    connection.transport.close()
