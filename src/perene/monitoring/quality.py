"""The quality of what was answered, and of what another version would have answered to the same requests.

Everything comes from the prediction log joined with the ground truth, as it was known at a project time. Only rows
whose labels have had their wait count: those that come early are not like the others. Of a metric per row sums per day
are kept, so memory does not grow with the rows; one of all rows together keeps the labels and outputs of its period.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from perene.definition.groups import numbered
from perene.definition.hooks import Hook
from perene.definition.label import Task
from perene.definition.model import Model
from perene.monitoring.answers import days_of, is_scorable, raw_output, read_answers, rows_of
from perene.monitoring.bias import BiasTally, LabelMeans, has_bias, training_means
from perene.monitoring.estimates import of_days
from perene.monitoring.periods import Period, spans
from perene.monitoring.scoring import Labelled, metrics_of, needs_rows, score, score_whole, together
from perene.pipelines.predictor import Predictor
from perene.pipelines.scoring import Truthful
from perene.records.status import Bias, Estimate
from perene.repositories.predictions import Predictions
from perene.statistics.intervals import Days, Mask, Sums, Values, day_sums


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricQuality:
    """One metric of a period's answers, in its own direction (``better``: lower or higher).

    ``rescored`` is the other version's on the same rows, ``difference`` that of the answers minus it. None where it is
    no number: no rows, or one class only.
    """

    name: str
    better: str
    unit: str | None
    live: Estimate | None
    rescored: Estimate | None = None
    difference: Estimate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodQuality:
    """The answers about events of [since, until).

    ``mature`` of those ``answered`` have had the wait of their label, ``labelled`` of these have one, and of these
    ``unscored`` are left out of the metrics, because their output (or label) is no number. ``coverage`` is the share of
    mature ones with a label, ``label_lag`` how long after its event a label was known (of the mature ones; the median
    over the days of each day's median).
    """

    since: datetime
    until: datetime
    answered: int
    mature: int
    labelled: int
    unscored: int
    coverage: float | None
    label_lag: timedelta | None
    metrics: tuple[MetricQuality, ...]
    bias: Bias | None

    def metric(self, name: str) -> MetricQuality | None:
        """One metric by its name; None when it was not measured."""
        return next((metric for metric in self.metrics if metric.name == name), None)


def measure_quality(
    model: Model,
    predictions: Predictions,
    periods: Sequence[Period],
    *,
    as_of: datetime,
    metrics: Sequence[str] | None = None,
    rescore: Predictor | None = None,
    means: LabelMeans | None = None,
) -> list[PeriodQuality]:
    """The quality of the live answers in each period, in the order given; periods may overlap.

    Args:
        model: the project's declaration, whose metrics are measured on raw output.
        predictions: the log; what servers have not drained yet is not in it.
        periods: by event time.
        as_of: project time: what was known then, of rows whose labels had had their wait.
        metrics: names of those to measure; None for all, declared or built in.
        rescore: a version to predict the same logged requests with. Each is predicted once.
        means: gives the training labels' mean of a version, for the bias against it.

    Raises:
        DataError: a metric failed.
    """
    hooks = metrics_of(model, metrics)
    tallies = [_Tally(period, model, hooks) for period in periods]
    more = ["request"] if rescore is not None or needs_rows(hooks) else []
    more += ["group"] if model.label.task is Task.RANKING else []
    for frame in read_answers(model, predictions, spans(periods), as_of=as_of, more=more):
        if frame.is_empty():
            continue
        part = _part(model, frame, hooks, rescore=rescore, means=means)
        for tally in tallies:
            tally.add(part)
    return [tally.quality() for tally in tallies]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Some days of answers: columns over all of them, ``labelled`` and ``values`` over those of ``scored`` only."""

    at: pl.Series
    day: Days
    raw: Values
    mature: Mask
    known: Mask  # mature, with a label
    lag_s: Values  # from the event to its label
    scored: Mask
    labelled: Labelled
    values: dict[
        str, tuple[Values, ...]
    ]  # of each metric per row or group: of the live answers, and of the other version's
    training_mean: Values


def _part(
    model: Model, frame: pl.DataFrame, hooks: Sequence[Hook], *, rescore: Predictor | None, means: LabelMeans | None
) -> _Part:
    raw = raw_output(model, frame["raw"])
    mature = frame["mature"].to_numpy()
    scored = mature & is_scorable(raw, frame["label"])
    good = frame.filter(pl.Series(scored))
    labelled = Labelled(
        day=days_of(good["event_at"]),
        truth=Truthful(
            rows=rows_of(good["request"], model) if needs_rows(hooks) else pl.DataFrame(height=good.height),
            y=good["label"].to_numpy(),
            at=good["event_at"],
            groups=numbered(good["group"].rank("dense").to_numpy()) if "group" in good.columns else None,
        ),
        raw=raw[scored],
        again=None if rescore is None else _rescored(rescore, good),
    )
    said = [p for p in (labelled.raw, labelled.again) if p is not None]
    return _Part(
        at=frame["event_at"],
        day=days_of(frame["event_at"]),
        raw=raw,
        mature=mature,
        known=mature & frame["label"].is_not_null().to_numpy(),
        lag_s=(frame["known_at"] - frame["event_at"]).dt.total_seconds().cast(pl.Float64).to_numpy(),
        scored=scored,
        labelled=labelled,
        values={
            hook.name: tuple(score(model, hook, labelled.truth, p) for p in said) for hook in hooks if not hook.whole
        },
        training_mean=training_means(frame["model_version"], means),
    )


def _rescored(predictor: Predictor, answers: pl.DataFrame) -> Values:
    if answers.is_empty():
        return np.zeros(0)
    return np.asarray(predictor.predict(rows_of(answers["request"], predictor.model)).raw)


@dataclass(slots=True)
class _Tally:
    """What is kept of one period."""

    period: Period
    model: Model
    hooks: tuple[Hook, ...]
    answered: int = 0
    mature: int = 0
    labelled: int = 0
    scored: int = 0
    lags_s: list[float] = field(default_factory=list)  # one per day
    sums: dict[str, list[Sums]] = field(default_factory=dict)
    whole: list[Labelled] = field(default_factory=list)
    bias: BiasTally = field(default_factory=BiasTally)

    def add(self, part: _Part) -> None:
        """Take the period's rows out of a part."""
        inside = part.at.is_between(self.period.since, self.period.until, closed="left").to_numpy()
        if not inside.any():
            return
        self.answered += int(inside.sum())
        self.mature += int((inside & part.mature).sum())
        known = inside & part.known
        self.labelled += int(known.sum())
        of_days = pl.DataFrame({"day": part.day[known], "lag_s": part.lag_s[known]}).group_by("day")
        self.lags_s += of_days.agg(pl.col("lag_s").median())["lag_s"].to_list()
        mine = inside[part.scored]
        self.scored += int(mine.sum())
        if has_bias(self.model):
            self.bias.add_answers(part.day[inside], part.raw[inside], part.training_mean[inside])
        if mine.any():
            self._add_labelled(part, mine)

    def _add_labelled(self, part: _Part, mine: Mask) -> None:
        labelled = part.labelled.part(mine)
        if has_bias(self.model):
            self.bias.add_labelled(labelled.day, labelled.raw, labelled.truth.y)
        for hook in self.hooks:
            if not hook.whole:
                first = part.labelled.truth.firsts(hook)  # of a group, all of whose rows are of one time
                values = [value[mine[first]] for value in part.values[hook.name]]
                sums = day_sums(part.labelled.day[first][mine[first]], *values)
                self.sums.setdefault(hook.name, []).append(sums)
        if any(hook.whole for hook in self.hooks):
            self.whole.append(labelled)

    def quality(self) -> PeriodQuality:
        """What it says together."""
        rows = together(self.whole) if self.whole else None
        return PeriodQuality(
            since=self.period.since,
            until=self.period.until,
            answered=self.answered,
            mature=self.mature,
            labelled=self.labelled,
            unscored=self.labelled - self.scored,
            coverage=self.labelled / self.mature if self.mature else None,
            label_lag=timedelta(seconds=float(np.median(self.lags_s))) if self.lags_s else None,
            metrics=tuple(
                _whole_quality(self.model, hook, rows)
                if hook.whole
                else _row_quality(hook, self.sums.get(hook.name, ()))
                for hook in self.hooks
            ),
            bias=self.bias.bias() if has_bias(self.model) else None,
        )


def _row_quality(hook: Hook, sums: Sequence[Sums]) -> MetricQuality:
    paired = bool(sums) and len(sums[0].sums) > 1
    return MetricQuality(
        name=hook.name,
        better=hook.better,
        unit=hook.unit,
        live=of_days(sums),
        rescored=of_days(sums, value=1) if paired else None,
        difference=of_days(sums, value=0, minus=1) if paired else None,
    )


def _whole_quality(model: Model, hook: Hook, rows: Labelled | None) -> MetricQuality:
    if rows is None:
        return MetricQuality(name=hook.name, better=hook.better, unit=hook.unit, live=None)
    live = score_whole(model, hook, rows, rows.raw)
    again = None if rows.again is None else score_whole(model, hook, rows, rows.again)
    return MetricQuality(
        name=hook.name,
        better=hook.better,
        unit=hook.unit,
        live=live.estimate(),
        rescored=None if again is None else again.estimate(),
        difference=None if again is None else live.estimate(minus=again),
    )
