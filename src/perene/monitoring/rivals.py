"""How versions that are tried on live traffic compare with what is live, once labels are in.

A canary and the champion answer other keys, so their scores are compared side by side, with days and keys as the
clusters. A shadow is asked what the champion is asked, so it is compared row by row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perene.definition.groups import numbered
from perene.definition.label import Task
from perene.definition.model import Model
from perene.errors import PereneError
from perene.monitoring.answers import days_of, is_scorable, raw_output, rows_of
from perene.monitoring.remembered import Remembered
from perene.monitoring.scoring import needs_rows
from perene.pipelines.scoring import Truthful, metric_of_all, metric_values
from perene.records.model import RegisteredModel
from perene.records.release import Rollout
from perene.records.roles import CANARY, CHAMPION, SHADOW, shadow_prefix
from perene.records.status import Rival
from perene.records.verdict import Decision, Verdict
from perene.repositories.predictions import Predictions
from perene.statistics.comparisons import Comparison, compare_whole
from perene.statistics.gate import Evidence, judge
from perene.statistics.intervals import Days, Mask, Values
from perene.storage.envelope import Log
from perene.storage.lake import collected

_EARLY = timedelta(days=1)  # an event may come before it is asked about


def rivals_of(
    model: Model, known: RegisteredModel, remembered: Remembered, *, now: datetime, measured: bool = True
) -> tuple[Rival, ...]:
    """The versions of a model that are new to live traffic; ``measured``: with what the gate would say of each."""
    found, live, log = [], known.champion, remembered.predictions

    def rival(role: str, version: int, against: int | None, since: datetime, counted: str, **more: object) -> Rival:
        return Rival(
            role=role, version=version, against=against, since=since,
            counts=remembered.servings.get(model.name, version, counted),
            counts_against=remembered.servings.get(model.name, against or 0, CHAMPION),
            **{"until": None, "share": None, "verdict": None, **more},  # type: ignore[arg-type]
        )  # fmt: skip

    for rollout in remembered.releases.rollouts(model.name) if known.canary is not None else ():
        said = judge_canary(model, log, rollout, now=now, looks=len(rollout.release.canary)) if measured else None
        until = rollout.step_since + rollout.release.canary[rollout.step].lasts
        more = {"until": until, "share": rollout.share, "verdict": said}
        found.append(rival(CANARY, rollout.release.version, live, rollout.since, CANARY, **more))
    if known.shadow is not None and known.shadow_since is not None:
        since = known.shadow_since
        said = judge_shadow(model, log, known.shadow, since=since, now=now) if measured else None
        found.append(rival(SHADOW, known.shadow, live, since, SHADOW, verdict=said))
    if live is not None and known.former is not None and known.watched_until is not None and now < known.watched_until:
        since = next(period.since for period in remembered.releases.history(model.name) if period.until is None)
        found.append(rival("fresh", live, known.former, since, CHAMPION, until=known.watched_until))
    return tuple(found)


def judge_canary(model: Model, predictions: Predictions, rollout: Rollout, *, now: datetime, looks: int) -> Verdict:
    """What the gate says of the answers of a canary beside the champion's since it began.

    ``looks`` is how often it is asked in all; its chance of a wrong answer is shared among them.
    """
    since = rollout.since

    def answered() -> pl.LazyFrame:
        lines = predictions.with_truth(model, since - _EARLY, now, now)
        return lines.filter(pl.col("predicted_at") >= since).select(*_columns(model), "role", "model_version")

    def compared(rows: _Rows) -> Comparison:
        mine = rows.frame["role"].to_numpy() == CANARY
        return _compare(model, rows, lambda p, mask: p(mask & mine), lambda p, mask: p(mask & ~mine), looks=looks)

    return _verdict(model, answered, compared, now=now, looks=looks)


def judge_shadow(model: Model, predictions: Predictions, version: int, *, since: datetime, now: datetime) -> Verdict:
    """What the gate would say of a shadow against the answers beside which it was asked."""
    prefix = shadow_prefix(version)

    def asked() -> pl.LazyFrame:
        mine = predictions.with_truth(model, since - _EARLY, now, now, shadow=version)
        mine = mine.filter(pl.col("predicted_at") >= since).select(
            *_columns(model), answered=pl.col("prediction_id").str.strip_prefix(prefix)
        )
        answers = predictions.scan(model, since - _EARLY, now).select("prediction_id", other="raw")
        return mine.join(answers, left_on="answered", right_on="prediction_id")

    def compared(rows: _Rows) -> Comparison:
        other = _Rows(model, rows.frame.with_columns(raw="other"))
        return _compare(model, rows, lambda p, mask: p(mask), lambda _, mask: other.score(mask), looks=1)

    return _verdict(model, asked, compared, now=now, looks=1, also="other")


def _columns(model: Model) -> list[str]:
    more = ["request"] if needs_rows([model.gate_metric]) else []
    return ["event_at", "key", "raw", "label", *more, *(["group"] if model.label.task is Task.RANKING else [])]


@dataclass(slots=True, init=False)
class _Rows:
    """Rows that can be scored by the gate's metric."""

    frame: pl.DataFrame
    day: Days
    key: NDArray[np.uint32]
    score: Callable[[Mask], float]

    def __init__(self, model: Model, frame: pl.DataFrame) -> None:
        hook = model.gate_metric
        self.frame, self.day = frame, days_of(frame["event_at"])
        self.key = frame["key"].rank("dense").to_numpy()
        raw = raw_output(model, frame["raw"])
        truth = Truthful(
            rows=rows_of(frame["request"], model) if needs_rows([hook]) else pl.DataFrame(height=frame.height),
            y=frame["label"].to_numpy(),
            at=frame["event_at"],
            groups=numbered(frame["group"].rank("dense").to_numpy()) if "group" in frame.columns else None,
        )
        if hook.whole or truth.groups is not None:
            self.score = lambda mask: metric_of_all(model, hook, truth, raw, mask)
        else:
            costs: Values = metric_values(model, hook, truth, raw)
            self.score = lambda mask: float(costs[mask].mean()) if mask.any() else float("nan")


def _compare(
    model: Model,
    rows: _Rows,
    mine: Callable[[Callable[[Mask], float], Mask], float],
    other: Callable[[Callable[[Mask], float], Mask], float],
    *,
    looks: int,
) -> Comparison:
    return compare_whole(
        rows.day,
        lambda mask: mine(rows.score, mask),
        lambda mask: other(rows.score, mask),
        key=rows.key,
        better=model.gate_metric.better,
        alpha=model.gate.alpha / looks,
    )


def _verdict(
    model: Model,
    lines: Callable[[], pl.LazyFrame],
    compared: Callable[[_Rows], Comparison],
    *,
    now: datetime,
    looks: int,
    also: str = "raw",
) -> Verdict:
    """The gate's verdict; whatever keeps it from judging is a refusal with its reason."""
    gate, hook = model.gate, model.gate_metric
    gate = replace(gate, alpha=gate.alpha / looks)
    assert gate.margin is not None  # the model fills it in
    comparison, minority, failure, rows = None, None, "", 0
    try:
        frame = _mature(model, collected(lines, model.name, Log.PREDICTIONS), now=now, also=also)
        rows = frame.height
        if not rows:
            failure = "no answer has its ground truth yet"
        else:
            comparison = compared(_Rows(model, frame))
            minority = _minority(model, frame["label"])
    except PereneError as error:
        failure = f"it cannot be measured: {error.what}"
    except Exception as error:  # noqa: BLE001 - the edge of a step: a metric is the user's code
        failure = f"the metric {hook.name} failed: {type(error).__name__}: {error}"
    evidence = Evidence(expected_rows=rows, minority_rows=minority, failure=failure)
    return judge(comparison, gate, margin=gate.margin, metric=hook.name, evidence=evidence)


def _mature(model: Model, frame: pl.DataFrame, *, now: datetime, also: str) -> pl.DataFrame:
    """Those whose labels have had their wait, with a label and numbers to score."""
    ripe = frame.filter(pl.col("event_at") <= now - model.label.wait)
    good = is_scorable(raw_output(model, ripe["raw"]), ripe["label"])
    good &= is_scorable(raw_output(model, ripe[also]), ripe["label"])
    return ripe.filter(pl.Series(good, dtype=pl.Boolean))


def _minority(model: Model, label: pl.Series) -> int | None:
    if model.label.task is not Task.BINARY:
        return None
    positive = int(label.sum())
    return min(positive, label.len() - positive)


def is_worse(verdict: Verdict) -> bool:
    """Whether a version is shown to be worse; one that cannot be judged is not."""
    return verdict.decision is Decision.WORSE
