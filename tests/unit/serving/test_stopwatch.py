"""Where the time of a request goes: stages count for themselves only."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import pytest

from perene.definition.hooks import read_hook
from perene.server.stopwatch import Stopwatch


@dataclass
class Seconds:
    """A clock that is moved by what runs."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        """Take so long."""
        self.now += seconds


@pytest.fixture
def seconds() -> Seconds:
    """The clock of a test's stopwatch."""
    return Seconds()


@pytest.fixture
def watch(seconds) -> Stopwatch:
    """A stopwatch by that clock."""
    return Stopwatch(seconds)


def test_a_stage_within_a_stage_counts_for_itself(seconds, watch) -> None:
    """The outer stage has its own seconds only, before, between and after the inner ones."""
    inner = watch.around("inner", lambda: seconds.work(2))

    def outer() -> None:
        seconds.work(1)
        inner()
        seconds.work(1)
        inner()

    watch.around("outer", outer)()

    assert watch.take_laps() == {"inner": 4.0, "outer": 2.0}


def test_laps_are_of_one_request(seconds, watch) -> None:
    """Taken laps are gone, so that the next request begins with none."""
    step = watch.around("step", lambda: seconds.work(3))
    step()

    assert (watch.take_laps(), watch.take_laps()) == ({"step": 3.0}, {})


def test_a_stage_that_raises_counts_too(seconds, watch) -> None:
    """What a failing stage took is its own, and the error comes through."""

    def fail() -> None:
        seconds.work(1)
        raise ValueError("no")

    failing = watch.around("inner", fail)

    def outer() -> None:
        seconds.work(5)
        with pytest.raises(ValueError, match="no"):
            failing()

    watch.around("outer", outer)()

    assert watch.take_laps() == {"inner": 1.0, "outer": 5.0}


def test_stages_may_run_in_other_threads(seconds, watch) -> None:
    """A request that is handed to a thread, and waits for it, has that thread's stages."""
    step = watch.around("step", lambda: seconds.work(2))
    thread = threading.Thread(target=step)
    thread.start()
    thread.join()

    assert watch.take_laps() == {"step": 2.0}


def test_a_watched_post_step_does_what_it_did(seconds, watch) -> None:
    """It gives the same, and is a stage of its name; other hooks are left as they are."""

    def halved(p):
        seconds.work(1)
        return p / 2

    post, _ = read_hook("post", halved, line="here")
    features, _ = read_hook("features", lambda rows: rows, line="here")
    assert post is not None
    assert features is not None

    given = watch.watched_hook(post)(p=np.array([4.0, 6.0]))

    assert given.tolist() == [2.0, 3.0]
    assert watch.take_laps() == {"post halved": 1.0}
    assert watch.watched_hook(features) is features
