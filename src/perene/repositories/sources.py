"""What a source was asked for, and which of its rows were set aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime

import sqlalchemy as sa

from perene.definition.checking import BadColumn
from perene.repositories import Fence
from perene.storage.database import Database
from perene.storage.tables import quarantine, source_day


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDay:
    """A day of events as the source last told it. ``asked_at`` is project time."""

    day: date
    asked_at: datetime
    rows: int
    labelled: int
    quarantined: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """Rows that were set aside for one reason; ``sample`` holds up to five of them."""

    model: str
    run: int | None
    origin: str
    field: str
    what: str
    rows: int
    sample: Sequence[Mapping[str, object]]
    at: datetime


class Sources:
    """The days that each model's source was asked for, and the rows of any origin that were set aside."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def days(self, model: str, since: date, until: date) -> dict[date, SourceDay]:
        """The days of [since, until) that the source was asked for."""
        table = source_day.c
        mine = sa.select(table.day, table.asked_at, table.rows, table.labelled, table.quarantined)
        with self._database.read() as connection:
            rows = connection.execute(mine.where(table.model == model, table.day >= since, table.day < until))
            return {row["day"]: SourceDay(**row) for row in rows.mappings()}

    def answered(
        self, model: str, days: Sequence[SourceDay], aside: Sequence[Quarantined], *, fence: Fence | None = None
    ) -> None:
        """Remember what the source answered, and what of it was set aside; in one transaction."""
        table = source_day.c
        with self._database.write() as connection:
            if fence is not None:
                fence(connection)
            if days:
                first, last = min(day.day for day in days), max(day.day for day in days)
                told_again = sa.delete(source_day).where(table.model == model, table.day.between(first, last))
                connection.execute(told_again.where(table.day.in_([day.day for day in days])))
                connection.execute(sa.insert(source_day), [{"model": model, **asdict(day)} for day in days])
            _set_aside(connection, aside)

    def set_aside(self, aside: Sequence[Quarantined]) -> None:
        """Remember rows that were set aside; what a run that is tried again finds again is remembered once."""
        if aside:
            with self._database.write() as connection:
                _set_aside(connection, aside)

    def quarantined(self, model: str | None = None, *, run: int | None = None, limit: int = 100) -> list[Quarantined]:
        """What was set aside, newest first."""
        table = quarantine.c
        where = [] if model is None else [table.model == model]
        if run is not None:
            where.append(table.run == run)
        with self._database.read() as connection:
            return _quarantined(connection, *where, limit=limit)


def quarantined(
    model: str, columns: Sequence[BadColumn], *, run: int | None, origin: str, at: datetime
) -> list[Quarantined]:
    """What a check found, as it is remembered."""
    return [
        Quarantined(
            model=model, run=run, origin=origin, field=bad.field, what=bad.what, rows=bad.rows, sample=bad.sample, at=at
        )
        for bad in columns
    ]


def _set_aside(connection: sa.Connection, aside: Sequence[Quarantined]) -> None:
    table = quarantine.c
    there: list[Quarantined] = []
    for model, run, at in {(part.model, part.run, part.at) for part in aside}:
        there += _quarantined(connection, table.model == model, table.run.is_not_distinct_from(run), table.at == at)
    new = [asdict(part) for part in aside if part not in there]
    if new:
        connection.execute(sa.insert(quarantine), new)


def _quarantined(
    connection: sa.Connection, *where: sa.ColumnElement[bool], limit: int | None = None
) -> list[Quarantined]:
    columns = [quarantine.c[field.name] for field in fields(Quarantined)]
    rows = connection.execute(sa.select(*columns).where(*where).order_by(quarantine.c.id.desc()).limit(limit))
    return [Quarantined(**row) for row in rows.mappings()]
