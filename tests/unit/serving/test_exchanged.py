"""What an exchanged version left is freed, but not while requests are answered."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator
from time import perf_counter
from types import FunctionType

import pytest

from perene.server import roster as roster_module
from perene.server.answering import Answering
from perene.server.roster import Roster


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """The interpreter is left as it was."""
    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)
    sys.setswitchinterval(interval)


@pytest.fixture
def answering(bench, journal) -> Iterator[Answering]:
    made = Answering(bench.models["plain"], bench.desk(journal))
    yield made
    made.batcher.close()


def left_behind() -> weakref.ref[FunctionType]:
    """A function of a version's module, which only the collector can free: it holds the names that hold it."""
    names: dict[str, FunctionType] = {}
    exec("def features(rows): return rows", names)
    roster_module._freeze()
    return weakref.ref(names["features"])


def exchanged(answering: Answering) -> Roster:
    """A roster that has exchanged a version of this model just now."""
    roster = Roster(None, {"plain": answering})  # type: ignore[arg-type]
    roster._exchanged_at = perf_counter()
    return roster


def test_what_is_left_goes_in_a_quiet_moment(answering) -> None:
    """No request was answered lately: what only a walk over everything finds is freed, once."""
    roster, left = exchanged(answering), left_behind()
    gc.collect()
    assert left() is not None

    roster._let_go()

    assert left() is None
    assert roster._exchanged_at is None


def test_it_waits_while_requests_are_answered(answering, monkeypatch) -> None:
    """The walk stops every thread: it waits for the last batch to be a while ago, but not for ever."""
    roster, left = exchanged(answering), left_behind()
    answering.worked_at = perf_counter() + 3_600

    roster._let_go()
    assert left() is not None

    monkeypatch.setattr(roster_module, "_AT_LAST_S", 0.0)
    roster._let_go()
    assert left() is None
