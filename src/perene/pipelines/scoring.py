"""Metrics of predictions whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perene.definition.groups import Groups, numbered, places_by_group
from perene.definition.hooks import Hook
from perene.definition.model import Model
from perene.statistics.intervals import Mask, Values
from perene.statistics.scores import Constant, constant_predictor


@dataclass(frozen=True, slots=True, kw_only=True)
class Truthful:
    """Rows whose truth ``y`` is known, shape (n,), with their event times. ``groups``: the number of each row's group
    from 0 on, where they are ranked. ``x``: their features, where they were computed beforehand."""

    rows: pl.DataFrame
    y: NDArray[Any]
    at: pl.Series
    groups: Groups | None = None
    x: pl.DataFrame | None = None

    def part(self, mask: Mask) -> Truthful:
        """Those of a mask."""
        kept = pl.Series(mask)
        x = None if self.x is None else self.x.filter(kept)
        groups = None if self.groups is None else numbered(self.groups[mask])
        return Truthful(rows=self.rows.filter(kept), y=self.y[mask], at=self.at.filter(kept), groups=groups, x=x)

    def features(self, model: Model) -> pl.DataFrame:
        """Their features."""
        return model.compute_features(self.rows) if self.x is None else self.x

    def firsts(self, metric: Hook) -> NDArray[np.intp]:
        """The place of a row of each thing that a metric has a value of: of every row, or of every group's first."""
        if metric.per == "row" or self.groups is None:
            return np.arange(len(self.y))
        return np.asarray(np.unique(self.groups, return_index=True)[1])


def metric_values(model: Model, metric: Hook, truth: Truthful, p: Values, mask: Mask | None = None) -> Values:
    """The metric of each row, shape (n,), or of each group, in the order of their numbers; of those of a mask."""
    given = _given(model, metric, truth, p, mask)
    if not metric.gives_one:
        values: Values = metric(**given)
        return values
    assert truth.groups is not None  # only a ranking has metrics per group
    groups = truth.groups if mask is None else truth.groups[mask]
    columns = {name: column for name, column in given.items() if column is not None}
    return np.array(
        [metric(**{name: column[places] for name, column in columns.items()}) for places in places_by_group(groups)],
        dtype=np.float64,
    )


def metric_of_all(model: Model, metric: Hook, truth: Truthful, p: Values, mask: Mask | None = None) -> float:
    """One value for all rows, or for those of a mask: of a metric per row or group its mean; NaN of no rows."""
    if not (len(p) if mask is None else mask.any()):
        return float("nan")
    if metric.whole:
        return float(metric(**_given(model, metric, truth, p, mask)))
    return float(np.mean(metric_values(model, metric, truth, p, mask)))


def baseline_of(model: Model, truth: Truthful) -> Constant:
    """The constant prediction that every model must beat, learnt from training rows."""
    metric = model.gate_metric
    sign = 1.0 if metric.better == "lower" else -1.0

    def score(constant: Constant) -> float:
        return sign * metric_of_all(model, metric, truth, constant.predict(len(truth.y)))

    return constant_predictor(truth.y, model.label.task, score=score, classes=model.label.classes)


def _given(model: Model, metric: Hook, truth: Truthful, p: Values, mask: Mask | None = None) -> dict[str, Any]:
    """What a metric asks for, and little more: a jackknife asks a hundred times."""
    tables: dict[str, Any] = {"rows": truth.rows, "at": truth.at}
    if "x" in metric.parameters:
        tables["x"] = truth.features(model)
    tables = {name: table for name, table in tables.items() if name in metric.parameters}
    asked: dict[str, Any] = {"y": truth.y, "p": p} if mask is None else {"y": truth.y[mask], "p": p[mask]}
    if "groups" in metric.parameters and truth.groups is not None:
        asked["groups"] = truth.groups if mask is None else numbered(truth.groups[mask])
    if mask is not None:
        kept = pl.Series(mask)
        tables = {name: table.filter(kept) for name, table in tables.items()}
    return {**asked, "weights": None, **tables}
