"""Metrics of predictions whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perene.definition.hooks import Hook
from perene.definition.model import Model
from perene.statistics.intervals import Mask, Values
from perene.statistics.scores import Constant, constant_predictor


@dataclass(frozen=True, slots=True, kw_only=True)
class Truthful:
    """Rows whose truth ``y`` is known, shape (n,), with their event times. ``x``: their features, where they were
    computed beforehand."""

    rows: pl.DataFrame
    y: NDArray[Any]
    at: pl.Series
    x: pl.DataFrame | None = None

    def part(self, mask: Mask) -> Truthful:
        """Those of a mask."""
        kept = pl.Series(mask)
        x = None if self.x is None else self.x.filter(kept)
        return Truthful(rows=self.rows.filter(kept), y=self.y[mask], at=self.at.filter(kept), x=x)

    def features(self, model: Model) -> pl.DataFrame:
        """Their features."""
        return model.compute_features(self.rows) if self.x is None else self.x


def metric_values(model: Model, metric: Hook, truth: Truthful, p: Values) -> Values:
    """The metric of each row, shape (n,)."""
    values: Values = metric(**_given(model, metric, truth, p))
    return values


def metric_of_all(model: Model, metric: Hook, truth: Truthful, p: Values, mask: Mask | None = None) -> float:
    """One value for all rows, or for those of a mask: of a metric per row its mean; NaN of no rows."""
    given = _given(model, metric, truth, p, mask)
    if not len(given["p"]):
        return float("nan")
    return float(metric(**given)) if metric.whole else float(np.mean(metric(**given)))


def baseline_of(model: Model, truth: Truthful) -> Constant:
    """The constant prediction that every model must beat, learnt from training rows."""
    metric = model.gate_metric
    sign = 1.0 if metric.better == "lower" else -1.0

    def score(constant: Constant) -> float:
        return sign * metric_of_all(model, metric, truth, constant.predict(len(truth.y)))

    return constant_predictor(truth.y, model.label.task, score=score, classes=model.label.classes)


def _given(model: Model, metric: Hook, truth: Truthful, p: Values, mask: Mask | None = None) -> dict[str, Any]:
    """What a metric asks for, and no more: a jackknife asks a hundred times."""
    tables: dict[str, Any] = {"rows": truth.rows, "at": truth.at}
    if "x" in metric.parameters:
        tables["x"] = truth.features(model)
    tables = {name: table for name, table in tables.items() if name in metric.parameters}
    if mask is None:
        return {"y": truth.y, "p": p, "weights": None} | tables
    kept = pl.Series(mask)
    parts = {name: table.filter(kept) for name, table in tables.items()}
    return {"y": truth.y[mask], "p": p[mask], "weights": None} | parts
