"""Candidate against champion on the same rows: their difference, with its one-sided bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from perene.statistics.intervals import (
    Days,
    Mask,
    Values,
    cosine_count,
    day_sums,
    half_width,
    jackknife,
    jackknife_of,
    sums_by,
    t_quantile,
    t_tail,
)

Better = Literal["lower", "higher"]
_MOST_KEY_GROUPS = 50  # a metric of all rows is computed once without each


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How a candidate differs from a champion (or a baseline) on the same rows.

    ``difference`` is candidate minus champion, turned so that lower is better; the true one is below ``upper`` with
    probability 1 - ``alpha``, and above ``lower`` with as much. The scores keep the metric's own direction, which
    ``better`` names. ``se_key`` is the standard error over keys, where keys repeat, and ``keys`` how many clusters of
    them it rests on (0: none repeats). The numbers are arrays over the leading axes: of shape () for one comparison.
    """

    difference: Values
    lower: Values
    upper: Values
    half_width: Values
    se_day: Values
    se_ewc: Values
    se_key: Values | None
    candidate_score: Values
    champion_score: Values
    rows: Values
    days: int
    better: Better
    alpha: float
    keys: int = 0


def compare_rows(
    day: Days,
    candidate: Values,
    champion: Values,
    *,
    key: NDArray[Any] | None = None,
    better: Better = "lower",
    alpha: float = 0.05,
) -> Comparison:
    """Compare two models by a metric that has one value per row.

    Args:
        day: the day of each row, shape (n,); instants are cut to their UTC day.
        candidate: its metric on each row, shape (n,).
        champion: its metric on the same rows, in the same order.
        key: which thing each row is about; where things repeat, their clusters may widen the interval.
        better: whether lower or higher values of the metric are better.
        alpha: the chance, of each bound, of being wrong.
    """
    days = day_sums(day, candidate, champion)
    keys = None
    if key is not None:
        by_key = sums_by(key, candidate, champion)
        keys = (by_key.rows, *by_key.sums) if 1 < len(by_key.rows) < len(candidate) else None
    return compare(days.rows, *days.sums, by_key=keys, better=better, alpha=alpha)


def compare(
    rows: Values,
    candidate: Values,
    champion: Values,
    *,
    by_key: tuple[Values, ...] | None = None,
    better: Better = "lower",
    alpha: float = 0.05,
) -> Comparison:
    """Compare two models by their sums per day; this is the gate's core.

    Args:
        rows: rows of each day, shape (…, G), days in order.
        candidate: the sum over each day's rows of the candidate's metric, shape (…, G).
        champion: the same of the champion.
        by_key: rows, candidate and champion once more, in sums per key, shape (…, K).
        better: whether lower or higher values of the metric are better.
        alpha: the chance, of each bound, of being wrong.
    """
    sign = 1.0 if better == "lower" else -1.0
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        total = np.asarray(rows.sum(axis=-1))
        gap = sign * (candidate - champion)
        theta = gap.sum(axis=-1) / total
        width = half_width(_deviations(rows, gap, theta), alpha=alpha)
        h, se_key = width.value, None
        if by_key is not None:
            key_gap = sign * (by_key[1] - by_key[2])
            se_key, h_key = _over_keys(_deviations(by_key[0], key_gap, theta), alpha)
            h = np.maximum(h, h_key)
        return Comparison(
            difference=theta,
            lower=theta - h,
            upper=theta + h,
            half_width=h,
            se_day=width.se_day,
            se_ewc=width.se_ewc,
            se_key=se_key,
            candidate_score=candidate.sum(axis=-1) / total,
            champion_score=champion.sum(axis=-1) / total,
            rows=total,
            days=rows.shape[-1],
            better=better,
            alpha=alpha,
            keys=0 if by_key is None else by_key[0].shape[-1],
        )


def compare_whole(
    day: Days,
    candidate: Callable[[Mask], float],
    champion: Callable[[Mask], float],
    *,
    key: NDArray[Any] | None = None,
    better: Better = "lower",
    alpha: float = 0.05,
) -> Comparison:
    """Compare two models by a metric that only all rows together have (AUC, a median), by the jackknife over days.

    Args:
        day: the day of each row, shape (n,).
        candidate: its metric on the rows of a mask.
        champion: the same of the champion, on the same rows.
        key: which thing each row is about; where things repeat, groups of them are left out in turn as days are.
        better: whether lower or higher values of the metric are better.
        alpha: the chance, of each bound, of being wrong.
    """
    sign = 1.0 if better == "lower" else -1.0
    everything = np.ones(len(day), dtype=np.bool_)

    def gap(rows: Mask) -> float:
        return sign * (float(candidate(rows)) - float(champion(rows)))

    theta, deviations = jackknife(day, gap)
    width = half_width(deviations, alpha=alpha)
    difference, h, se_key = np.asarray(theta), width.value, None
    groups = _key_groups(key)
    if groups is not None:
        se_key, h_key = _over_keys(jackknife_of(groups, gap), alpha)
        h = np.maximum(h, h_key)
    return Comparison(
        difference=difference,
        lower=difference - h,
        upper=difference + h,
        half_width=h,
        se_day=width.se_day,
        se_ewc=width.se_ewc,
        se_key=se_key,
        candidate_score=np.asarray(float(candidate(everything))),
        champion_score=np.asarray(float(champion(everything))),
        rows=np.asarray(float(len(day))),
        days=len(deviations),
        better=better,
        alpha=alpha,
        keys=0 if groups is None else int(groups.max()) + 1,
    )


def p_worse(comparison: Comparison) -> Values:
    """The probability of a difference like this, or a larger one, if the candidate were no worse: one-sided.

    It is below alpha exactly where ``lower`` is above 0; NaN where the difference is not a number.
    """
    c = comparison
    errors = [(c.se_day, c.days - 1), (c.se_ewc, cosine_count(c.days))]
    if c.se_key is not None:
        errors.append((c.se_key, c.keys - 1))
    return np.asarray(np.maximum.reduce([_tail(c.difference, se, df) for se, df in errors]))


def holm(p: Values, alpha: float) -> NDArray[np.bool_]:
    """Which of several tests reject together, none wrongly with probability 1 - ``alpha`` (Holm 1979).

    Args:
        p: their p values, shape (m,); a NaN rejects nothing.
        alpha: the chance of any wrong rejection.
    """
    order = np.argsort(p)  # NaNs come last
    small = np.asarray(p)[order] * np.arange(len(p), 0, -1) < alpha
    rejected = np.zeros(len(p), dtype=np.bool_)
    rejected[order] = np.logical_and.accumulate(small)
    return rejected


def _tail(theta: Values, se: Values, df: int) -> Values:
    if df < 1:
        return np.ones_like(theta)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(theta == 0, 0.5, t_tail(df, theta / se))


def _key_groups(key: NDArray[Any] | None) -> NDArray[np.intp] | None:
    """The group of each row, of at most 50 groups of keys; None where no key repeats, or all are one."""
    if key is None:
        return None
    keys, index = np.unique(key, return_inverse=True)
    return np.asarray(index % _MOST_KEY_GROUPS) if 1 < len(keys) < len(key) else None


def _deviations(rows: Values, gap: Values, theta: Values) -> Values:
    """How far each group pulls the mean: (S - θ·n) / n̄."""
    per_group = rows.sum(axis=-1) / max(rows.shape[-1], 1)
    return np.asarray((gap - theta[..., None] * rows) / per_group[..., None])


def _over_keys(deviations: Values, alpha: float) -> tuple[Values, Values]:
    """Standard error and half-width with keys, which have no order, as the clusters."""
    keys = deviations.shape[-1]
    se = np.sqrt(np.square(deviations).sum(axis=-1) / (keys * (keys - 1)))
    return se, np.asarray(t_quantile(keys - 1, alpha) * se)
