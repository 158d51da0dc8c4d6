"""The gate: what passes, what does not, what it refuses to judge, and how often it errs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from perene.definition.gates import LOSS_MARGIN, Gate, Margin, gate
from perene.records.verdict import Decision, Verdict
from perene.statistics.comparisons import Comparison, compare_rows, compare_whole
from perene.statistics.gate import Evidence, days_needed, decide, decide_first, judge, margin_in_units
from perene.statistics.scores import auc

START = np.datetime64("2026-03-01")
GATE = gate()
PLAIN = Margin(value=0.025, relative=False)


def a_comparison(difference: float = 0.0, half_width: float = 0.01, **changes) -> Comparison:
    """A comparison with these bounds, over 14 days of 1,000 rows, of a champion whose loss is 0.5."""
    made = Comparison(
        difference=np.asarray(difference),
        lower=np.asarray(difference - half_width),
        upper=np.asarray(difference + half_width),
        half_width=np.asarray(half_width),
        se_day=np.asarray(half_width / 2),
        se_ewc=np.asarray(half_width / 3),
        se_key=None,
        candidate_score=np.asarray(0.5 + difference),
        champion_score=np.asarray(0.5),
        rows=np.asarray(14_000.0),
        days=14,
        better="lower",
        alpha=0.05,
    )
    return replace(made, **changes)


def verdict_on(comparison: Comparison | None, *, rule: Gate = GATE, evidence: dict | None = None, **more) -> Verdict:
    """The verdict by a margin of 0.025, with all rows scored."""
    rows = int(comparison.rows) if comparison is not None else 0
    known = Evidence(**{"expected_rows": rows} | (evidence or {}))
    return judge(comparison, rule, **{"margin": PLAIN, "metric": "log_loss", "evidence": known} | more)


@pytest.mark.parametrize(
    ("difference", "half_width", "decision"),
    [
        (0.0, 0.01, Decision.PASS),
        (-0.2, 0.1, Decision.PASS),
        (0.01, 0.0149, Decision.PASS),
        (0.01, 0.015, Decision.INCONCLUSIVE),  # the upper bound is the margin
        (0.0, 0.1, Decision.INCONCLUSIVE),
        (-0.1, 0.2, Decision.INCONCLUSIVE),
        (0.03, 0.01, Decision.WORSE),
        (0.02, 0.004, Decision.PASS),  # surely worse, and surely by less than the margin
    ],
)
def test_candidate_has_the_burden_of_proof(difference, half_width, decision):
    """It passes when its upper bound is below the margin; else it is worse, or nobody knows."""
    verdict = verdict_on(a_comparison(difference, half_width))

    assert verdict.decision is decision
    assert verdict.margin == 0.025


@pytest.mark.parametrize(
    ("difference", "half_width", "decision"),
    [(0.0, 5.0, Decision.PASS), (0.1, 0.2, Decision.PASS), (0.03, 0.01, Decision.WORSE), (-0.2, 0.1, Decision.PASS)],
)
def test_not_worse_is_the_literal_rule(difference, half_width, decision):
    """Under rule="not-worse" all passes but what is shown to be worse, however little was seen."""
    assert verdict_on(a_comparison(difference, half_width), rule=gate(rule="not-worse")).decision is decision


@pytest.mark.parametrize("rule", ["non-inferior", "not-worse"])
@pytest.mark.parametrize("bounds", [(math.nan, math.nan), (math.nan, math.inf), (math.nan, 0.1)])
def test_no_number_never_passes(rule, bounds):
    """Bounds that are no numbers pass under no rule: a comparison with NaN is false, and false must not be a yes."""
    lower, upper = (np.asarray(bound) for bound in bounds)

    assert decide(lower, upper, 0.025, rule=rule) != Decision.PASS
    assert decide_first(lower, upper) != Decision.PASS


def test_many_decisions_are_each_alone():
    """The decision on arrays is the decision on each element."""
    rng = np.random.default_rng(1)
    lower = rng.normal(0, 0.03, 200)
    upper = lower + rng.exponential(0.04, 200)

    for rule in ("non-inferior", "not-worse"):
        alone = [str(decide(low, high, 0.02, rule=rule)) for low, high in zip(lower, upper, strict=True)]
        assert decide(lower, upper, 0.02, rule=rule).tolist() == alone
    alone = [str(decide_first(low, high)) for low, high in zip(lower, upper, strict=True)]
    assert decide_first(lower, upper).tolist() == alone


@pytest.mark.parametrize(("decision", "difference"), [(Decision.PASS, -0.02), (Decision.INCONCLUSIVE, 0.0)])
def test_first_model_must_be_better_than_a_constant(decision, difference):
    """A first model passes only when its upper bound is below 0: no margin, no rubber stamp."""
    comparison = a_comparison(difference, 0.01)

    verdict = verdict_on(comparison, against="baseline")

    assert (verdict.decision, verdict.margin, verdict.against) == (decision, 0.0, "baseline")
    assert verdict_on(comparison).decision is Decision.PASS


def test_first_model_that_is_a_constant_itself_does_not_pass():
    """What differs by nothing from a constant is not better than it, without any doubt."""
    assert verdict_on(a_comparison(0.0, 0.0), against="baseline").decision is Decision.INCONCLUSIVE


def test_relative_margin_is_a_share_of_the_champions_score():
    """5 % is 0.05 × the champion's score, held against the difference: not against a ratio of scores."""
    margin = Margin(value=0.05, relative=True)

    assert margin_in_units(margin, 0.5) == pytest.approx(0.025)
    assert margin_in_units(margin, -8.0) == pytest.approx(0.4)
    assert margin_in_units(Margin(value=0.05, relative=False), 0.5) == 0.05
    assert verdict_on(a_comparison(0.0, 0.02), margin=margin).decision is Decision.PASS
    assert verdict_on(a_comparison(0.03, 0.001), margin=margin).decision is Decision.WORSE  # a ratio of 1.06


def test_candidates_score_sets_no_margin():
    """A candidate with a huge loss does not widen the margin that it is judged by."""
    verdict = verdict_on(a_comparison(9.5, 0.1), margin=LOSS_MARGIN)

    assert (verdict.decision, verdict.margin) == (Decision.WORSE, pytest.approx(0.025))


def test_higher_metrics_are_judged_the_right_way_round():
    """Of an AUC, a candidate that is surely lower is worse, and one that is surely higher passes."""
    rng = np.random.default_rng(2)
    day = START + np.repeat(np.arange(14), 100)
    y = rng.random(1_400) < 0.4
    good, bad = (y * skill + rng.normal(size=1_400) for skill in (2.0, 0.5))

    def judged(candidate: np.ndarray, champion: np.ndarray) -> Verdict:
        comparison = compare_whole(
            day, lambda rows: auc(y[rows], candidate[rows]), lambda rows: auc(y[rows], champion[rows]), better="higher"
        )
        return verdict_on(comparison, margin=Margin(value=0.01, relative=False))

    assert judged(good, bad).decision is Decision.PASS
    assert judged(bad, good).decision is Decision.WORSE
    assert judged(bad, good).difference > 0


@pytest.mark.parametrize("days", [7, 14])
@pytest.mark.parametrize("level", [0.0, 0.3])
@pytest.mark.parametrize("rule", ["non-inferior", "not-worse"])
def test_identical_models_pass(days, level, rule):
    """A twin of the champion passes, even of a champion that makes no error, whose 5 % are 0."""
    day = START + np.repeat(np.arange(days), 5)
    loss = np.full(len(day), level)

    verdict = verdict_on(compare_rows(day, loss, loss), margin=LOSS_MARGIN, rule=gate(rule=rule))

    assert (verdict.decision, verdict.difference) == (Decision.PASS, 0.0)


@pytest.mark.parametrize(("shift", "decision"), [(0.01, Decision.PASS), (0.05, Decision.WORSE), (-1, Decision.PASS)])
def test_days_that_are_all_equal_are_judged(shift, decision):
    """A difference that is the same on every row leaves no doubt, and the margin decides."""
    day = START + np.repeat(np.arange(10), 4)
    champion = np.full(40, 0.5)

    assert verdict_on(compare_rows(day, champion + shift, champion)).decision is decision


@pytest.mark.parametrize("days", [1, 2])
def test_too_few_days_are_refused(days):
    """Fewer days than min_days decide nothing, identical models included, and the verdict says how many would."""
    day = START + np.repeat(np.arange(days), 50)
    loss = np.random.default_rng(3).random(len(day))

    verdict = verdict_on(compare_rows(day, loss, loss))

    assert (verdict.decision, verdict.days_needed, verdict.days) == (Decision.REFUSED, 7, days)
    assert verdict.reason == f"there {'is 1 day' if days == 1 else 'are 2 days'} of rows, and the gate needs 7"


def test_two_days_are_judged_where_they_may_be():
    """Two days are enough for a gate that asks for two: identical models pass, others are inconclusive."""
    day = START + np.repeat(np.arange(2), 50)
    loss = np.random.default_rng(3).random(100)
    worse = loss + 0.1 * (day == START)

    assert verdict_on(compare_rows(day, loss, loss), rule=gate(min_days=2)).decision is Decision.PASS
    assert verdict_on(compare_rows(day, worse, loss), rule=gate(min_days=2)).decision is Decision.INCONCLUSIVE


@pytest.mark.parametrize("who", ["candidate", "champion"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("rule", ["non-inferior", "not-worse"])
def test_one_value_that_is_no_number_is_refused(who, bad, rule):
    """A single NaN or infinity among the rows of either model is refused, and the reason names whose it is."""
    day = START + np.repeat(np.arange(14), 20)
    losses = {"candidate": np.full(280, 0.4), "champion": np.full(280, 0.5)}
    losses[who][11] = bad

    verdict = verdict_on(compare_rows(day, **losses), rule=gate(rule=rule))

    assert verdict.decision is Decision.REFUSED
    assert f"the {who}'s log_loss is" in verdict.reason


def test_bounds_that_are_no_numbers_are_refused():
    """Finite scores with an interval that is none (an AUC whose one class is on a single day) are refused."""
    verdict = verdict_on(a_comparison(0.0, math.nan))

    assert (verdict.decision, verdict.reason) == (Decision.REFUSED, "the difference in log_loss is not a number")
    assert (verdict.lower, verdict.upper) == (None, None)


def test_no_rows_are_refused():
    """A test window without a row is refused, not "considered validated"."""
    nothing = np.array([])

    verdict = verdict_on(compare_rows(nothing.astype("datetime64[D]"), nothing, nothing))

    assert (verdict.decision, verdict.reason) == (Decision.REFUSED, "no row of the test window can be scored")


def test_no_comparison_is_refused():
    """Without a comparison there is nothing to release on, whatever else is known."""
    verdict = verdict_on(None)

    assert (verdict.decision, verdict.reason) == (Decision.REFUSED, "there is no log_loss to judge by")
    assert (verdict.rows, verdict.days, verdict.difference) == (0, 0, None)


def test_champion_that_cannot_score_is_refused_with_its_failure():
    """A failure that the caller met is the reason, also where a comparison was made."""
    failure = {"failure": "the champion cannot score: it needs the column humidity"}

    for comparison in (None, a_comparison(-1.0)):
        verdict = verdict_on(comparison, evidence=failure)
        assert (verdict.decision, verdict.reason) == (Decision.REFUSED, failure["failure"])


@pytest.mark.parametrize(("rows", "decision"), [(9_990, Decision.PASS), (9_989, Decision.REFUSED)])
def test_rows_that_were_not_scored_are_refused(rows, decision):
    """At least 99.9 % of the rows must be scored: rows that a model cannot do are not left out in silence."""
    verdict = verdict_on(a_comparison(-0.1, rows=np.asarray(float(rows))), evidence={"expected_rows": 10_000})

    assert verdict.decision is decision


def test_constant_candidate_is_refused():
    """A candidate that gives every row the same answer is refused, however well it scores."""
    verdict = verdict_on(a_comparison(-0.1), evidence={"is_constant": True})

    assert (verdict.decision, verdict.reason) == (Decision.REFUSED, "the candidate gives every row the same answer")


@pytest.mark.parametrize(("rows", "decision"), [(0, Decision.REFUSED), (29, Decision.REFUSED), (30, Decision.PASS)])
def test_rare_class_needs_thirty_rows(rows, decision):
    """Fewer than 30 rows of the rarer class are refused."""
    assert verdict_on(a_comparison(-0.1), evidence={"minority_rows": rows}).decision is decision


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("against", ["champion", "baseline"])
def test_nothing_refused_has_a_margin(late, against):
    """A refusal judges nothing: no margin, no references, and no deadline turns it into a release."""
    verdict = verdict_on(a_comparison(-0.1, days=6), against=against, past_deadline=late)

    assert (verdict.decision, verdict.margin, verdict.references) == (Decision.REFUSED, None, None)
    assert not verdict.released_on_deadline


def test_inconclusive_says_how_many_days_would_decide():
    """The days that would decide are G·(2h/δ)², rounded up."""
    comparison = a_comparison(0.0, 0.03)

    verdict = verdict_on(comparison)

    assert verdict.decision is Decision.INCONCLUSIVE
    assert verdict.days_needed == math.ceil(14 * (2 * 0.03 / 0.025) ** 2) == 81
    assert "about 81 days of rows would decide" in verdict.reason


def test_days_needed_are_more_than_there_were():
    """What is inconclusive needs more days than it had, even where the formula gives fewer."""
    assert verdict_on(a_comparison(0.0125, 0.0125)).days_needed == 15


@pytest.mark.parametrize("effect", [0.0, -0.1, math.nan, 1e-6])
def test_days_needed_are_none_where_no_plan_would_help(effect):
    """Nothing to show, or decades to show it in, is no number of days."""
    assert days_needed(a_comparison(0.0, 0.03), effect=effect) is None


def test_first_model_needs_days_for_what_it_gains():
    """A first model's days are those that would show the gain that was seen; without a gain there are none."""
    gains, loses = (verdict_on(a_comparison(gap, 0.02), against="baseline") for gap in (-0.01, 0.01))

    assert gains.days_needed == 14 * 16
    assert (loses.decision, loses.days_needed) == (Decision.INCONCLUSIVE, None)


@pytest.mark.parametrize(("half_width", "released"), [(0.0749, True), (0.0751, False), (0.2, False)])
def test_deadline_releases_below_three_margins(half_width, released):
    """Past the champion's deadline, an inconclusive candidate passes when its upper bound is below three margins."""
    comparison = a_comparison(0.0, half_width)

    late = verdict_on(comparison, past_deadline=True)

    assert late.released_on_deadline is released
    assert late.decision is (Decision.PASS if released else Decision.INCONCLUSIVE)
    assert (late.days_needed is None) is released
    assert verdict_on(comparison).decision is Decision.INCONCLUSIVE


@pytest.mark.parametrize(
    ("comparison", "against", "decision"),
    [
        (a_comparison(0.04, 0.01), "champion", Decision.WORSE),
        (a_comparison(0.0, 0.01), "champion", Decision.PASS),
        (a_comparison(0.0, 0.01), "baseline", Decision.INCONCLUSIVE),
    ],
    ids=["worse", "passes anyway", "first model"],
)
def test_deadline_changes_nothing_else(comparison, against, decision):
    """A deadline releases nothing that is worse, marks nothing that passes, and helps no first model."""
    verdict = verdict_on(comparison, against=against, past_deadline=True)

    assert (verdict.decision, verdict.released_on_deadline) == (decision, False)


@pytest.mark.parametrize(("better", "baseline", "half"), [("lower", 0.56, 0.03), ("higher", 0.4, 0.05)])
def test_references_stand_beside_the_margin(better, baseline, half):
    """A verdict shows half of what the champion gains over a constant, what skipping one release costs (the version
    before it on the same rows), and the smallest difference that the window shows."""
    scores = {"baseline_score": baseline, "previous_score": (baseline + 0.5) / 2}
    told = verdict_on(a_comparison(0.0, 0.01, better=better), evidence=scores).references

    assert told == {"half_gain": pytest.approx(half), "skipped": pytest.approx(half), "mde": pytest.approx(0.02)}


def test_unknown_baseline_is_no_reference():
    """Without a constant's score there is no half gain, and nothing else changes."""
    for score in (None, math.nan):
        told = verdict_on(a_comparison(), evidence={"baseline_score": score, "previous_score": score}).references
        assert told == {"half_gain": None, "skipped": None, "mde": 0.02}


def test_constant_gains_nothing_over_itself():
    """Against a baseline there is no champion, so no half of its gain."""
    verdict = verdict_on(a_comparison(-0.1), against="baseline", evidence={"baseline_score": 0.6})

    assert verdict.references == {"half_gain": None, "skipped": None, "mde": 0.02}
