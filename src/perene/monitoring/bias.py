"""Prediction bias: how far predictions lie above what happens, on average.

A model of a mean (log-loss, squared error) has none when it is right, whatever its errors. Row by row an interval would
be several times too narrow and alarm on most days, so days are the clusters.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import polars as pl

from perene.definition.label import Task
from perene.definition.model import Model
from perene.errors import NotFound
from perene.monitoring.estimates import of_days
from perene.records.status import Bias
from perene.repositories.models import Models
from perene.statistics.intervals import Days, Sums, Values, day_sums

LabelMeans = Callable[[int], float | None]


def has_bias(model: Model) -> bool:
    """Whether the mean of the model's raw output should be the mean of its labels.

    Not of classes, which have no mean, nor of ranks. A regression is taken to predict the mean, as it does when it
    minimises the squared error; one of a median or another quantile is rightly biased.
    """
    return model.label.task in (Task.BINARY, Task.REGRESSION)


def label_means(models: Models, name: str) -> LabelMeans:
    """Gives the mean of the training labels of a version; None when it is not known. Each is asked for once."""

    @cache
    def mean_of(version: int) -> float | None:
        with suppress(NotFound):
            return models.version(name, version).label_mean
        return None

    return mean_of


@dataclass(slots=True)
class BiasTally:
    """Sums per day of predictions and of what they are compared with. A day is added once."""

    _observed: list[Sums] = field(default_factory=list)
    _training: list[Sums] = field(default_factory=list)

    def add_labelled(self, day: Days, p: Values, y: Values) -> None:
        """Rows with their label."""
        if len(p):
            self._observed.append(day_sums(day, p, np.asarray(y, dtype=np.float64)))

    def add_answers(self, day: Days, p: Values, training_mean: Values) -> None:
        """All rows, with the mean of the training labels of the version that answered; NaN where it is not known."""
        known = np.isfinite(training_mean) & np.isfinite(p)
        if known.any():
            self._training.append(day_sums(day[known], p[known], training_mean[known]))

    def bias(self) -> Bias:
        """What they say together."""
        said, happened = of_days(self._observed), of_days(self._observed, value=1)
        return Bias(
            observed=of_days(self._observed, value=0, minus=1),
            against_training=of_days(self._training, value=0, minus=1),
            mean_prediction=said.value if said else None,
            mean_label=happened.value if happened else None,
        )


def training_means(versions: pl.Series, means: LabelMeans | None) -> Values:
    """For each row the mean of the training labels of the version that answered it; NaN where it is not known."""
    if means is None:
        return np.full(len(versions), np.nan)
    known = {version: means(version) for version in versions.unique().drop_nulls().to_list()}
    found = versions.replace_strict(list(known), list(known.values()), default=None, return_dtype=pl.Float64)
    return np.asarray(found.fill_null(float("nan")).to_numpy())
