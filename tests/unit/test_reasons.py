"""The gate's reasons: what a person reads."""

from __future__ import annotations

import numpy as np
import pytest

from perene.definition.gates import Gate, Margin, gate
from perene.statistics.comparisons import compare
from perene.statistics.gate import Evidence, judge
from perene.statistics.reasons import side

GAP = {"sure": 0.001, "doubtful": 0.09}


def reason_for(
    difference: float,
    doubt: str,
    *,
    rule: Gate | None = None,
    better: str = "lower",
    alpha: float = 0.05,
    margin: float = 0.025,
    **more,
) -> str:
    """What the gate says of ten days that differ by so much on average, more or less."""
    gaps = difference + GAP[doubt] * np.where(np.arange(10) % 2, 1.0, -1.0)
    rows, champion = np.full(10, 100.0), np.full(10, 50.0)
    comparison = compare(rows, champion + 100 * gaps, champion, better=better, alpha=alpha)
    evidence = Evidence(expected_rows=1_000)
    size = Margin(value=margin, relative=False)
    return judge(
        comparison, rule or gate(alpha=alpha), margin=size, metric="log_loss", evidence=evidence, **more
    ).reason


@pytest.mark.parametrize(
    ("difference", "words"), [(0.0123456, "0.01235 worse"), (-2.0, "2 better"), (0.0, "no different")]
)
def test_difference_is_said_as_people_say_it(difference, words):
    """A difference has a size and a side, and no sign."""
    assert side(difference) == words


@pytest.mark.parametrize(
    ("difference", "doubt", "more", "words"),
    [
        (0.01, "sure", {}, ["not worse than the champion: 0.01 worse", "at most 0.01061 worse", "0.025 is allowed"]),
        (-0.3, "doubtful", {}, ["not worse than the champion: 0.3 better", "no worse at all"]),
        (0.2, "doubtful", {}, ["worse than the champion: 0.2 worse", "with 95 % certainty at least 0.145 worse"]),
        (0.0, "doubtful", {}, ["cannot tell yet against the champion: ", "0.025 is allowed", "about 194 days of rows"]),
        (-0.3, "sure", {"against": "baseline"}, ["better than a constant prediction: 0.3 better", "at least 0.2994"]),
        (
            -0.01,
            "doubtful",
            {"against": "baseline"},
            ["not shown to be better than a constant prediction: 0.01 better"],
        ),
        (0.01, "doubtful", {"past_deadline": True}, ["the champion is past its deadline", "three margins are 0.075"]),
        (0.01, "doubtful", {"rule": gate(rule="not-worse")}, ["not significantly worse than the champion", "between"]),
    ],
)
def test_reason_says_what_was_decided_on_which_numbers(difference, doubt, more, words):
    """A reason has the decision, what it was held against, the difference and the bound that decided."""
    said = reason_for(difference, doubt, **more)

    assert [part for part in words if part not in said] == []


def test_reason_speaks_of_better_and_worse_whatever_the_direction():
    """Of a metric whose higher values are better, more of it is said to be better."""
    assert "0.3 better" in reason_for(0.3, "sure", better="higher")
    assert "0.3 worse" in reason_for(-0.3, "sure", better="higher")


@pytest.mark.parametrize(("alpha", "words"), [(0.05, "95 % certainty"), (0.001, "99.9 % certainty")])
def test_certainty_is_the_bounds_own(alpha, words):
    """The certainty is that of one bound."""
    assert words in reason_for(0.0, "sure", alpha=alpha)


def test_days_that_nobody_can_wait_for_are_not_said():
    """Where no sensible number of days would decide, none is spoken of."""
    assert "days of rows would decide" not in reason_for(0.0, "doubtful", margin=0.0001)
