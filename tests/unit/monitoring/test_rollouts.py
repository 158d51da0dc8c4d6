"""Canaries rise by steps and are taken back when they regress; fresh releases are watched."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from perene.definition.canary import read_canary
from perene.monitoring.rollouts import CANARY_UNDONE, LEAST_ASKED, RELEASE_UNDONE, watch_rollouts
from perene.records.release import Course, Release

MINUTE = timedelta(minutes=1)
STEPS = Course(steps=read_canary("10% 30m, 50% 30m"), watch=timedelta(hours=6))
GOOD = {"requests": 1_000.0, "rows": 1_000.0, "batches": 1_000.0, "seconds": 1.0, "seconds_sq": 0.0012}


@pytest.fixture
def begin(day) -> datetime:
    """When the canary begins."""
    return day(1)


@pytest.fixture
def canary(bench, begin, day) -> Release:
    """v2 answers 10 % of the keys beside v1; the servers have counted well of both."""
    bench.release(bench.train(day(-2)), day(0))
    release = bench.release(bench.train(day(-1)), begin, STEPS)
    bench.count(1, "champion", **GOOD)
    bench.count(2, "canary", **GOOD)
    return release


@pytest.fixture
def fresh(bench, begin, day) -> Release:
    """v2 is live, and watched beside v1."""
    bench.release(bench.train(day(-2)), day(0))
    bench.count(1, "champion", **GOOD)
    release = bench.release(bench.train(day(-1)), begin, Course(watch=STEPS.watch))
    bench.count(2, "champion", **GOOD)
    return release


def look(bench, at: datetime) -> tuple[int | None, int | None, float]:
    """Let the watch look; what is live then, and the canary with its share."""
    watch_rollouts([bench.model], bench, now=at)
    model = bench.models.get(bench.model.name)
    return model.champion, model.canary, model.canary_share


def firing(bench) -> dict[str, str]:
    """What fires, and why."""
    return {alert.rule: alert.why for alert in bench.alerts.list(state="firing")}


def test_a_canary_rises_in_project_time_and_goes_live(bench, begin, canary) -> None:
    """Each step lasts as long as declared, by the project's clock; then it is live, and watched."""
    seen = [look(bench, begin + minutes * MINUTE) for minutes in (0, 29, 30, 59, 60)]

    assert seen == [(1, 2, 0.1), (1, 2, 0.1), (1, 2, 0.5), (1, 2, 0.5), (2, None, 0.0)]
    assert bench.models.get(bench.model.name).watched_until == begin + timedelta(hours=7)
    lines = bench.releases.events(bench.model.name, release=canary.id)
    assert [line.state.value for line in lines[2:]] == ["rolling out", "rolling out", "live"]
    assert "1,000 requests answered, 0 failed" in lines[3].why


def test_a_canary_that_nobody_asks_stays_where_it_is(bench, begin, day) -> None:
    """A share that answered nothing has shown nothing."""
    bench.release(bench.train(day(-2)), day(0))
    bench.release(bench.train(day(-1)), begin, STEPS)
    bench.count(2, "canary", requests=LEAST_ASKED - 1.0)
    before = look(bench, begin + timedelta(days=9))
    bench.count(2, "canary", requests=1.0)

    assert before == (1, 2, 0.1)
    assert look(bench, begin + timedelta(days=9)) == (1, 2, 0.5)


def test_a_hold_that_came_later_stops_it(bench, begin, canary) -> None:
    """It answers its share on until the model is resumed."""
    bench.models.hold(bench.model.name, actor="ana", why="storm", at=begin + MINUTE)
    held = look(bench, begin + timedelta(days=1))
    bench.models.resume(bench.model.name, actor="ana", at=begin + timedelta(days=1))

    assert held == (1, 2, 0.1)
    assert look(bench, begin + timedelta(days=1)) == (1, 2, 0.5)


PAIRS = {"pairs": 400.0, "gap": 4e3, "gap_sq": 4.4e4, "other": 400.0, "other_sq": 500.0}
FAULTS = {
    "failed on 40 of 1,040": {"errors": 40.0},
    "took longer than the declared latency": {"singles": 1_000.0, "slow": 200.0},
    "answers jump: 11 on average, and 1": PAIRS,
}


@pytest.mark.parametrize("why", [*FAULTS, "a batch takes"])
def test_a_canary_that_regresses_is_taken_back(bench, begin, canary, why) -> None:
    """Failures, slowness and answers that jump: the champion answers every key again, and a page says why."""
    slow = {"batches": 1_000.0, "seconds": 30.0, "seconds_sq": 1.0}
    bench.count(2, "canary", **FAULTS.get(why, slow))

    assert look(bench, begin + MINUTE) == (1, None, 0.0)
    assert why in firing(bench)[CANARY_UNDONE]
    assert bench.releases.get(canary.id).state.value == "rolled back"
    assert bench.models.get(bench.model.name).held_at is None
    assert why in bench.releases.decided([canary])[canary.id].why


def test_what_is_as_bad_in_the_champion_is_no_reason(bench, begin, canary) -> None:
    """Callers, machines and stores that fail, fail both."""
    bad = {"errors": 100.0, "singles": 1_000.0, "slow": 200.0, "batches": 1_000.0, "seconds": 30.0, "seconds_sq": 1.0}
    for version, role in ((1, "champion"), (2, "canary")):
        bench.count(version, role, **bad)

    assert look(bench, begin + MINUTE) == (1, 2, 0.1)


def test_larger_batches_are_not_slower_ones(bench, begin, canary) -> None:
    """A canary with a large share of the keys gets most rows of each batch: slower by batch, and not by row."""
    bench.count(2, "canary", rows=100_000.0, batches=1_000.0, seconds=30.0, seconds_sq=1.0)

    assert look(bench, begin + MINUTE) == (1, 2, 0.1)


def _answers(bench, begin: datetime, *, canary_error: float, days: int = 12) -> None:
    """Two dozen riders a day, half of them answered by the canary, whose error is larger or not; true is 10."""
    rng = np.random.default_rng(3)
    for rider in range(24):
        at = [begin + timedelta(days=n, hours=rider % 24, minutes=1) for n in range(days)]
        is_canary = rider % 2 == 0
        raw = 10 + rng.normal(0, 1, days) + (canary_error if is_canary else 0.0)
        part = {"role": "canary", "version": 2} if is_canary else {}
        bench.tell(bench.answer(at, raw.tolist(), rider=f"r{rider}", **part), [10.0] * days)


@pytest.mark.parametrize(("error", "expected"), [(5.0, (1, None, 0.0)), (0.0, (1, 2, 0.9))])
def test_a_canary_whose_answers_are_worse_is_taken_back_once_labels_are_in(bench, begin, day, error, expected) -> None:
    """By the gate's rules, on the canary's answers beside the champion's; equal ones go on."""
    bench.declare("trip-minutes", float)
    bench.release(bench.train(day(-2)), day(0))
    bench.release(bench.train(day(-1)), begin, Course(steps=read_canary("50% 13d, 90% 1d")))
    bench.count(2, "canary", **GOOD)
    _answers(bench, begin, canary_error=error)

    assert look(bench, begin + timedelta(days=13, hours=1)) == expected
    assert firing(bench).get(CANARY_UNDONE, "worse than the champion").startswith("worse than the champion")


def test_a_fresh_release_that_regresses_is_rolled_back_and_the_model_held(bench, begin, fresh) -> None:
    """Within its watch; the version before is live, and a page says why."""
    bench.count(2, "champion", errors=40.0)

    assert look(bench, begin + MINUTE) == (1, None, 0.0)
    model = bench.models.get(bench.model.name)
    assert (model.held_by, model.former) == ("the watch", None)
    assert "failed on 40 of 1,040" in firing(bench)[RELEASE_UNDONE]


def test_after_its_watch_a_release_stays(bench, begin, fresh) -> None:
    """What comes later is no fault of the release; its servers need the former version no longer."""
    ended = look(bench, begin + STEPS.watch)
    bench.count(2, "champion", errors=400.0)

    assert ended == look(bench, begin + STEPS.watch + MINUTE) == (2, None, 0.0)
    assert bench.models.get(bench.model.name).former is None


def test_time_alone_is_no_fault_of_a_fresh_release(bench, begin, fresh) -> None:
    """Its traffic is not that of the version before, so only a declared budget counts."""
    bench.count(2, "champion", batches=1_000.0, seconds=30.0, seconds_sq=1.0)

    assert look(bench, begin + MINUTE) == (2, None, 0.0)


def test_a_release_that_goes_live_takes_the_alerts_back(bench, begin, canary, day) -> None:
    """What was taken back is history once another version has come through its steps."""
    bench.count(2, "canary", errors=40.0)
    look(bench, begin + MINUTE)
    fired = set(firing(bench))
    bench.release(bench.train(day(0)), begin + 2 * MINUTE, STEPS)
    bench.count(3, "canary", **GOOD)
    look(bench, begin + timedelta(hours=1))
    look(bench, begin + timedelta(hours=2))

    assert (fired, set(firing(bench))) == ({CANARY_UNDONE}, set())
