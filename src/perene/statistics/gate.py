"""The gate: may a candidate replace the champion?

The burden of proof is on the candidate (non-inferiority): it passes when the upper bound of its difference is below
the margin. "Not shown to be worse" alone would pass most bad candidates on a short window. Where the gate cannot
judge, it refuses, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, isfinite
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from perene.definition.gates import Gate, Margin
from perene.records.verdict import Decision, Verdict
from perene.statistics.comparisons import Comparison
from perene.statistics.intervals import Values
from perene.statistics.reasons import reason

LEAST_MINORITY_ROWS = 30
LEAST_SCORED_SHARE = 0.999
DEADLINE_MARGINS = 3  # past the deadline, a candidate may be this many margins worse at most
_UNKNOWABLE_DAYS = 10_000  # a wait of decades is no plan

Against = Literal["champion", "anchor", "baseline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What else is known of the test rows: the gate refuses on it.

    ``expected_rows`` is how many rows should have been scored; ``minority_rows`` how many the rarer class has (None
    where there are no two classes); ``is_constant`` that the candidate gave every row the same answer; ``failure`` why
    there is no comparison at all. What a constant scores on the same rows, and the version that was live before the
    champion, becomes a reference beside the margin.
    """

    expected_rows: int
    minority_rows: int | None = None
    is_constant: bool = False
    failure: str = ""
    baseline_score: float | None = None
    previous_score: float | None = None


def decide(lower: Values, upper: Values, margin: Values | float, *, rule: str = "non-inferior") -> NDArray[np.str_]:
    """The gate's decision from the bounds alone, elementwise: "pass", "worse" or "inconclusive".

    A candidate whose upper bound is 0 or less is no worse at all, whatever the margin: 5 % of a champion that makes no
    error is 0, and its twin must pass.
    """
    undecided = np.where(np.asarray(lower) > 0, Decision.WORSE.value, Decision.INCONCLUSIVE.value)
    if rule == "not-worse":
        return np.where(np.asarray(lower) <= 0, Decision.PASS.value, undecided)  # a NaN is neither
    passes = (np.asarray(upper) < margin) | (np.asarray(upper) <= 0)
    return np.where(passes, Decision.PASS.value, undecided)


def decide_first(lower: Values, upper: Values) -> NDArray[np.str_]:
    """The decision on a first model, which must be shown to be better than a constant; elementwise."""
    undecided = np.where(np.asarray(lower) > 0, Decision.WORSE.value, Decision.INCONCLUSIVE.value)
    return np.where(np.asarray(upper) < 0, Decision.PASS.value, undecided)


def judge(
    comparison: Comparison | None,
    gate: Gate,
    *,
    margin: Margin,
    metric: str,
    evidence: Evidence,
    against: Against = "champion",
    past_deadline: bool = False,
) -> Verdict:
    """What the gate says of a candidate.

    Args:
        comparison: candidate against champion (or constant baseline); None where there is none to judge.
        gate: the rule, made by ``gate()``; its ``alpha`` is the comparison's.
        margin: the largest difference that counts as not worse; of a first model none is allowed.
        metric: the metric's name, for the verdict.
        evidence: what else is known of the rows.
        against: what the candidate was compared with.
        past_deadline: whether the champion is stale. Then an inconclusive candidate that is less than three margins
            worse passes, with ``released_on_deadline``; under ``on_deadline="review"`` the caller asks a person first.

    Raises:
        ValueError: the comparison was made with another alpha than the gate's.
    """
    if comparison is not None and comparison.alpha != gate.alpha:
        raise ValueError(f"the comparison's alpha is {comparison.alpha}, the gate's {gate.alpha}")
    verdict = _undecided(comparison, metric, against)
    refusal = _refusal(comparison, gate, evidence, metric, against)
    if comparison is None or refusal:
        too_short = refusal == _too_short(comparison, gate)
        return replace(verdict, reason=refusal, days_needed=gate.min_days if too_short else None)
    first = against == "baseline"
    allowed = 0.0 if first else margin_in_units(margin, float(comparison.champion_score))
    lower, upper = comparison.lower, comparison.upper
    choice = decide_first(lower, upper) if first else decide(lower, upper, allowed, rule=gate.rule)
    decision = Decision(str(choice))
    late = past_deadline and decision is Decision.INCONCLUSIVE and float(upper) < DEADLINE_MARGINS * allowed
    days = None
    if decision is Decision.INCONCLUSIVE and not late:
        days = days_needed(comparison, effect=-float(comparison.difference) if first else allowed)
    said = reason(decision, comparison, against=against, margin=allowed, rule=gate.rule, late=late, days=days)
    return replace(
        verdict,
        decision=Decision.PASS if late else decision,
        reason=said,
        margin=allowed,
        days_needed=days,
        released_on_deadline=late,
        references=_references(comparison, against, evidence),
        certified=float(upper) < 0,
    )


def margin_in_units(margin: Margin, champion_score: float) -> float:
    """The margin in the metric's unit: itself, or its share of the champion's score."""
    return margin.value * abs(champion_score) if margin.relative else margin.value


def smallest_visible(comparison: Comparison) -> float:
    """The smallest true difference that this window is likely to show (its minimum detectable effect): 2·h."""
    return 2 * float(comparison.half_width)


def days_needed(comparison: Comparison, *, effect: float) -> int | None:
    """How many days of rows would show an effect of this size: G·(2h/effect)²; None when no sensible number would."""
    if not effect > 0:
        return None
    days = comparison.days * (smallest_visible(comparison) / effect) ** 2
    return max(ceil(days), comparison.days + 1) if isfinite(days) and days < _UNKNOWABLE_DAYS else None


def _refusal(comparison: Comparison | None, gate: Gate, evidence: Evidence, metric: str, against: Against) -> str:
    """Why the gate cannot judge; empty when it can."""
    if evidence.failure:
        return evidence.failure
    if comparison is None:
        return f"there is no {metric} to judge by"
    rows = int(comparison.rows)
    if rows == 0:
        return "no row of the test window can be scored"
    if rows < LEAST_SCORED_SHARE * evidence.expected_rows:
        return f"only {rows:,} of {evidence.expected_rows:,} rows were scored; the gate needs {LEAST_SCORED_SHARE:.1%}"
    for name, score in (("candidate", comparison.candidate_score), (against, comparison.champion_score)):
        if not isfinite(score):
            return f"the {name}'s {metric} is {float(score)}, not a number"
    if comparison.days < gate.min_days:
        return _too_short(comparison, gate)
    if not (isfinite(comparison.difference) and isfinite(comparison.half_width)):
        return f"the difference in {metric} is not a number"
    if evidence.minority_rows is not None and evidence.minority_rows < LEAST_MINORITY_ROWS:
        return f"only {evidence.minority_rows} rows are of the rarer class; the gate needs {LEAST_MINORITY_ROWS}"
    return "the candidate gives every row the same answer" if evidence.is_constant else ""


def _too_short(comparison: Comparison | None, gate: Gate) -> str:
    days = comparison.days if comparison else 0
    return f"there {'is 1 day' if days == 1 else f'are {days} days'} of rows, and the gate needs {gate.min_days}"


def _undecided(comparison: Comparison | None, metric: str, against: Against) -> Verdict:
    """The facts of a comparison, refused until the gate has judged them."""

    def fact(name: str) -> float | None:
        value = float(getattr(comparison, name)) if comparison is not None else float("nan")
        return value if isfinite(value) else None

    return Verdict(
        decision=Decision.REFUSED,
        reason="",
        metric=metric,
        against=against,
        candidate_score=fact("candidate_score"),
        champion_score=fact("champion_score"),
        difference=fact("difference"),
        lower=fact("lower"),
        upper=fact("upper"),
        margin=None,
        rows=int(comparison.rows) if comparison is not None else 0,
        days=comparison.days if comparison is not None else 0,
    )


def _references(comparison: Comparison, against: Against, evidence: Evidence) -> dict[str, float | None]:
    """What the margin may be held against; see ``Verdict``."""

    def gain_over(score: float | None) -> float | None:
        if against != "champion" or score is None or not isfinite(score):
            return None
        turned = score - float(comparison.champion_score)
        return turned if comparison.better == "lower" else -turned

    over_constant = gain_over(evidence.baseline_score)
    return {
        "half_gain": None if over_constant is None else over_constant / 2,
        "skipped": gain_over(evidence.previous_score),
        "mde": smallest_visible(comparison),
    }
