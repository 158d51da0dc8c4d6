"""What was answered, read in days that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perene.definition.label import Task
from perene.definition.model import Model
from perene.monitoring.periods import Period
from perene.repositories.examples import midnight
from perene.repositories.predictions import Predictions
from perene.statistics.intervals import Mask, Values
from perene.storage.envelope import Log
from perene.storage.lake import collected

AT_ONCE = 20_000  # rows that are wanted at once
_FIRST_DAYS, _GROWTH, _MOST_DAYS = 2, 8, 366


def read_answers(
    model: Model,
    predictions: Predictions,
    spans: Sequence[Period],
    *,
    as_of: datetime,
    more: Sequence[str] = (),
) -> Iterator[pl.DataFrame]:
    """What was answered with the truth as it was known at ``as_of``, one row per prediction, days in order.

    By champions and canaries; a shadow answers nobody. Columns: ``event_at, model_version, raw, label, known_at,
    mature`` (its label has had its wait), and ``more`` of the log. Only the first and last day of a span may be parts
    of one, and each is in one frame.
    """
    columns = ("event_at", "model_version", "raw", "label", "known_at", *more)
    as_of = as_of.astimezone(UTC)
    mature = pl.col("event_at") <= as_of - model.label.wait
    for span in spans:
        since, days = span.since, _FIRST_DAYS
        while since < span.until:
            until = min(midnight(since.date() + timedelta(days=days)), span.until)

            def live(since: datetime = since, until: datetime = until) -> pl.LazyFrame:
                asked = predictions.with_truth(model, since, until, as_of)
                return asked.select(*columns, mature=mature)

            frame = collected(live, model.name, Log.PREDICTIONS)
            yield frame
            fitting = int(days * AT_ONCE / max(frame.height, 1))
            since, days = until, min(max(fitting, 1), days * _GROWTH, _MOST_DAYS)


def days_of(instants: pl.Series) -> NDArray[np.datetime64]:
    """The UTC day of each instant."""
    return np.asarray(instants.dt.date().to_numpy().astype("datetime64[D]"))


def raw_output(model: Model, raw: pl.Series) -> Values:
    """Logged raw output as models give it: shape (n,), or (n, k) for k classes; NaN where it is missing."""
    if model.label.task is not Task.MULTICLASS:
        return np.asarray(raw.cast(pl.Float64).fill_null(float("nan")).to_numpy())
    width = len(model.label.classes)
    fits = raw.list.len() == width
    whole = pl.select(pl.when(fits).then(raw).otherwise(pl.lit([float("nan")] * width))).to_series()
    return np.asarray(whole.list.to_array(width).to_numpy().reshape(len(raw), width), dtype=np.float64)


def is_scorable(raw: Values, label: pl.Series) -> Mask:
    """Which rows can be scored: the label is there, and both it and the output are numbers."""
    finite = np.isfinite(raw) if raw.ndim == 1 else np.isfinite(raw).all(axis=1)
    if label.dtype.is_float():
        label = label.fill_nan(None)
    return np.asarray(label.is_not_null().to_numpy() & finite)


def rows_of(requests: pl.Series, model: Model) -> pl.DataFrame:
    """Logged requests as rows with the fields that ``model`` declares; one that was not logged is null."""
    fields = requests.struct.unnest()
    return fields.select(
        pl.col(name).cast(dtype) if name in fields.columns else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in model.schema.polars.items()
    )
