"""The prediction log, and predictions with their truth."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from functools import partial

import polars as pl
import sqlalchemy as sa

from perene.definition.model import Model
from perene.records.roles import SHADOW, shadow_prefix
from perene.repositories.truths import newest_truths
from perene.storage.database import Database
from perene.storage.envelope import INSTANT, Log, conform, predictions_columns, truths_columns
from perene.storage.lake import Lake, collected
from perene.storage.tables import model as models

# A truth that names only a prediction lies in the partition of the day on which it was known. One that was known
# longer than this before the prediction was made, or was to be asked for, is not looked for.
EARLY = timedelta(days=2)


class Predictions:
    """The prediction logs. A prediction id stands for its first row.

    What is read of them was answered; what a shadow said is read by its version.
    """

    def __init__(self, lake: Lake, database: Database) -> None:
        self.lake = lake
        self._database = database

    def append(self, model: Model, frame: pl.DataFrame, source: str) -> int:
        """Append predictions once for this source; returns the ingest number.

        The columns are those of ``storage.envelope.predictions_columns``, and ``features`` when the model logs them.
        Raises StorageError, and then nothing was written.
        """
        rows = conform(frame, predictions_columns(model), more=("features",))
        return self.lake.append(model.name, Log.PREDICTIONS, rows, source=source)

    def scan(
        self,
        model: Model,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        days: Collection[date] | None = None,
        upto: int | None = None,
        shadow: int | None = None,
    ) -> pl.LazyFrame:
        """One row per answered prediction id, of events of [since, until), or of these days; of appends up to ``upto``.

        ``shadow`` gives what that version said beside the answers instead.
        """
        return _once(self._lines(model, since, until, days=days, upto=upto, shadow=shadow))

    def get(self, model: Model | str | None, prediction_id: str) -> dict[str, object] | None:
        """One prediction with all that is logged of it, of this model or of any (then with ``model``); None if none."""
        for name in self._names(model):
            found = collected(partial(self._first, name, prediction_id), name, Log.PREDICTIONS)
            if found.height:
                return {"model": name, **found.row(0, named=True)}
        return None

    def group(self, model: Model, group: str, *, day: date, shadow: int | None = None) -> pl.DataFrame:
        """The lines of rows that were ranked together, of events of this day, in the order of the request."""
        name = model.name
        lines = partial(self.scan, model, days=[day], shadow=shadow)
        return collected(lambda: lines().filter(pl.col("group") == group).sort("position"), name, Log.PREDICTIONS)

    def with_truth(
        self,
        model: Model,
        since: datetime | None,
        until: datetime | None,
        as_of: datetime,
        *,
        days: Collection[date] | None = None,
        upto: tuple[int, int] | None = None,
        shadow: int | None = None,
    ) -> pl.LazyFrame:
        """Predictions with ``label`` and ``known_at``: the newest truth that was known at ``as_of``, else null.

        A truth that names the prediction wins over one of its key and event time. ``upto`` are the last numbers of the
        prediction log and of the ground truth that count. ``shadow`` gives what that version said beside the answers,
        with the truth of those.
        """
        answered, said_upto = (None, None) if upto is None else upto
        lines = self._lines(model, since, until, days=days, upto=answered, shadow=shadow)
        first = min(days, default=None) if days is not None else None if since is None else since.astimezone(UTC).date()
        if first is not None:
            first = min(first - timedelta(days=model.asked.days), _first_made(lines)) - EARLY
        said = self._said(model, as_of, first=first, upto=said_upto)
        ids = said.filter(pl.col("prediction_id").is_not_null())
        keyed = said.filter(pl.col("prediction_id").is_null())
        if days is not None:
            keyed = keyed.filter(pl.col("day").is_in(sorted(days)))
        elif until is not None:
            keyed = keyed.filter(pl.col("day") <= until.astimezone(UTC).date())
        own = pl.col("prediction_id")
        named = own if shadow is None else own.str.strip_prefix(shadow_prefix(shadow))
        joined = (
            _once(lines)
            .join(newest_truths(ids, ["prediction_id"]), left_on=named, right_on="prediction_id", how="left")
            .join(newest_truths(keyed, ["key", "event_at"]), on=["key", "event_at"], how="left", suffix="_of_key")
        )
        known_at = pl.when(pl.col("label").is_null()).then("known_at_of_key").otherwise("known_at").cast(INSTANT)
        return joined.with_columns(label=pl.coalesce("label", "label_of_key"), known_at=known_at).drop(
            "label_of_key", "known_at_of_key"
        )

    def answered(self, model: Model, days: Collection[date]) -> pl.LazyFrame:
        """Every line of an answer about events of these days: cheaper than ``scan``, but a prediction id may repeat."""
        return self._lines(model, None, None, days=days, upto=None, shadow=None)

    def _lines(
        self,
        model: Model,
        since: datetime | None,
        until: datetime | None,
        *,
        days: Collection[date] | None,
        upto: int | None,
        shadow: int | None,
    ) -> pl.LazyFrame:
        columns = predictions_columns(model)
        lines = self.lake.scan(
            model.name, Log.PREDICTIONS, columns=columns, since=since, until=until, days=days, upto=upto
        )
        is_shadow = pl.col("role") == SHADOW
        if shadow is None:
            return lines.filter(is_shadow.fill_null(False).not_())
        return lines.filter(is_shadow & (pl.col("model_version") == shadow))

    def _said(self, model: Model, as_of: datetime, *, first: date | None, upto: int | None) -> pl.LazyFrame:
        said = self.lake.scan(model.name, Log.TRUTHS, columns=truths_columns(model), upto=upto)
        if first is not None:
            said = said.filter(pl.col("day") >= first)
        return said.filter(pl.col("known_at") <= as_of.astimezone(UTC))

    def _first(self, model: str, prediction_id: str) -> pl.LazyFrame:
        lines = self.lake.scan(model, Log.PREDICTIONS)
        if "prediction_id" not in lines.collect_schema():  # nothing was ever logged
            return lines
        return lines.filter(pl.col("prediction_id") == prediction_id).sort("ingest").head(1)

    def _names(self, model: Model | str | None) -> list[str]:
        if model is not None:
            return [model if isinstance(model, str) else model.name]
        with self._database.read() as connection:
            return list(connection.scalars(sa.select(models.c.name).order_by(models.c.name)))


def _once(lines: pl.LazyFrame) -> pl.LazyFrame:
    """Of the lines of one prediction id the first that came into the log."""
    return lines.sort("ingest", maintain_order=True).unique("prediction_id", keep="first", maintain_order=True)


def _first_made(asked: pl.LazyFrame) -> date:
    """The day on which the first of these predictions was made; the last day of all when there are none."""
    made: datetime | None = asked.select(pl.col("predicted_at").min()).collect().item()
    return date.max if made is None else made.date()
