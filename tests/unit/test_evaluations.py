"""Evaluations: what the gate said, kept as it was said."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perene.errors import LostLease, NotFound
from perene.records.verdict import Decision, Evaluation, Verdict
from perene.repositories.evaluations import Evaluations
from perene.repositories.models import Models
from perene.storage.database import Database

START = datetime(2026, 1, 1, tzinfo=UTC)


def a_verdict(**other: object) -> Verdict:
    usual = {
        "decision": Decision.PASS, "reason": "not worse", "metric": "log_loss", "against": "champion",
        "candidate_score": 0.5, "champion_score": 0.6, "difference": -0.1, "lower": -0.2, "upper": 0.0, "margin": 0.03,
        "rows": 10, "days": 2, "references": {"half_gain": 0.01, "mde": None},
    }  # fmt: skip
    return Verdict(**usual | other)


def an_evaluation(**other: object) -> Evaluation:
    usual = {
        "id": 0, "model": "m", "run": None, "created_at": START, "candidate": 2, "champion": 1, "dataset": 1,
        "verdict": a_verdict(), "by_day": {"day": [1.0, 2.0], "candidate": [0.5, 0.6]}, "slices": {},
    }  # fmt: skip
    return Evaluation(**usual | other)


@pytest.fixture
def evaluations(database: Database) -> Evaluations:
    """The evaluations of a project with the models m and n."""
    for name in ("m", "n"):
        Models(database).register(name, {}, START)
    return Evaluations(database)


def same(one: object, other: object) -> bool:
    """Equal, where NaN is equal to itself."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    both_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return both_nan or one == other


numbers = st.floats(allow_infinity=False, allow_nan=False) | st.none()
columns = st.lists(st.floats(allow_infinity=False), max_size=4)


@given(
    decision=st.sampled_from(Decision),
    scores=st.tuples(numbers, numbers, numbers),
    by_day=st.dictionaries(st.sampled_from(["day", "rows", "candidate"]), columns),
    slices=st.dictionaries(st.text(max_size=5), st.integers(0, 9) | st.text(max_size=3), max_size=3),
    on_deadline=st.booleans(),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_evaluation_comes_back_as_it_was(evaluations, decision, scores, by_day, slices, on_deadline) -> None:
    """Every part of it, days on which a score was NaN too."""
    difference, lower, upper = scores
    verdict = a_verdict(
        decision=decision, difference=difference, lower=lower, upper=upper, released_on_deadline=on_deadline
    )
    made = an_evaluation(verdict=verdict, by_day=by_day, slices=slices)

    kept = evaluations.add(made)
    found = evaluations.get(kept.id)

    for back in (kept, found):
        assert back.verdict == verdict
        assert isinstance(back.verdict.decision, Decision)
        assert same(dict(back.by_day), by_day)
        assert (back.slices, back.candidate, back.champion, back.created_at) == (slices, 2, 1, START)


def test_numbers_of_numpy_are_kept_as_numbers(evaluations) -> None:
    """What statistics give is kept without a loss; a verdict's NaN is none."""
    verdict = a_verdict(difference=np.float64(0.25), upper=float("nan"), rows=np.int64(3))
    by_day = {"candidate": [np.float64(0.1), np.float64("nan")]}

    kept = evaluations.get(evaluations.add(an_evaluation(verdict=verdict, by_day=by_day)).id)

    assert (kept.verdict.difference, kept.verdict.upper, kept.verdict.rows) == (0.25, None, 3)
    assert same(kept.by_day["candidate"], [0.1, math.nan])


def test_a_run_makes_one_evaluation(evaluations) -> None:
    """The same run again gives what it said before, whatever it says now."""
    first = evaluations.add(an_evaluation(run=5))
    again = evaluations.add(an_evaluation(run=5, verdict=a_verdict(decision=Decision.WORSE)))
    by_hand = [evaluations.add(an_evaluation()), evaluations.add(an_evaluation())]

    assert again == first
    assert len({first.id, *(evaluation.id for evaluation in by_hand)}) == 3


def test_a_run_that_was_taken_over_adds_nothing(evaluations) -> None:
    """What the fence raises comes out, and nothing is kept."""

    def lost(connection: object) -> None:
        raise LostLease("gone")

    with pytest.raises(LostLease):
        evaluations.add(an_evaluation(run=5), fence=lost)
    assert evaluations.list("m") == []


def test_evaluations_are_listed_newest_first(evaluations) -> None:
    """Of one model, as many as asked for."""
    ids = [evaluations.add(an_evaluation(model=model)).id for model in ("m", "n", "m")]

    assert [evaluation.id for evaluation in evaluations.list("m")] == [ids[2], ids[0]]
    assert [evaluation.id for evaluation in evaluations.list("m", limit=1)] == [ids[2]]


def test_the_newest_evaluation_of_a_version_counts(evaluations) -> None:
    """A candidate that was judged twice is what the last judgement says; a champion's role is none of its own."""
    evaluations.add(an_evaluation(candidate=2))
    newest = evaluations.add(an_evaluation(candidate=2, verdict=a_verdict(decision=Decision.INCONCLUSIVE)))
    evaluations.add(an_evaluation(candidate=3, champion=2))
    evaluations.add(an_evaluation(model="n", candidate=2))

    assert evaluations.for_version("m", 2) == newest
    assert evaluations.for_version("m", 1) is None


def test_an_unknown_evaluation_is_not_found(evaluations) -> None:
    """Neither is one kept of an unknown model."""
    with pytest.raises(NotFound, match="no evaluation 9"):
        evaluations.get(9)
    with pytest.raises(NotFound, match="no model 'x'"):
        evaluations.add(an_evaluation(model="x"))


def test_evaluations_outlive_their_process(evaluations, database, beside) -> None:
    """Another connection to the same database reads the same."""
    kept = evaluations.add(an_evaluation())

    assert Evaluations(beside(database)).get(kept.id) == kept
