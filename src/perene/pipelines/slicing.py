"""Slices: the groups of rows in which a candidate must not be worse.

A candidate that is as good on the whole may harm a few. Each group with enough rows is tested for harm as the whole is:
surely worse, and perhaps by more than the margin. The tests are held together by Holm's method, so that all of them cry
wolf together as often as the gate alone; 20 intervals of their own would refuse nearly every equal candidate. Groups
that are too small are shown, not judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import polars as pl

from perene.definition.gates import Margin
from perene.definition.hooks import Hook
from perene.definition.model import Model
from perene.pipelines.contests import CannotJudge, Said, TestSet, closed
from perene.pipelines.scoring import Truthful
from perene.records.verdict import Check, Decision
from perene.statistics.comparisons import Comparison, holm, p_worse
from perene.statistics.gate import LEAST_MINORITY_ROWS, margin_in_units
from perene.statistics.intervals import Mask
from perene.statistics.reasons import side

LEAST_ROWS, LEAST_DAYS = 200, 7
MOST_GROUPS = 1_000  # of one slice: more are no groups, but an id or a number
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One group of rows. ``p`` is the chance of a difference like this if the candidate were no worse in it; None
    where the group is too small to be judged. ``comparison`` is None where the metric needs more than it has.
    """

    of: str
    value: str
    rows: int
    days: int
    comparison: Comparison | None
    p: float | None


def compare_slices(test: TestSet, candidate: Said, other: Said) -> list[Slice]:
    """The two within each value of each declared slice, and of each field of the Row that is enumerated."""
    return [_compared(test, candidate, other, of=of, value=value, mask=mask) for of, value, mask in _groups(test)]


def check_slices(slices: list[Slice], *, alpha: float, margin: Margin) -> Check:
    """Whether the candidate is worse in any group: worse, or pass.

    Raises:
        CannotJudge: a difference is not a number.
    """
    judged = [part for part in slices if part.p is not None]
    p = np.array([part.p for part in judged], dtype=np.float64)
    for part in judged:
        if not isfinite(part.p or 0.0):
            raise CannotJudge(f"the difference on {part.of}={part.value} is not a number")
    harmed = [part for part, sure in zip(judged, holm(p, alpha), strict=True) if sure and _matters(part, margin)]
    small = len(slices) - len(judged)
    beside = f"; {small} too small to judge" if small else ""
    if not harmed:
        many = "1 group" if len(judged) == 1 else f"{len(judged)} groups"
        return Check(name="slices", decision=Decision.PASS, reason=f"{many} of rows, none shown to be worse{beside}")
    told = ", ".join(
        f"{part.of}={part.value} ({side(float(part.comparison.difference))})"
        for part in harmed[:_SHOWN]
        if part.comparison is not None
    )
    more = f" and {len(harmed) - _SHOWN} more" if len(harmed) > _SHOWN else ""
    why = (
        f"worse on {told}{more}: with {100 * (1 - alpha):.4g} % certainty over the {len(judged)} groups judged{beside}"
    )
    return Check(name="slices", decision=Decision.WORSE, reason=why)


def _matters(part: Slice, margin: Margin) -> bool:
    """Whether a group may be worse by the margin or more."""
    found = part.comparison
    return found is not None and float(found.upper) >= margin_in_units(margin, float(found.champion_score))


def shown_slices(slices: list[Slice]) -> Mapping[str, object]:
    """The comparisons by slice and value, as they are remembered."""
    found: dict[str, dict[str, object]] = {}
    for part in slices:
        facts: dict[str, object] = {"rows": part.rows, "days": part.days, "p": part.p}
        for name in ("candidate_score", "champion_score", "difference", "lower", "upper"):
            facts[name] = None if part.comparison is None else float(getattr(part.comparison, name))
        found.setdefault(part.of, {})[part.value] = facts
    return found


def _groups(test: TestSet) -> Iterator[tuple[str, str, Mask]]:
    declared = {hook.name: hook for hook in test.model.slices}
    for hook in declared.values():
        with closed(f"the slice {hook.name} failed"):
            names = _names(test.model, hook, test.truth)
        if not names.len() - names.null_count() and names.len():
            raise CannotJudge(f"the slice {hook.name} names no row")
        groups = names.drop_nulls().unique().sort()
        if len(groups) > MOST_GROUPS:
            raise CannotJudge(f"the slice {hook.name} names {len(groups):,} groups; {MOST_GROUPS:,} is the most")
        for value in groups:
            yield hook.name, str(value), _mask(names == value)
    for field in test.model.schema.fields:
        if field.choices and field.name not in declared:
            column = test.truth.rows[field.name].cast(pl.String)
            for choice in field.choices:
                yield field.name, choice, _mask(column == choice)


def _names(model: Model, hook: Hook, truth: Truthful) -> pl.Series:
    given: dict[str, Any] = {"rows": truth.rows, "at": truth.at}
    if "x" in hook.parameters:
        given["x"] = truth.features(model)
    names: pl.Series = hook(**given)
    return names


def _mask(where: pl.Series) -> Mask:
    return np.asarray(where.fill_null(value=False).to_numpy())


def _compared(test: TestSet, candidate: Said, other: Said, *, of: str, value: str, mask: Mask) -> Slice:
    rows, days = test.count(mask), len(np.unique(test.day[mask]))
    rare = test.minority_rows(mask) if test.metric.whole else None
    judged = rows >= LEAST_ROWS and days >= LEAST_DAYS and (rare is None or rare >= LEAST_MINORITY_ROWS)
    known = rows > 0 and (judged or not test.metric.whole)
    comparison = test.compare(candidate, other, rows=mask) if known else None
    p = float(p_worse(comparison)) if judged and comparison is not None else None
    return Slice(of=of, value=value, rows=rows, days=days, comparison=comparison, p=p)
