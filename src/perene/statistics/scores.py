"""Scores of all rows together, and the constant predictor that every model must beat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perene.definition.label import Task
from perene.statistics.intervals import Days, Mask, Values


def auc(y: NDArray[np.generic], p: Values) -> float:
    """The probability that a true row is ranked above a false one, ties counting half (Mann-Whitney U by midranks).

    NaN when there are rows of one class only, or a prediction that is not a number.
    """
    positive = np.asarray(y, dtype=bool)
    values = np.asarray(p, dtype=np.float64)
    hits = int(positive.sum())
    misses = len(positive) - hits
    if hits == 0 or misses == 0 or np.isnan(values).any():
        return float("nan")
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    midranks = np.cumsum(counts) - (counts - 1) / 2
    return float((midranks[index][positive].sum() - hits * (hits + 1) / 2) / (hits * misses))


def auc_jackknife(day: Days, y: NDArray[np.generic], p: Values) -> tuple[float, Values]:
    """``jackknife(day, auc)`` at once, not day by day: the pairs of a day are taken out of all pairs.

    Returns:
        The AUC, and each day's deviation; NaN as ``auc`` gives it.
    """
    positive, values = np.asarray(y, dtype=bool), np.asarray(p, dtype=np.float64)
    groups, index = np.unique(np.asarray(day).astype("datetime64[D]"), return_inverse=True)
    count = len(groups)
    if np.isnan(values).any():
        return float("nan"), np.full(count, np.nan) if count > 1 else np.zeros(count)
    mine = _wins(values[positive], values[~positive])
    theirs = positive.sum() - _wins(values[~positive], values[positive])  # of each false row: the true ones above it
    hits = np.bincount(index[positive], minlength=count).astype(np.float64)
    misses = np.bincount(index[~positive], minlength=count).astype(np.float64)
    within = np.array([_wins(values[p_], values[n_]).sum() for p_, n_ in _by_day(index, positive, count)])
    touched = np.bincount(index[positive], mine, count) + np.bincount(index[~positive], theirs, count) - within
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = mine.sum() / (hits.sum() * misses.sum())
        without = (mine.sum() - touched) / ((hits.sum() - hits) * (misses.sum() - misses))
    if count < 2:
        return float(whole), np.zeros(count)
    return float(whole), (count - 1) * (without.mean() - without)


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """The same prediction for every row, learnt from training labels. ``name`` is "mean", "median" or "frequencies"."""

    name: str
    value: Values

    def predict(self, rows: int) -> Values:
        """The prediction for so many rows: shape (rows,), or (rows, classes)."""
        return np.broadcast_to(self.value, (rows, *self.value.shape)).copy()


def _wins(values: Values, others: Values) -> Values:
    """For each value, how many of the others are smaller, ties counting half."""
    ordered = np.sort(others)
    return np.asarray((ordered.searchsorted(values, "left") + ordered.searchsorted(values, "right")) / 2)


def _by_day(index: NDArray[np.intp], positive: Mask, count: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """The places of each day's true rows, and of its false ones."""
    order = np.argsort(index, kind="stable")
    for rows in np.split(order, np.cumsum(np.bincount(index, minlength=count))[:-1]):
        yield rows[positive[rows]], rows[~positive[rows]]


def constant_predictor(
    y: NDArray[np.generic], task: Task, *, score: Callable[[Constant], float], classes: Sequence[str] = ()
) -> Constant:
    """The best constant for a task.

    Args:
        y: the training labels, shape (n,), none missing, at least one.
        task: binary gets the share of true, multiclass the frequencies; regression the mean or the median.
        score: the gate metric of a constant on the training rows, turned so that lower is better; it chooses between
            mean and median.
        classes: the classes of a multiclass label, in the order of its predictions.
    """
    if task is Task.MULTICLASS:
        shares = np.asarray([np.mean(np.asarray(y) == name) for name in classes], dtype=np.float64)
        return Constant(name="frequencies", value=shares)
    numbers = np.asarray(y, dtype=np.float64)
    mean = Constant(name="mean", value=np.asarray(numbers.mean()))
    if task is not Task.REGRESSION:
        return mean
    median = Constant(name="median", value=np.asarray(np.median(numbers)))
    return min((mean, median), key=score)
