"""Built-in metrics of rankings: one value per group, higher is better.

Equal scores say nothing about their order, so each gives what it would give on average over all of their orders, and a
constant prediction scores as a random order does. A group in which nothing is relevant scores 0, whoever ranks it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Ints = NDArray[np.int64]


def ndcg(y: NDArray[Any], p: Values, groups: Ints, *, k: int | None = None) -> Values:
    """Normalised discounted cumulative gain: Σ y / log2(1 + rank), over the same sum in the best order.

    Gains are the labels themselves, as scikit-learn's ``ndcg_score`` has them; of ``k``, those of the first k only.
    Järvelin and Kekäläinen 2002; ties by McSherry and Najork 2008.

    Args:
        y: the labels, 0 or more, shape (n,).
        p: the scores, shape (n,).
        groups: the group of each row, from 0 on, shape (n,).
        k: how many of the first ranks count.
    """
    gains, count = np.asarray(y, dtype=np.float64), _count(groups)
    blocks = _Blocks.of(p, groups)
    shown = np.bincount(blocks.block, gains[blocks.order], blocks.count) / blocks.rows
    worth = np.bincount(blocks.block, _discounts(blocks.place, k), blocks.count)
    found = np.bincount(blocks.group, shown * worth, count)
    best = np.lexsort((-gains, groups))
    ideal = np.bincount(groups[best], gains[best] * _discounts(blocks.place, k), count)
    return _known(np.divide(found, ideal, out=np.zeros(count), where=ideal > 0), gains, p, groups)


def average_precision(y: NDArray[Any], p: Values, groups: Ints) -> Values:
    """The mean, over the relevant rows (label above 0), of the share of relevant rows among those ranked no lower.

    As scikit-learn's ``average_precision_score``; equal scores share one rank, the last of theirs.
    """
    labels, count = np.asarray(y, dtype=np.float64), _count(groups)
    blocks = _Blocks.of(p, groups)
    hits = np.bincount(blocks.block, (labels > 0)[blocks.order], blocks.count)
    relevant = np.bincount(blocks.group, hits, count)
    so_far = np.cumsum(hits) - (np.cumsum(relevant) - relevant)[blocks.group]
    precision = so_far / (blocks.start + blocks.rows)
    found = np.bincount(blocks.group, hits * precision, count)
    return _known(np.divide(found, relevant, out=np.zeros(count), where=relevant > 0), labels, p, groups)


def reciprocal_rank(y: NDArray[Any], p: Values, groups: Ints) -> Values:
    """One over the rank of the first relevant row (label above 0)."""
    labels, count = np.asarray(y, dtype=np.float64), _count(groups)
    blocks = _Blocks.of(p, groups)
    hits = np.bincount(blocks.block, (labels > 0)[blocks.order], blocks.count).astype(np.float64)
    some = np.flatnonzero(hits > 0)
    first = some[np.unique(blocks.group[some], return_index=True)[1]]  # blocks lie best first
    found = np.zeros(count)
    found[blocks.group[first]] = _expected_reciprocal(blocks.start[first], blocks.rows[first], hits[first])
    return _known(found, labels, p, groups)


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Rows in the order of their groups and scores, best first; a block is those of one group with one score.

    ``order`` gives the rows, ``place`` and ``block`` are of each of these: its place in its group (0 is the first) and
    its block. ``group``, ``start`` and ``rows`` are of each block: its group, its first place, how many rows it has.
    """

    order: NDArray[np.intp]
    place: Ints
    block: Ints
    group: Ints
    start: Ints
    rows: Ints

    @property
    def count(self) -> int:
        return len(self.rows)

    @classmethod
    def of(cls, p: Values, groups: Ints) -> _Blocks:
        order = np.lexsort((-p, groups))
        group, score = groups[order], p[order]
        place = np.arange(len(order)) - np.searchsorted(group, group)
        is_new = np.ones(len(order), dtype=bool)
        is_new[1:] = (group[1:] != group[:-1]) | (score[1:] != score[:-1])
        heads = np.flatnonzero(is_new)
        rows = np.diff(np.append(heads, len(order)))
        return cls(order, place, np.cumsum(is_new) - 1, group[heads], place[heads], rows)


def _expected_reciprocal(start: Ints, rows: Ints, hits: Values) -> Values:
    """E[1 / (start + X)] where X is the first of ``hits`` places that are drawn at random among ``rows``."""
    expected, left = np.zeros(len(rows)), np.ones(len(rows))  # left: the chance that none came yet
    for x in range(1, int(rows.max(initial=0)) + 1):
        here = np.where(x <= rows, left * hits / np.maximum(rows - x + 1, 1), 0.0)
        here = np.minimum(here, left)
        expected += here / (start + x)
        left = left - here
    return expected


def _count(groups: Ints) -> int:
    return int(groups.max(initial=-1)) + 1


def _discounts(place: Ints, k: int | None) -> Values:
    discounts = 1 / np.log2(place + 2.0)
    return discounts if k is None else np.where(place < k, discounts, 0.0)


def _known(values: Values, labels: Values, p: Values, groups: Ints) -> Values:
    """NaN for groups that cannot be scored: with a score that is no number, or a label that is none or less than 0."""
    is_bad = ~np.isfinite(p) | ~(labels >= 0)
    return np.where(np.bincount(groups, is_bad, len(values)) > 0, np.nan, values)
