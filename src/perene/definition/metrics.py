"""Built-in metrics: of rows one value each, lower is better; those of rankings are in ``rank_metrics``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from perene.definition.hooks import Hook, group_metric_hook, metric_hook
from perene.definition.label import Label, Task
from perene.definition.rank_metrics import average_precision, ndcg, reciprocal_rank

Values = NDArray[np.float64]
_OF_FIRST = re.compile(r"ndcg@([1-9]\d*)")
_LEAST = 1e-15  # a probability of zero that came true would cost infinitely much
_SUM_ERROR = 1e-3  # of probabilities in 32 bits, or rounded by a post step


def log_loss(y: NDArray[np.generic], p: Values, *, classes: Sequence[str] = ()) -> Values:
    """Minus the logarithm of the probability that was given to what happened.

    ``y`` is true or false and ``p`` the probability of true, shape (n,); or ``y`` holds names of ``classes`` and
    ``p`` their probabilities, shape (n, k), in the order of ``classes``. A label that is none of the classes gives
    NaN, and so do probabilities whose sum is not 1: more than that would be a cheap way to lose little.
    """
    p = np.asarray(p, dtype=np.float64)
    if not classes:
        happened = np.where(np.asarray(y, dtype=bool), p, 1 - p)
        return np.asarray(-np.log(np.clip(happened, _LEAST, 1.0)))
    hit = np.asarray(y)[:, None] == np.asarray(classes, dtype=object)[None, :]
    is_known = hit.any(axis=1) & (np.abs(p.sum(axis=1) - 1) <= _SUM_ERROR) & (p >= 0).all(axis=1)
    happened = np.where(is_known, np.where(hit, p, 0.0).sum(axis=1), np.nan)
    return np.asarray(-np.log(np.clip(happened, _LEAST, 1.0)))


def squared_error(y: NDArray[np.generic], p: Values) -> Values:
    """The square of the difference."""
    return np.asarray(np.square(np.asarray(p, dtype=np.float64) - np.asarray(y, dtype=np.float64)))


def absolute_error(y: NDArray[np.generic], p: Values) -> Values:
    """The size of the difference."""
    return np.asarray(np.abs(np.asarray(p, dtype=np.float64) - np.asarray(y, dtype=np.float64)))


def built_in(label: Label) -> dict[str, Hook]:
    """The metrics that need no declaration, for this label's task; the first is the default."""
    functions: dict[str, Callable[..., Values]]
    if label.task is Task.RANKING:
        ready = {"ndcg": ndcg, "average_precision": average_precision, "reciprocal_rank": reciprocal_rank}
        return {name: group_metric_hook(name, function) for name, function in ready.items()}
    if label.task is Task.MULTICLASS:
        functions = {"log_loss": partial(log_loss, classes=label.classes)}
    elif label.task is Task.BINARY:
        functions = {"log_loss": log_loss, "squared_error": squared_error}
    else:
        functions = {"squared_error": squared_error, "absolute_error": absolute_error}
    return {name: metric_hook(name, function) for name, function in functions.items()}


def built_in_metric(label: Label, name: str) -> Hook | None:
    """One of them by its name, or ``ndcg@5`` of a ranking: that of the first 5 ranks; None where there is none."""
    first = _OF_FIRST.fullmatch(name)
    if first is not None and label.task is Task.RANKING:
        return group_metric_hook(name, partial(ndcg, k=int(first[1])))
    return built_in(label).get(name)
