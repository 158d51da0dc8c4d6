"""What the gate said of a candidate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Decision(StrEnum):
    """The gate's answer. Only PASS releases by itself; WORSE and UNFIT reject; INCONCLUSIVE keeps the champion."""

    PASS = "pass"
    WORSE = "worse"
    INCONCLUSIVE = "inconclusive"
    UNFIT = "unfit"  # it breaks a budget that its model declares: too slow, or too big, to be served
    REFUSED = "refused"  # the gate could not judge, so it fails closed: no rows, NaN, a champion that cannot score …


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that the gate looked at: the champion, the anchor, the slices, the answers, golden rows, budgets."""

    name: str
    decision: Decision
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Candidate against champion on the same rows, which neither was trained on.

    ``decision`` is the worst of ``checks``, and ``reason`` that check's; the numbers are those against the champion.
    ``certified`` says that the candidate is shown to be better than the anchor: once live, it is the next anchor.

    ``difference`` is candidate minus champion in the metric's unit, turned so that lower is better; the true value is
    below ``upper`` and above ``lower`` with 95 % each. ``margin`` is the largest difference that counts as not worse;
    ``references`` are what it may be held against, in the same unit: ``half_gain`` (half of what the champion gains
    over a constant), ``skipped`` (what skipping one release costs: the previous champion on these rows) and ``mde``
    (the smallest effect that the window shows). ``days_needed`` is how many days of rows would decide (None when
    decided or unknowable). ``against`` is "champion" or "baseline". ``rows`` counts what the metric has a value of,
    which ``per`` names: "row", or "group" of a ranking.
    """

    decision: Decision
    reason: str
    metric: str
    against: str
    candidate_score: float | None
    champion_score: float | None
    difference: float | None
    lower: float | None
    upper: float | None
    margin: float | None
    rows: int
    days: int
    days_needed: int | None = None
    released_on_deadline: bool = False
    references: Mapping[str, float | None] | None = None
    certified: bool = False
    per: str = "row"
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A verdict, with what it was made of."""

    id: int
    model: str
    run: int | None
    created_at: datetime
    candidate: int
    champion: int | None
    dataset: int
    verdict: Verdict
    by_day: Mapping[str, list[float]]  # columns: day (epoch days), rows, candidate, champion
    slices: Mapping[str, object]
