"""Server processes: who lives, what they run, and what they are asked to do; all by machine time."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from perene.repositories.servers import Servers

WITHIN = timedelta(seconds=15)
ADDRESS = "http://127.0.0.1:8780"


@pytest.fixture
def servers(database, clock) -> Servers:
    """The server processes of a project."""
    return Servers(database, clock)


def test_a_server_that_beats_is_alive(servers, clock) -> None:
    """What it said last stands, and since when it runs."""
    started = clock.now
    servers.beat("s", address=ADDRESS, serves={"m": 3})
    beat = clock.move(seconds=2)
    servers.beat("s", address=ADDRESS, serves={"m": 4, "n": 1}, lost=7, drained_at=started)

    (server,) = servers.alive(WITHIN)
    assert (server.id, server.address, server.serves, server.lost) == ("s", ADDRESS, {"m": 4, "n": 1}, 7)
    assert (server.started_at, server.heartbeat_at, server.drained_at) == (started, beat, started)


def test_a_silent_server_is_dead(servers, clock) -> None:
    """It counts up to and with the moment that is asked for, and lives again when it beats."""
    servers.beat("s", address=ADDRESS, serves={})

    clock.move(seconds=15)
    at_the_limit = servers.alive(WITHIN)
    clock.move(seconds=0.001)
    beyond = servers.alive(WITHIN)
    servers.beat("s", address=ADDRESS, serves={})

    assert (len(at_the_limit), len(beyond), len(servers.alive(WITHIN))) == (1, 0, 1)


def test_the_oldest_comes_first(servers, clock) -> None:
    """Living servers are listed by when they started."""
    for id in ("b", "a", "c"):
        servers.beat(id, address=ADDRESS, serves={})
        clock.move(seconds=1)
    servers.beat("b", address=ADDRESS, serves={})

    assert [server.id for server in servers.alive(WITHIN)] == ["b", "a", "c"]


def test_a_forgotten_server_is_gone(servers) -> None:
    """A server that ended is no longer waited for; forgetting one that is unknown does nothing."""
    servers.beat("s", address=ADDRESS, serves={})
    servers.beat("t", address=ADDRESS, serves={})

    servers.forget("s")
    servers.forget("unknown")

    assert [server.id for server in servers.alive(WITHIN)] == ["t"]


def test_a_drain_is_asked_for_by_machine_time(servers, clock) -> None:
    """The time that a server's drained_at must reach is that of the newest request."""
    before = servers.drain_requested_at()
    first = servers.request_drain()
    clock.move(seconds=3)
    second = servers.request_drain()

    assert before is None
    assert (first, second) == (clock.now - timedelta(seconds=3), clock.now)
    assert servers.drain_requested_at() == second


def test_a_clock_that_was_set_back_does_not_take_a_request_back(servers, clock) -> None:
    """What must be reached never becomes less."""
    asked = servers.request_drain()
    clock.move(seconds=-60)

    assert servers.request_drain() == asked
    assert servers.drain_requested_at() == asked


def test_many_that_ask_at_once_are_all_served(servers, database, beside) -> None:
    """Whoever asks gets a time that the one request in the database reaches."""
    others = [beside(database) for _ in range(6)]
    times = [datetime(2026, 1, 1, 0, 0, n, tzinfo=UTC) for n in range(6)]
    gate, given = threading.Barrier(6), []

    def ask(n: int) -> None:
        gate.wait()
        given.append((times[n], Servers(others[n], lambda: times[n]).request_drain()))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(asked <= must_reach <= times[-1] for asked, must_reach in given)
    assert len(given) == 6
    assert servers.drain_requested_at() == times[-1]
