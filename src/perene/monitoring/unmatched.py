"""Ground truth that belongs to nothing that was answered: a wrong prediction id, or a key or time that nobody asked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import polars as pl

from perene.definition.model import Model
from perene.monitoring.periods import Period
from perene.repositories.predictions import EARLY, Predictions
from perene.repositories.truths import Truths, newest_truths
from perene.storage.envelope import Log
from perene.storage.lake import collected


def count_unmatched(model: Model, predictions: Predictions, period: Period) -> int:
    """How many ground truths of a period, which ends now, belong to no prediction.

    Of those that name a prediction the ones that became known in the period count, of those that name a key and a time
    the ones about its events; what was taken back does not. A prediction that is named is looked for among those that
    were made, or whose event was, up to as long before the period as it lasts. Their days are read the newest first,
    as long as something is left to find.
    """
    since, until = period.since, period.until
    by_id, known_at = pl.col("prediction_id").is_not_null(), pl.col("known_at")

    def said(*which: pl.Expr) -> pl.LazyFrame:
        return Truths(predictions.lake).scan(model, since, until).filter(known_at <= until, *which)

    def named() -> pl.LazyFrame:
        return newest_truths(said(by_id, known_at >= since), ["prediction_id"]).select("prediction_id")

    def keyed() -> pl.LazyFrame:
        return newest_truths(said(~by_id), ["key", "event_at"]).select("key", "event_at")

    logs, lasts = predictions.lake, until - since
    made = logs.ingests.days_since(model.name, Log.PREDICTIONS, logs.machine() - 2 * lasts)  # perhaps of old events
    of_late = _days((since - lasts).date(), (until + model.asked + EARLY).date())
    left = _left(model, predictions, named, made | of_late)
    return left + _left(model, predictions, keyed, _days(since.date(), until.date()))


def _left(model: Model, predictions: Predictions, told: Callable[[], pl.LazyFrame], days: set[date]) -> int:
    """How many of what was told of are not among what was answered about events of these days."""
    left = collected(told, model.name, Log.TRUTHS)
    subject = left.columns
    for part in predictions.lake.portions(model.name, Log.PREDICTIONS, sorted(days, reverse=True)):
        if left.is_empty():
            break

        def asked(part: list[date] = part) -> pl.LazyFrame:
            return predictions.answered(model, part).select(subject)

        left = left.join(collected(asked, model.name, Log.PREDICTIONS), on=subject, how="anti")
    return left.height


def _days(first: date, last: date) -> set[date]:
    return {first + timedelta(days=n) for n in range((last - first).days + 1)}
