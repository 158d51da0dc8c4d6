"""Scores of labelled rows, by the metrics that a model declares and those that come with its task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from perene.definition.hooks import Hook, metric_hook
from perene.definition.label import Task
from perene.definition.metrics import built_in
from perene.definition.model import Model
from perene.errors import DataError, PereneError
from perene.monitoring.estimates import of_deviations
from perene.records.status import Estimate
from perene.statistics.intervals import Days, Mask, Values, jackknife
from perene.statistics.scores import auc, auc_jackknife


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Rows with their label, and what was said of them: ``raw`` by the live models, ``again`` by another version.

    ``rows`` and ``x`` are there when a metric asks for them.
    """

    day: Days
    at: pl.Series
    label: pl.Series
    raw: Values
    again: Values | None = None
    rows: pl.DataFrame | None = None
    x: pl.DataFrame | None = None

    def only(self, mask: Mask) -> Labelled:
        """The rows of a mask."""
        kept = pl.Series(mask)
        return Labelled(
            day=self.day[mask],
            at=self.at.filter(kept),
            label=self.label.filter(kept),
            raw=self.raw[mask],
            again=None if self.again is None else self.again[mask],
            rows=None if self.rows is None else self.rows.filter(kept),
            x=None if self.x is None else self.x.filter(kept),
        )


def together(parts: Sequence[Labelled]) -> Labelled:
    """The rows of all parts, of which there is at least one."""
    first = parts[0]
    return Labelled(
        day=np.concatenate([part.day for part in parts]),
        at=pl.concat([part.at for part in parts]),
        label=pl.concat([part.label for part in parts]),
        raw=np.concatenate([part.raw for part in parts]),
        again=None if first.again is None else np.concatenate([p.again for p in parts if p.again is not None]),
        rows=None if first.rows is None else pl.concat([part.rows for part in parts if part.rows is not None]),
        x=None if first.x is None else pl.concat([part.x for part in parts if part.x is not None]),
    )


def metrics_of(model: Model, names: Sequence[str] | None = None) -> tuple[Hook, ...]:
    """The declared metrics, then those that come with the task and are not declared under the same name.

    ``names`` keeps these only; one that there is not is left out.
    """
    ready = [metric_hook(name, function) for name, function in built_in(model.label).items()]
    if model.label.task is Task.BINARY:
        ready.insert(1, replace(metric_hook("auc", auc), better="higher", whole=True))
    declared = {hook.name for hook in model.metrics}
    every = (*model.metrics, *(hook for hook in ready if hook.name not in declared))
    return every if names is None else tuple(hook for hook in every if hook.name in names)


def needs(metrics: Sequence[Hook], parameter: str) -> bool:
    """Whether a metric takes a parameter."""
    return any(parameter in hook.parameters for hook in metrics)


def score(hook: Hook, labelled: Labelled, p: Values) -> Values:
    """A metric of each row, shape (n,), or of all rows, shape ().

    Raises:
        DataError: the metric failed.
    """
    try:
        given = hook(
            y=labelled.label.to_numpy(), p=p, rows=labelled.rows, x=labelled.x, at=labelled.at,
            weights=None, groups=None, positions=None,
        )  # fmt: skip
    except PereneError:
        raise
    except Exception as error:
        raise DataError(
            f"the metric {hook.name} failed on answers with their labels",
            why=f"{type(error).__name__}: {error}",
            mend=f"mend {hook.line}",
            code="metric",
        ) from error
    return np.asarray(given, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeScore:
    """A metric of all rows together, with how far each day pulls it."""

    value: float
    deviations: Values
    rows: int

    def estimate(self, minus: WholeScore | None = None) -> Estimate | None:
        """The metric, or its difference to another's on the same rows, with its interval."""
        if minus is None:
            return of_deviations(self.value, self.deviations, rows=self.rows)
        return of_deviations(self.value - minus.value, self.deviations - minus.deviations, rows=self.rows)


def score_whole(hook: Hook, labelled: Labelled, p: Values) -> WholeScore:
    """A metric of all rows together. Raises DataError when it failed."""
    if hook.function is auc:
        value, deviations = auc_jackknife(labelled.day, labelled.label.to_numpy(), p)
        return WholeScore(value=value, deviations=deviations, rows=len(p))
    value, deviations = jackknife(labelled.day, lambda mask: float(score(hook, labelled.only(mask), p[mask])))
    return WholeScore(value=value, deviations=deviations, rows=len(p))
