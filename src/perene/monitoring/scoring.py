"""Scores of labelled rows, by the metrics that a model declares and those that come with its task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from perene.definition.groups import Groups
from perene.definition.hooks import Hook, metric_hook
from perene.definition.label import Task
from perene.definition.metrics import built_in
from perene.definition.model import Model
from perene.errors import DataError, PereneError
from perene.monitoring.estimates import of_deviations
from perene.pipelines.scoring import Truthful, metric_of_all, metric_values
from perene.records.status import Estimate
from perene.statistics.intervals import Days, Mask, Values, jackknife
from perene.statistics.scores import auc, auc_jackknife


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Rows with their truth, and what was said of them: ``raw`` by the live models, ``again`` by another version."""

    day: Days
    truth: Truthful
    raw: Values
    again: Values | None = None

    def part(self, mask: Mask) -> Labelled:
        """Those of a mask."""
        again = None if self.again is None else self.again[mask]
        return Labelled(day=self.day[mask], truth=self.truth.part(mask), raw=self.raw[mask], again=again)


def together(parts: Sequence[Labelled]) -> Labelled:
    """The rows of all parts, of which there is at least one."""
    again = [part.again for part in parts if part.again is not None]
    return Labelled(
        day=np.concatenate([part.day for part in parts]),
        truth=Truthful(
            rows=pl.concat([part.truth.rows for part in parts]),
            y=np.concatenate([part.truth.y for part in parts]),
            at=pl.concat([part.truth.at for part in parts]),
            groups=_groups_together([part.truth.groups for part in parts if part.truth.groups is not None]),
        ),
        raw=np.concatenate([part.raw for part in parts]),
        again=np.concatenate(again) if again else None,
    )


def _groups_together(parts: Sequence[Groups]) -> Groups | None:
    """Groups of several parts, of which none reaches into two."""
    if not parts:
        return None
    before = np.cumsum([0, *(part.max(initial=-1) + 1 for part in parts[:-1])])
    return np.concatenate([part + start for part, start in zip(parts, before, strict=True)])


def metrics_of(model: Model, names: Sequence[str] | None = None) -> tuple[Hook, ...]:
    """The declared metrics, then those that come with the task and are not declared under the same name.

    ``names`` keeps these only; one that there is not is left out.
    """
    ready = list(built_in(model.label).values())
    if model.gate_metric.name not in {hook.name for hook in (*model.metrics, *ready)}:  # ndcg@5
        ready.insert(0, model.gate_metric)
    if model.label.task is Task.BINARY:
        ready.insert(1, replace(metric_hook("auc", auc), better="higher", whole=True))
    declared = {hook.name for hook in model.metrics}
    every = (*model.metrics, *(hook for hook in ready if hook.name not in declared))
    return every if names is None else tuple(hook for hook in every if hook.name in names)


def needs_rows(metrics: Sequence[Hook]) -> bool:
    """Whether a metric looks at the rows themselves."""
    return any(name in hook.parameters for hook in metrics for name in ("rows", "x"))


def score(model: Model, metric: Hook, truth: Truthful, p: Values) -> Values:
    """A metric of each row, shape (n,), or of each group. Raises DataError when the metric failed."""
    with _explained(metric):
        return metric_values(model, metric, truth, p) if len(p) else p[:0]


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


def score_whole(model: Model, metric: Hook, labelled: Labelled, p: Values) -> WholeScore:
    """A metric of all rows together. Raises DataError when the metric failed."""
    if metric.function is auc:
        value, deviations = auc_jackknife(labelled.day, labelled.truth.y, p)
    else:
        with _explained(metric):
            value, deviations = jackknife(
                labelled.day, lambda mask: metric_of_all(model, metric, labelled.truth, p, mask)
            )
    return WholeScore(value=value, deviations=deviations, rows=len(p))


@contextmanager
def _explained(metric: Hook) -> Iterator[None]:
    try:
        yield
    except PereneError:
        raise
    except Exception as error:
        raise DataError(
            f"the metric {metric.name} failed on answers with their labels",
            why=f"{type(error).__name__}: {error}",
            mend=f"mend {metric.line}",
            code="metric-failed",
        ) from error
