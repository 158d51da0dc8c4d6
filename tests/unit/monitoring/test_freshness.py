"""How old a model is."""

from __future__ import annotations

from datetime import timedelta

import pytest

from perene.monitoring.freshness import freshness_of
from perene.pipelines.windows import window_of
from perene.records.status import FreshnessState


@pytest.mark.parametrize(
    ("days", "state"),
    [(0, "fresh"), (17.2, "fresh"), (17.25, "ageing"), (19.9, "ageing"), (20, "stale"), (400, "stale")],
)
def test_the_age_against_the_limit_is_the_state(bench, day, days, state):
    """A model is fresh below three quarters of what its hold-out of 9 days leaves of the limit, stale from that on."""
    model = bench.declare(stale_after="20d")

    found = freshness_of(model, bench.version_record(day(0)), day(days))

    assert found.state == state
    assert (found.age, found.limit) == (timedelta(days=days), timedelta(days=20))
    assert (found.trained_through, found.warn_at, found.stale_at) == (day(0), day(17.25), day(20))


def test_age_counts_from_what_was_learnt(bench, day):
    """A version that was trained today on old rows is as old as its rows."""
    model = bench.declare(stale_after="20d")
    version = bench.train(day(0))
    bench.release(version, at=day(30))

    found = freshness_of(model, bench.models.champion(model.name), day(30))

    assert found.state is FreshnessState.STALE


def test_hold_out_is_what_the_window_cuts_off(bench, day):
    """The hold-out is the time between the last training row and now, at a midnight."""
    model = bench.declare()
    now = day(60)
    window = window_of(model, now)

    found = freshness_of(model, bench.version_record(window.trained_until), now)

    assert found.held_out == found.age == model.test_on + 2 * model.label.wait


def test_hold_out_is_a_part_of_the_age(bench, day):
    """The hold-out is never more than the age, and does not grow with it."""
    young = freshness_of(bench.model, bench.version_record(day(0)), day(1))
    old = freshness_of(bench.model, bench.version_record(day(0)), day(300))

    assert young.held_out == timedelta(days=1)
    assert old.held_out == timedelta(days=9)


def test_never_trained_is_unknown(bench, day):
    """Where nothing is live nothing is known, limit or not."""
    for model in (bench.declare(), bench.declare(stale_after=None)):
        found = freshness_of(model, None, day(0))

        assert (found.state, found.age, found.stale_at) == (FreshnessState.UNKNOWN, None, None)


def test_rows_of_the_future_are_unknown(bench, day):
    """A version that learnt from what has not happened yet is not fresh: a clock is wrong."""
    assert freshness_of(bench.model, bench.version_record(day(2)), day(1)).state is FreshnessState.UNKNOWN


def test_without_a_limit_it_is_exempt(bench, day):
    """A model that is declared never to go stale has an age, and no deadline."""
    found = freshness_of(bench.declare(stale_after=None), bench.version_record(day(0)), day(900))

    assert (found.state, found.age, found.stale_at) == (FreshnessState.EXEMPT, timedelta(days=900), None)
