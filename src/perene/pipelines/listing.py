"""The newest predictions of a model with what came true of each: those in the lake, and those that wait in journals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import polars as pl

from perene.definition.model import Model
from perene.pipelines.journaling import waiting_predictions
from perene.pipelines.truths import truths_frame, truths_of
from perene.records.roles import SHADOW
from perene.repositories.predictions import EARLY, Predictions
from perene.repositories.truths import Truths, newest_truths
from perene.storage.envelope import Log, predictions_columns, truths_columns
from perene.storage.journal import JournalReader
from perene.storage.lake import Lake, collected

_SHOWN = ("prediction_id", "key", "event_at", "predicted_at", "role", "mode", "model_version", "raw", "final")
_WAITS = pl.lit(2**62, dtype=pl.Int64)  # the number of what is not in the lake yet: newer than all that is


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Where answers and truths are found."""

    lake: Lake
    predictions: Predictions
    truths: Truths
    journals: JournalReader

    def newest(
        self, model: Model, *, since: datetime | None = None, until: datetime | None = None, limit: int
    ) -> pl.DataFrame:
        """The answers that came into the log last, of events of [since, until); the newest first.

        Columns: ``prediction_id, key, event_at, predicted_at, role, mode, model_version, raw, final`` as in the log,
        and ``label, known_at`` of the newest ground truth, null where there is none.
        """
        lines = self._lines(model, since, until, limit)
        newest = lines.sort("ingest", "predicted_at", "prediction_id", descending=True).head(limit)
        ordered = newest.sort("predicted_at", "prediction_id", descending=True).select(_SHOWN)
        return self.with_truth(model, ordered)

    def _lines(self, model: Model, since: datetime | None, until: datetime | None, limit: int) -> pl.DataFrame:
        """At least the newest ``limit`` lines. Journals are read first: what is drained meanwhile is in the lake."""
        waiting = waiting_predictions(model, self.journals)
        dtypes = predictions_columns(model)
        found = pl.DataFrame(schema={name: dtypes[name] for name in (*_SHOWN, "ingest")})
        if waiting is not None:
            answered = waiting.filter(pl.col("role") != SHADOW)
            found = _within(answered, since, until).select(*_SHOWN, ingest=_WAITS)
        for days, older in self._days(model, since, until):
            if (found["ingest"] > older).sum() >= limit:
                break

            def asked(days: Sequence[date] = days) -> pl.LazyFrame:
                return self.predictions.scan(model, since, until, days=days).select(*_SHOWN, "ingest")

            lines = pl.concat([collected(asked, model.name, Log.PREDICTIONS), found])
            found = lines.unique("prediction_id", keep="first")
        return found

    def _days(self, model: Model, since: datetime | None, until: datetime | None) -> Iterator[tuple[list[date], int]]:
        """The days of events, those that were appended to last first, each with the newest number of those to come."""
        horizon = self.lake.horizon(model.name, Log.PREDICTIONS)
        touched = self.lake.last_touched(model.name, Log.PREDICTIONS, upto=horizon)
        first = None if since is None else since.astimezone(UTC).date()
        last = None if until is None else until.astimezone(UTC).date()
        wanted = [day for day in touched if (first is None or day >= first) and (last is None or day <= last)]
        wanted.sort(key=lambda day: touched[day], reverse=True)
        at_once, start = 1, 0
        while start < len(wanted):
            yield wanted[start : start + at_once], touched[wanted[start]]
            start, at_once = start + at_once, at_once * 2

    def with_truth(self, model: Model, lines: pl.DataFrame) -> pl.DataFrame:
        """Lines of the log with ``label, known_at``: their newest ground truth, in the lake or in a journal; else null.

        What names a prediction wins over what is said of its key and event time.
        """
        columns = [name for name in truths_columns(model) if name != "ingest"]
        waiting = truths_of(self.journals.entries(model.name, "truth"))
        drained = self.truths.scan(model, since=_first_said(lines)).select(*columns, "ingest")
        said = pl.concat([drained, truths_frame(model, waiting).lazy().select(*columns, ingest=_WAITS)])
        ids, keys = lines["prediction_id"].to_list(), lines["key"].unique().to_list()
        by_id = said.filter(pl.col("prediction_id").is_in(ids))
        by_key = said.filter(pl.col("prediction_id").is_null() & pl.col("key").is_in(keys))
        joined = lines.join(newest_truths(by_id, ["prediction_id"]).collect(), on="prediction_id", how="left").join(
            newest_truths(by_key, ["key", "event_at"]).collect(), on=["key", "event_at"], how="left", suffix="_of_key"
        )
        known_at = pl.when(pl.col("label").is_null()).then("known_at_of_key").otherwise("known_at")
        both = joined.with_columns(label=pl.coalesce("label", "label_of_key"), known_at=known_at)
        return both.drop("label_of_key", "known_at_of_key")


def _first_said(lines: pl.DataFrame) -> datetime | None:
    """From when on truths of these lines are looked for, as ``Predictions.with_truth`` does."""
    first = lines.select(pl.min_horizontal(pl.col("event_at", "predicted_at").min())).item()
    return None if first is None else first - EARLY


def _within(lines: pl.DataFrame, since: datetime | None, until: datetime | None) -> pl.DataFrame:
    if since is not None:
        lines = lines.filter(pl.col("event_at") >= since)
    if until is not None:
        lines = lines.filter(pl.col("event_at") < until)
    return lines
