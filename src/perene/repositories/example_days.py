"""Digests of examples by day of events, kept, so that a new dataset version costs only the days that changed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl
import sqlalchemy as sa

from perene.definition.model import Model
from perene.records.dataset import DayOfExamples
from perene.repositories.examples import Examples, Question, holding
from perene.repositories.models import lock_model
from perene.storage.database import Database
from perene.storage.digests import day_sums
from perene.storage.envelope import Log
from perene.storage.tables import example_day


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reckoned:
    """A day as it was computed: with the newest time at which anything said about its events was known."""

    day: DayOfExamples
    known_through: datetime


class ExampleDays:
    """What each day of events holds. A kept digest is used only for a question that it answers."""

    def __init__(self, examples: Examples, database: Database) -> None:
        self._examples = examples
        self._database = database

    def reckon(self, model: Model, question: Question) -> list[DayOfExamples]:
        """The days of a question, in order; those without examples are left out. New ones are kept."""
        touched = self._touched(model, question)
        kept = self._kept(model, touched, question)
        missing = [day for day in touched if day not in kept]
        fresh = list(self._compute(model, question, missing))
        whole = [r for r in fresh if question.covers(r.day.day) and r.known_through <= question.as_of]
        self._keep(model, whole, touched)
        found = {**kept, **{reckoned.day.day: reckoned.day for reckoned in fresh}}
        return [found[day] for day in sorted(found) if found[day].rows]

    def recompute(self, model: Model, question: Question) -> list[DayOfExamples]:
        """The same, from the examples alone: also of days to which nothing should have been added."""
        days = question.days()
        return [reckoned.day for reckoned in self._compute(model, question, days) if reckoned.day.rows]

    def kept(self, model: Model, question: Question) -> list[DayOfExamples]:
        """Those days of a question whose digests are kept."""
        kept = self._kept(model, self._touched(model, question), question)
        return [kept[day] for day in sorted(kept) if kept[day].rows]

    def _touched(self, model: Model, question: Question) -> dict[date, int]:
        """For each day of the question the last append that it knows of."""
        last = self._examples.lake.last_touched(model.name, Log.EXAMPLES, upto=question.ingest)
        return {day: last[day] for day in question.days() if day in last}

    def _kept(self, model: Model, touched: Mapping[date, int], question: Question) -> dict[date, DayOfExamples]:
        """The kept days whose last append is the question's, and of which the question knows all that was said."""
        if not touched:
            return {}
        table = example_day.c
        mine = sa.select(example_day).where(table.model == model.name, table.day.between(min(touched), max(touched)))
        with self._database.read() as connection:
            rows = connection.execute(mine.where(table.known_through <= question.as_of)).all()
        return {
            row.day: DayOfExamples(
                day=row.day, rows=row.rows, labelled=row.labelled, label_sum=row.label_sum, digest=row.digest
            )
            for row in rows
            if touched.get(row.day) == row.ingest and question.covers(row.day)
        }

    def _compute(self, model: Model, question: Question, days: Sequence[date]) -> Iterator[_Reckoned]:
        for part in self._examples.lake.portions(model.name, Log.EXAMPLES, days):
            said = self._examples.said(model, question, days=part)
            known = dict(said.group_by("day").agg(pl.col("known_at").max()).iter_rows())
            held = _digested(holding(said, as_of=question.as_of), known)
            yield from (_Reckoned(day=held[day], known_through=through) for day, through in known.items())

    def _keep(self, model: Model, reckoned: Collection[_Reckoned], touched: Mapping[date, int]) -> None:
        if not reckoned:
            return
        table = example_day.c
        values = [
            {
                "model": model.name, "day": r.day.day, "ingest": touched[r.day.day], "known_through": r.known_through,
                "rows": r.day.rows, "labelled": r.day.labelled, "label_sum": r.day.label_sum, "digest": r.day.digest,
            }
            for r in reckoned
        ]  # fmt: skip
        first, last = min(touched), max(touched)
        mine = sa.select(table.day, table.ingest).where(table.model == model.name, table.day.between(first, last))
        with self._database.write() as connection:
            lock_model(connection, model.name)
            there = {(row.day, row.ingest) for row in connection.execute(mine)}
            new = [value for value in values if (value["day"], value["ingest"]) not in there]
            if new:
                connection.execute(sa.insert(example_day), new)


def _digested(held: pl.DataFrame, days: Collection[date]) -> dict[date, DayOfExamples]:
    """Each day of these, by the examples that hold; a day may have none left."""
    day = held["event_at"].dt.date()
    sums = day_sums(held, day)
    label = pl.col("label")
    number = label.cast(pl.Float64) if held.schema["label"] != pl.String else pl.lit(0.0)
    totals = held.group_by(day=day).agg(labelled=label.count(), label_sum=number.sum())
    counted = {row["day"]: row for row in totals.iter_rows(named=True)}
    nothing: Mapping[str, float] = {"labelled": 0, "label_sum": 0.0}
    return {
        day: DayOfExamples(
            day=day, rows=sums[day].rows if day in sums else 0, labelled=int(counted.get(day, nothing)["labelled"]),
            label_sum=float(counted.get(day, nothing)["label_sum"]), digest=sums[day].digest if day in sums else "",
        )
        for day in days
    }  # fmt: skip
