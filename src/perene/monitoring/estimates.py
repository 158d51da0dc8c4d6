"""Estimates from what is kept of rows: sums per day where a value per row is enough."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np

from perene.records.status import Estimate
from perene.statistics.intervals import Sums, Values, half_width

_TAIL = 0.025  # of each side of a 95 % interval


def of_days(parts: Sequence[Sums], *, value: int = 0, minus: int | None = None) -> Estimate | None:
    """The mean over rows of one of the summed values (``minus`` another), clustered by day; None when it is no number.

    Args:
        parts: sums per day; a day is in one part only.
        value: which of the sums.
        minus: the sum that is taken away.
    """
    if not parts:
        return None
    order = np.argsort(np.concatenate([part.groups for part in parts]))
    rows = np.concatenate([part.rows for part in parts])[order]
    sums = np.concatenate([part.sums[value] - (0.0 if minus is None else part.sums[minus]) for part in parts])[order]
    total = rows.sum()
    if not total:
        return None
    mean = float(sums.sum()) / float(total)
    return of_deviations(float(mean), (sums - mean * rows) / float(rows.mean()), rows=int(total))


def of_deviations(value: float, deviations: Values, *, rows: int) -> Estimate | None:
    """An estimate with the interval that its days' deviations give; None when it is no number."""
    if not isfinite(value):
        return None
    h = float(half_width(deviations, alpha=_TAIL).value)
    known = isfinite(h)
    return Estimate(
        value=value,
        lower=value - h if known else None,
        upper=value + h if known else None,
        rows=rows,
        days=len(deviations),
    )
