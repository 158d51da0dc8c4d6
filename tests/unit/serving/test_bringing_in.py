"""Bringing in what servers answered: the living are asked, the dead are drained, and patience ends."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest

from perene.pipelines.draining import bring_in
from perene.pipelines.journaling import AnsweredRows, answered_rows
from perene.repositories.servers import Servers
from perene.storage.journal import Journal, read_open

ADDRESS = "http://127.0.0.1:8780"


def write(journal: Journal, *lines: AnsweredRows, model: str = "plain") -> None:
    journal.write([entry for line in lines for entry in line.entries(model)])


def ids(bench, name: str = "plain") -> list[str]:
    return sorted(bench.log(name)["prediction_id"])


@pytest.fixture
def servers(bench) -> Servers:
    """The server processes of the bench."""
    return Servers(bench.database, bench.clock)


def brought(bench, servers: Servers, seconds: float = 20) -> bool:
    return bring_in(servers, bench.journals, bench.logs, patience=timedelta(seconds=seconds))


def test_what_dead_servers_left_is_brought_in(bench, servers, mortal, a_line) -> None:
    """Nobody lives: their files are drained at once, and all of it is there."""
    write(mortal, a_line("a"))
    mortal.close()

    assert brought(bench, servers)
    assert ids(bench) == ["a"]


def test_living_servers_are_asked_and_waited_for(bench, servers, journal, a_line) -> None:
    """A server that drains what it answered before the question is waited for, and no longer."""
    write(journal, a_line("a"))
    servers.beat("w1", address=ADDRESS, serves={}, drained_at=bench.clock.now() - timedelta(seconds=1))
    ended = threading.Event()

    def keep_house() -> None:
        while not ended.wait(0.01):
            asked = servers.drain_requested_at()
            if asked is not None:
                bench.drain(journal)
                servers.beat("w1", address=ADDRESS, serves={}, drained_at=asked)

    house = threading.Thread(target=keep_house)
    house.start()
    there = brought(bench, servers)
    ended.set()
    house.join()

    assert there
    assert ids(bench) == ["a"]


def test_a_server_that_does_not_drain_is_not_waited_for_for_ever(bench, servers, journal, a_line, caplog) -> None:
    """After the patience the caller hears that something is missing; nothing is lost."""
    write(journal, a_line("a"))
    servers.beat("w1", address=ADDRESS, serves={})

    assert not brought(bench, servers, seconds=0.1)
    assert "drain_late" in caplog.text
    waiting = read_open(bench.journals).entries("plain", "prediction")
    assert [answered_rows(entry.body).prediction_id for entry in waiting] == [["a"]]


def test_a_server_that_dies_meanwhile_is_drained_by_who_asked(bench, servers, mortal, a_line) -> None:
    """Its beats end, its lock is free: its files are an orphan's."""
    write(mortal, a_line("a"))
    servers.beat("w1", address=ADDRESS, serves={})

    def die() -> None:
        while servers.drain_requested_at() is None:
            time.sleep(0.005)
        mortal.close()
        bench.clock.move(seconds=16)

    death = threading.Thread(target=die)
    death.start()
    there = brought(bench, servers)
    death.join()

    assert there
    assert ids(bench) == ["a"]


def test_what_cannot_be_brought_in_is_said(bench, servers, mortal, a_line, caplog) -> None:
    """A failure of the drain is an answer of no, and stands in the log with its reason."""
    write(mortal, a_line("x"), model="gone")
    mortal.close()

    assert not brought(bench, servers)
    assert "drain_failed" in caplog.text
    assert "gone" in caplog.text
