"""The schedule: when runs are due, and that they are created once."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perene.records.run import OFFLINE, Run
from perene.repositories.models import Models
from perene.repositories.runs import Runs
from perene.scheduling.schedule import create_due, due, due_at, next_due

quick = settings(deadline=None)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=30)
DAY = timedelta(days=1)
TICK = timedelta.resolution
periods = st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=400))
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=9))])
times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=zones)  # noqa: DTZ001 - bounds are naive


@quick
@given(periods, times)
def test_due_times_are_whole_multiples(every, now) -> None:
    """The newest due time is a whole number of periods since 1970, not after now, and less than one period ago."""
    at = due_at(every, now)

    assert (at - EPOCH) % every == timedelta(0)
    assert timedelta(0) <= now - at < every


@quick
@given(periods, times, st.timedeltas(timedelta(0), timedelta(days=400)))
def test_due_times_do_not_depend_on_when_one_looks(every, now, later) -> None:
    """Two schedulers that look at different moments of one period mean the same due time; time does not go back."""
    first, second = due_at(every, now), due_at(every, now + later)

    assert first <= second
    assert (first == second) == (now + later < first + every)


@quick
@given(periods, times)
def test_a_model_that_never_ran_is_due_at_once(every, now) -> None:
    """Nobody waits a period for the first run."""
    assert due({"m": every}, {}, now=now) == {"m": due_at(every, now)}


@quick
@given(periods, times, st.integers(0, 1000))
def test_what_was_missed_is_one_run(every, now, missed) -> None:
    """However many due times went by, the newest is due, once; after it nothing is, until the next."""
    last = due_at(every, now) - min(missed, (now - EPOCH) // every) * every

    due_now = due({"m": every}, {"m": last}, now=now)

    assert due_now == ({} if last == due_at(every, now) else {"m": due_at(every, now)})
    assert due({"m": every}, {"m": last} | due_now, now=now) == {}


@quick
@given(periods, times, st.none() | st.timedeltas(timedelta(0), timedelta(days=800)))
def test_the_next_due_time_is_the_moment_at_which_it_becomes_due(every, now, ago) -> None:
    """At next_due the model is due, and a tick before it is not, unless it is due now already."""
    last = None if ago is None else due_at(every, now - ago)

    at = next_due(every, last, now=now)

    known = {} if last is None else {"m": last}
    assert at is not None
    assert "m" in due({"m": every}, known, now=at)
    assert at == now or not due({"m": every}, known, now=at - TICK)


def test_a_model_without_a_schedule_is_never_due() -> None:
    """every=None trains when asked only."""
    assert next_due(None, None, now=START) is None


# ── creating ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def runs(database, clock) -> Runs:
    """The runs of a project with the models m and n."""
    for name in ("m", "n"):
        Models(database).register(name, {}, START)
    return Runs(database, clock)


def ask(runs: Runs, at: datetime, *, trigger: str = "manual") -> Run:
    return runs.create("m", trigger=trigger, due_at=at, created_at=at, actor="ana")


def work(runs: Runs) -> Run:
    run = runs.claim("w", LEASE)
    assert run is not None
    return runs.succeed(run)


def test_each_due_time_makes_one_run(runs) -> None:
    """Looking again makes nothing; the next due time makes the next run."""
    every = {"m": DAY, "n": 2 * DAY}

    first = create_due(runs, every, now=START)
    again = create_due(runs, every, now=START + timedelta(hours=23))
    for _ in first:
        work(runs)
    second = create_due(runs, every, now=START + DAY)

    assert {run.model: run.due_at for run in first} == {"m": START, "n": due_at(2 * DAY, START)}
    assert again == []
    assert [(run.model, run.due_at, run.trigger, run.actor) for run in second] == [
        ("m", START + DAY, "schedule", "scheduler")
    ]


@pytest.mark.parametrize("working", [False, True])
def test_a_model_has_never_two_scheduled_runs(runs, working) -> None:
    """While one waits or works no second is made; what was missed meanwhile is one run."""
    create_due(runs, {"m": DAY}, now=START)
    run = runs.claim("w", LEASE) if working else None

    meanwhile = create_due(runs, {"m": DAY}, now=START + 3 * DAY)
    runs.succeed(run) if run else work(runs)
    after = create_due(runs, {"m": DAY}, now=START + 4 * DAY)

    assert meanwhile == []
    assert [run.due_at for run in after] == [START + 4 * DAY]


def test_a_failed_run_is_not_made_again_for_its_due_time(runs) -> None:
    """A due time is tried once; the next one comes in its turn."""
    create_due(runs, {"m": DAY}, now=START)
    runs.fail(runs.claim("w", LEASE), None, {"what": "broken"})

    assert create_due(runs, {"m": DAY}, now=START + timedelta(hours=1)) == []
    assert len(create_due(runs, {"m": DAY}, now=START + DAY)) == 1


@pytest.mark.parametrize("how", ["waits", "works", "succeeded"])
def test_a_cycle_asked_for_since_the_due_time_stands_for_it(runs, how) -> None:
    """Who has just trained by hand is not trained for again at once; the next due time is not put off."""
    ask(runs, START + TICK)
    if how != "waits":
        run = runs.claim("w", LEASE)
        if how == "succeeded":
            runs.succeed(run)

    assert create_due(runs, {"m": DAY}, now=START + 2 * TICK) == []
    assert next_due(DAY, runs.last_cycles()["m"], now=START + 2 * TICK) == START + DAY
    assert [run.due_at for run in create_due(runs, {"m": DAY}, now=START + DAY)] == [START + DAY]


def test_a_cycle_asked_for_before_the_due_time_does_not_stand_for_it(runs) -> None:
    """Its data are older than those that the schedule asks for."""
    ask(runs, START - TICK)
    work(runs)

    assert [run.due_at for run in create_due(runs, {"m": DAY}, now=START)] == [START]


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_a_cycle_that_came_to_nothing_stands_for_no_other(runs, how) -> None:
    """What somebody asked for and what failed, or was called off, leaves the due time open."""
    run = ask(runs, START)
    if how == "failed":
        runs.fail(runs.claim("w", LEASE), None, {"what": "broken"})
    else:
        runs.cancel(run.id, actor="ana", at=START)

    assert [made.trigger for made in create_due(runs, {"m": DAY}, now=START)] == ["schedule"]


def test_a_load_of_stored_predictions_stands_for_no_cycle(runs) -> None:
    """It trains nothing."""
    ask(runs, START, trigger=OFFLINE)
    work(runs)

    assert [run.trigger for run in create_due(runs, {"m": DAY}, now=START)] == ["schedule"]


def test_a_cycle_asked_for_while_a_scheduler_looks_stands_for_it(runs) -> None:
    """What somebody asks for after the scheduler has looked, and before it makes its run, counts too."""
    ask(runs, START)

    assert runs.create_next("m", trigger="schedule", due_at=START, created_at=START, actor="scheduler") is None


@given(
    every=st.sampled_from([timedelta(hours=7), DAY, timedelta(days=3)]),
    moves=st.lists(st.tuples(st.floats(0, 5), st.booleans()), min_size=1, max_size=12),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_on_any_clock_runs_are_due_in_order_and_never_two_at_once(emptied, every, moves) -> None:
    """Whenever a scheduler looks and a worker works: at most one is open, each due time is a later multiple."""
    database = emptied()
    Models(database).register("m", {}, START)
    now = START
    runs = Runs(database, lambda: now)
    for days, works in moves:
        now += timedelta(days=days)
        made = create_due(runs, {"m": every}, now=now)
        assert len(made) <= 1
        assert all(run.due_at == due_at(every, now) for run in made)
        if works and runs.open_models():
            work(runs)
        assert sum(run.state.value in ("queued", "running") for run in runs.list()) <= 1

    times = [run.due_at for run in reversed(runs.list())]
    assert times == sorted(set(times))


def test_two_schedulers_at_once_create_one_run(runs, database, clock, beside) -> None:
    """Six that look at the same moment, some just before the next due time and some after, make one run in all."""
    others = [beside(database) for _ in range(6)]
    gate = threading.Barrier(len(others))
    made: list[Run] = []

    def look(n: int) -> None:
        gate.wait()
        made.extend(create_due(Runs(others[n], clock), {"m": DAY}, now=START - TICK + (n % 2) * TICK))

    threads = [threading.Thread(target=look, args=(n,)) for n in range(len(others))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == 1
    assert [run.id for run in runs.list()] == [made[0].id]
