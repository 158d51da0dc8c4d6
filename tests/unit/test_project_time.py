"""Project time: real, or a replay that stands, is moved on, or runs while it is wound."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from perene.clock import WOUND_FOR, Anchor
from perene.errors import NotAllowed
from perene.repositories.audits import Audits
from perene.repositories.models import Models
from perene.repositories.runs import Runs
from perene.repositories.time import ProjectTime
from perene.storage import tables

SECOND = timedelta(seconds=1)
MARCH = datetime(2013, 3, 1, tzinfo=UTC)


@pytest.fixture
def time(database, clock) -> ProjectTime:
    """The time of a young project."""
    return ProjectTime(database, clock)


@pytest.fixture
def replay(time) -> ProjectTime:
    """A replay that stands on 1 March 2013."""
    time.start_replay(MARCH)
    return time


def another(replay: ProjectTime) -> ProjectTime:
    """The same project's time in another process."""
    return ProjectTime(replay._database, replay._machine)


def test_a_project_whose_clock_was_never_set_lives_in_real_time(time, clock) -> None:
    """Without a replay, project time is machine time."""
    first = time.now()
    clock.move(hours=3)

    assert (first, time.now()) == (clock.now - timedelta(hours=3), clock.now)
    assert time.anchor() is None


def test_real_time_needs_nobody_to_let_it_run(time, clock, database) -> None:
    """To let time run, or to stop it, does nothing in a project that lives in real time."""
    time.run(60.0)
    time.run(0.0)

    with database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(tables.project_clock)) == 0
    clock.move(days=1)
    assert time.now() == clock.now
    assert Audits(database).list() == []


def test_a_replay_stands_until_it_is_moved_on(replay, clock) -> None:
    """Hours of machine time are nothing to a replay that stands."""
    clock.move(hours=5)
    assert replay.now() == MARCH

    replay.advance(MARCH + timedelta(days=1))

    clock.move(hours=5)
    assert replay.now() == MARCH + timedelta(days=1)


def test_every_process_sees_at_once_how_far_a_replay_was_moved(replay) -> None:
    """A replay's time is read from the database on every call."""
    other = another(replay)
    assert other.now() == MARCH

    replay.advance(MARCH + SECOND)

    assert other.now() == replay.now() == MARCH + SECOND


@pytest.mark.parametrize("moves", [lambda t, to: t.advance(to), lambda t, to: t.start_replay(to)])
def test_a_replay_cannot_be_moved_back(replay, moves) -> None:
    """An earlier time is refused, and time stays where it is."""
    with pytest.raises(NotAllowed, match="cannot go back"):
        moves(replay, MARCH - SECOND)

    assert replay.now() == MARCH


def test_a_project_that_has_lived_cannot_be_replayed(time, database, clock) -> None:
    """A project with a run of real time would be taken back in time: refused."""
    Models(database).register("m", {}, clock.now)
    Runs(database, clock).create("m", trigger="manual", due_at=clock.now, created_at=clock.now, actor="ana")

    with pytest.raises(NotAllowed, match="has lived in real time"):
        time.start_replay(MARCH)

    assert time.now() == clock.now


def test_real_time_cannot_be_moved_on(time, clock) -> None:
    """Only a replay is moved."""
    with pytest.raises(NotAllowed, match="real time"):
        time.advance(clock.now + timedelta(days=1))

    assert time.now() == clock.now


@pytest.mark.parametrize("speed", [1.0, 60.0, 0.5])
def test_time_that_is_let_run_runs_at_its_speed(replay, clock, speed) -> None:
    """A second of machine time is ``speed`` seconds of project time."""
    replay.run(speed)
    clock.move(seconds=2)

    assert replay.now() == MARCH + 2 * speed * SECOND


def test_time_that_is_wound_runs_without_a_jump(replay, clock) -> None:
    """Wound every second, time is after a minute where it would be if it had run by itself."""
    for _ in range(60):
        replay.run(60.0)
        clock.move(seconds=1)

    assert replay.now() == another(replay).now() == MARCH + timedelta(hours=1)


def test_time_that_nobody_winds_stands_and_goes_on_from_there(replay, clock) -> None:
    """Whoever let time run was killed: it stands a moment later, for a year if need be, and the next start goes on."""
    replay.run(60.0)
    clock.move(days=365)
    stood = MARCH + 60 * WOUND_FOR
    assert another(replay).now() == stood

    later = another(replay)
    later.run(60.0)

    assert later.now() == stood
    clock.move(seconds=1)
    assert later.now() == stood + 60 * SECOND


def test_time_that_was_stopped_stands(replay, clock) -> None:
    """After a stop no machine time counts, and the next start goes on from there."""
    replay.run(1.0)
    clock.move(seconds=2)
    replay.run(0.0)
    stood = replay.now()
    clock.move(hours=1)
    assert another(replay).now() == stood

    replay.run(1.0)
    clock.move(seconds=1)

    assert replay.now() == stood + SECOND
    assert MARCH + 2 * SECOND <= stood <= MARCH + 3 * SECOND


def test_the_audit_log_tells_of_starts_stops_and_speeds_only(replay, clock, database) -> None:
    """Winding leaves no line; a start, another speed, a stop and a start after a silence leave one each."""
    for speed in (1.0, 1.0, 1.0, 60.0, 60.0, 0.0, 0.0):
        replay.run(speed, actor="scheduler")
        clock.move(seconds=1)
    replay.run(1.0)
    clock.move(minutes=1)
    replay.run(1.0)

    lines = [line.after for line in reversed(Audits(database).list(about="project clock")) if line.verb == "run"]
    assert lines == [{"speed": speed} for speed in (1.0, 60.0, 0.0, 1.0, 1.0)]


def test_a_machine_clock_that_is_set_back_does_not_take_project_time_back(replay, clock) -> None:
    """It waits, in every process, where it would have stood unwound, and goes on from there when it is wound."""
    replay.run(60.0)
    clock.move(seconds=2)
    before = replay.now()

    clock.move(hours=-1)

    stood = another(replay).now()
    assert before <= stood == replay.now() == MARCH + 60 * WOUND_FOR
    another(replay).run(60.0)
    clock.move(seconds=1)
    assert replay.now() == another(replay).now() == stood + 60 * SECOND


def test_an_anchor_runs_down(clock) -> None:
    """An anchor leads as far as it was wound for, and says when it leads no further."""
    anchor = Anchor(project=MARCH, machine=clock.now, speed=2.0)

    assert anchor.at(clock.now + WOUND_FOR / 2) == MARCH + WOUND_FOR
    assert anchor.at(clock.now + 10 * WOUND_FOR) == MARCH + 2 * WOUND_FOR
    assert anchor.at(clock.now - SECOND) == MARCH + 2 * WOUND_FOR  # set back: whoever asked before may have seen this
    assert not anchor.has_run_down(clock.now + WOUND_FOR / 2)
    assert anchor.has_run_down(clock.now + WOUND_FOR)


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.sampled_from([0.3, 0.6, 0.9, 3.0, 8.0])),
        st.tuples(st.just("run"), st.sampled_from([0.0, 60.0, 1.0])),
        st.tuples(st.just("advance"), st.sampled_from([0.0, 20.0, 600.0])),
        st.tuples(st.just("read"), st.integers(0, 1)),
        st.tuples(st.just("set back"), st.sampled_from([60.0, 7200.0])),
    ),
    max_size=30,
)


@given(steps=_STEPS)
@example(steps=[("run", 60.0), ("read", 0), ("wait", 0.6), ("run", 0.0), ("wait", 0.3), ("read", 0)])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_process_reads_less_than_another_showed(emptied, steps) -> None:
    """Whatever is done in whatever order, who reads the clock now reads at least what anyone was shown before.

    Readers believe a running anchor for a second; what changes its speed, or moves it, allows for that. The machine's
    clock may be set back meanwhile.
    """
    clock = _Clock()
    database = emptied()
    winder = ProjectTime(database, clock)
    winder.start_replay(MARCH)
    readers = [ProjectTime(database, clock) for _ in range(2)]
    shown = MARCH

    for verb, value in steps:
        if verb == "wait":
            clock.now += timedelta(seconds=value)
        elif verb == "run":
            winder.run(value)
        elif verb == "advance":
            with suppress(NotAllowed):
                winder.advance(shown + timedelta(seconds=value))
        elif verb == "read":
            shown = max(shown, readers[value].now())
        else:
            clock.now -= timedelta(seconds=value)

        assert another(winder).now() >= shown


class _Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now
