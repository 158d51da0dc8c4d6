"""Examples: rows with their labels, as they were said, corrected and taken back, and what questions about them answer.

An example's identity is its key and event time. Of what one origin said about an identity its newest append holds. What
a source or an import says wins over what the prediction log says, as long as it is not taken back.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from perene.definition.model import Model
from perene.repositories import Fence
from perene.storage.envelope import INSTANT, Log, conform, examples_columns
from perene.storage.lake import Lake, collected

LOGGED = "log"  # the origin that gives way to the others
_SAID = ("event_at", "key", "firm", "ingest", "known_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which examples: events of [since, until), as known at ``as_of``, of appends up to ``ingest``."""

    since: datetime
    until: datetime
    as_of: datetime
    ingest: int

    def days(self) -> list[date]:
        """The days that it reaches into, in order."""
        first, last = self.since.astimezone(UTC).date(), (self.until - timedelta.resolution).astimezone(UTC).date()
        return [first + timedelta(days=i) for i in range((last - first).days + 1)]

    def covers(self, day: date) -> bool:
        """Whether it asks for the whole day."""
        return self.since <= midnight(day) and midnight(day + timedelta(days=1)) <= self.until


class Examples:
    """The examples of each model. They are only ever added to."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake

    def append(self, model: Model, frame: pl.DataFrame, source: str, *, fence: Fence | None = None) -> int:
        """Append examples once for this source; returns the ingest number.

        The columns are those of ``storage.envelope.examples_columns``; ``recorded_at`` is now, in machine time. Raises
        StorageError, and what ``fence`` raises; then nothing was written.
        """
        stamped = frame.with_columns(
            recorded_at=pl.lit(self.lake.machine(), dtype=INSTANT), day=pl.col("event_at").dt.date()
        )
        rows = conform(stamped, examples_columns(model))
        return self.lake.append(model.name, Log.EXAMPLES, rows, source=source, fence=fence)

    def answer(self, model: Model, question: Question, *, days: Collection[date] | None = None) -> pl.DataFrame:
        """One row per identity, by event time and key: ``key, event_at, row, label, known_at``; of these days only."""
        return holding(self.said(model, question, days=days), as_of=question.as_of)

    def said(self, model: Model, question: Question, *, days: Collection[date] | None = None) -> pl.DataFrame:
        """Everything that was said until the question's ingest about its events, whenever it was known."""

        def ask() -> pl.LazyFrame:
            return self.lake.scan(
                model.name, Log.EXAMPLES, since=question.since, until=question.until, days=days, upto=question.ingest
            )

        # The fields of the table, not those of today's Row: what a version held is what was written.
        rows = collected(ask, model.name, Log.EXAMPLES)
        return rows if rows.width else pl.DataFrame(schema=examples_columns(model))

    def current(
        self, model: Model, origin: str, days: Collection[date], *, as_of: datetime | None = None
    ) -> pl.DataFrame:
        """What an origin said last about events of these days, or last before ``as_of``.

        One row per identity, as ``answer`` gives them, but ``row`` with today's fields.
        """
        columns, mine = examples_columns(model), pl.col("origin") == origin
        said = collected(
            lambda: self.lake.scan(model.name, Log.EXAMPLES, columns=columns, days=days).filter(mine),
            model.name,
            Log.EXAMPLES,
        )
        return holding(said, as_of=as_of)

    def counts(self, model: Model, since: date, until: date) -> dict[date, int]:
        """How many examples each day of [since, until) has now; a day without any is left out."""
        question = Question(
            since=midnight(since), until=midnight(until), as_of=datetime.max.replace(tzinfo=UTC), ingest=2**62
        )
        found = self.answer(model, question).group_by(day=pl.col("event_at").dt.date()).len()
        return dict(found.sort("day").iter_rows())


def holding(said: pl.DataFrame, *, as_of: datetime | None = None) -> pl.DataFrame:
    """What holds of all that was said: one row per identity, by event time and key."""
    firm = (pl.col("origin") != LOGGED).alias("firm")
    thin = said.select("event_at", "key", firm, "ingest", "known_at", "retracted").with_row_index("place")
    known = thin if as_of is None else thin.filter(pl.col("known_at") <= as_of)
    newest = known.sort(*_SAID).filter(_is_last("event_at", "key", "firm")).filter(~pl.col("retracted"))
    places = newest.filter(_is_last("event_at", "key"))["place"]  # the rows themselves are moved once only
    return said.select("key", "event_at", "row", "label", "known_at")[places]


def midnight(day: date) -> datetime:
    """The first instant of a day, in UTC."""
    return datetime.combine(day, time(), tzinfo=UTC)


def _is_last(*columns: str) -> pl.Expr:
    """Whether the next row is of another group; for rows that are ordered by these columns."""
    return pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift(-1)) for name in columns)
