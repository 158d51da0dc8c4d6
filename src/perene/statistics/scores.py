"""Scores of all rows together, and the constant predictor that every model must beat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perene.definition.label import Task
from perene.statistics.intervals import Values


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """The same prediction for every row, learnt from training labels. ``name`` is "mean", "median" or "frequencies"."""

    name: str
    value: Values

    def predict(self, rows: int) -> Values:
        """The prediction for so many rows: shape (rows,), or (rows, classes)."""
        return np.broadcast_to(self.value, (rows, *self.value.shape)).copy()


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
