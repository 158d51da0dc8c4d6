"""Intervals for numbers of days that resemble themselves.

Rows of one day share its weather, so they are not independent: an interval over rows is several times too narrow.
Here a day is the unit. A metric over all rows becomes one *deviation* per day (how far that day pulls it), and the
half-width of its interval is the larger of two: one that takes days as independent (delete-one-day jackknife, t with
G - 1 degrees of freedom), and one that lets neighbouring days resemble one another (equal-weighted cosines: Lazarus,
Lewis, Stock and Watson, JBES 2018). Both are exact functions of the data: no seed, no resampling. What takes sums takes
leading axes too, so that thousands of histories are computed at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Days = NDArray[np.datetime64]
Mask = NDArray[np.bool_]
LEAST_COSINES = 4  # fewer would leave t quantiles so long that nothing is ever decided


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Per group (a day, or a key), in ascending order: how many rows it has, and the sum of each value over them."""

    groups: NDArray[Any]
    rows: Values
    sums: tuple[Values, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfWidth:
    """Half an interval's width, and the two standard errors that it is the larger of. Arrays over the leading axes."""

    se_day: Values
    se_ewc: Values
    value: Values


def day_sums(day: Days, *values: Values) -> Sums:
    """Rows and sums per day, days in order; instants are cut to their UTC day."""
    return sums_by(np.asarray(day).astype("datetime64[D]"), *values)


def sums_by(group: NDArray[Any], *values: Values) -> Sums:
    """Rows and sums per group, groups in ascending order."""
    groups, index = np.unique(group, return_inverse=True)
    count = len(groups)
    return Sums(
        groups=groups,
        rows=np.bincount(index, minlength=count).astype(np.float64),
        sums=tuple(np.bincount(index, value, count).astype(np.float64) for value in values),
    )


def jackknife(day: Days, metric: Callable[[Mask], float]) -> tuple[float, Values]:
    """A metric of all rows, and each day's deviation: its jackknife pseudo-value, centred.

    The pseudo-value of day j is G·θ - (G - 1)·θ₍₋ⱼ₎, where θ₍₋ⱼ₎ is the metric without that day.
    """
    _, index = np.unique(np.asarray(day).astype("datetime64[D]"), return_inverse=True)
    return float(metric(np.ones(len(index), dtype=np.bool_))), jackknife_of(index, metric)


def jackknife_of(group: NDArray[np.intp], metric: Callable[[Mask], float]) -> Values:
    """The deviation of each of the groups 0 … G - 1, as ``jackknife`` gives it for days."""
    count = int(group.max(initial=-1)) + 1
    if count < 2:
        return np.zeros(count)
    without = np.array([float(metric(group != j)) for j in range(count)])
    with np.errstate(invalid="ignore"):
        return np.asarray((count - 1) * (without.mean() - without))


def half_width(deviations: Values, *, alpha: float = 0.05) -> HalfWidth:
    """Half the width of an interval whose bounds are each wrong with probability ``alpha``.

    Args:
        deviations: shape (…, G), days in order: how far each day pulls the estimate, in the estimate's unit. Of a mean
            (S - θ·n) / n̄ with the day's sum S and rows n; of any other metric the centred pseudo-value.
        alpha: one tail's probability.

    Returns:
        Standard errors and half-width, shape (…); infinite where there are fewer than two days.
    """
    days = deviations.shape[-1]
    if days < 2:
        none = np.full(deviations.shape[:-1], np.inf)
        return HalfWidth(se_day=none, se_ewc=none, value=none)
    with np.errstate(invalid="ignore", over="ignore"):
        se_day = np.sqrt(np.square(deviations).sum(axis=-1) / (days * (days - 1)))
        waves = deviations @ _cosines(days)
        se_ewc = np.sqrt(np.square(waves).mean(axis=-1) / days)
        value = np.maximum(t_quantile(days - 1, alpha) * se_day, t_quantile(waves.shape[-1], alpha) * se_ewc)
    return HalfWidth(se_day=se_day, se_ewc=se_ewc, value=value)


def t_quantile(df: int, alpha: float) -> float:
    """The quantile of Student's t that is exceeded with probability ``alpha``."""
    from scipy.special import stdtrit  # loaded where it is needed: it costs every command a tenth of a second

    return float(stdtrit(df, 1 - alpha))


def t_tail(df: int, t: Values) -> Values:
    """The probability that Student's t exceeds ``t``."""
    from scipy.special import stdtr  # loaded where it is needed, as above

    return np.asarray(stdtr(df, -t))


def cosine_count(days: int) -> int:
    """How many cosines an interval over so many days rests on, its degrees of freedom: max(4, ⌊0.4·G^⅔⌋), below G."""
    return min(max(LEAST_COSINES, int(0.4 * days ** (2 / 3))), days - 1)


@lru_cache(maxsize=256)
def _cosines(days: int) -> Values:
    """The type-II cosines √(2/G)·cos(πk(j - ½)/G), k = 1 … B, as columns."""
    j, k = np.arange(1, days + 1)[:, None], np.arange(1, cosine_count(days) + 1)[None, :]
    waves = np.sqrt(2 / days) * np.cos(np.pi * k * (j - 0.5) / days)
    waves.setflags(write=False)
    return np.asarray(waves)
