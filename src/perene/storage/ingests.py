"""Ingest numbers: each append to a log gets one before it is written, and is committed or void after.

Numbers of one model are given in the order in which they become visible, so a number never appears below one that was
seen. A void number stays void: what was written under it is never read, and a repeat of its append gets a new number.
Both together make the answer to "every committed append up to N", once none of them is open, the same for ever.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import TypeAlias

import sqlalchemy as sa

from perene.clock import MachineClock
from perene.errors import NotFound
from perene.storage.database import Database
from perene.storage.envelope import Log
from perene.storage.tables import ingest
from perene.storage.tables import model as models

OPEN, COMMITTED, VOID = "open", "committed", "void"

Fence: TypeAlias = Callable[[sa.Connection], None]
"""Called first in a transaction: what it raises stops it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingest:
    """One append. ``days`` are the days of events that it touched."""

    number: int
    source: str
    state: str
    rows: int
    days: tuple[date, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readable:
    """What may be read: numbers up to ``upto`` that are not in ``without`` (in order)."""

    upto: int
    without: tuple[int, ...]


class Ingests:
    """The ingest numbers of all logs."""

    def __init__(self, database: Database, machine: MachineClock) -> None:
        self._database = database
        self._machine = machine

    def begin(self, model: str, log: Log, source: str, *, fence: Fence | None = None) -> Ingest:
        """The append of this source: a new open one, or what an earlier try left (open or committed, never void).

        Raises what ``fence`` raises.
        """
        with self._database.write() as connection:
            if fence is not None:
                fence(connection)
            # Writers of a model take turns here, also where the database would let them write side by side: a number is
            # given only when every smaller one can be seen.
            turn = sa.select(models.c.name).where(models.c.name == model).with_for_update(key_share=True)
            if connection.scalar(turn) is None:
                raise NotFound(f"the model {model} is not registered", mend="perene status registers what is declared")
            known = connection.execute(sa.select(ingest).where(_of(model, log), ingest.c.source == source)).first()
            if known is not None:
                return _read(known)
            new = {"model": model, "log": log.value, "source": source, "state": OPEN, "created_at": self._machine()}
            number = connection.execute(sa.insert(ingest).values(**new).returning(ingest.c.id)).scalar_one()
            return Ingest(number=number, source=source, state=OPEN, rows=0, days=())

    def commit(self, number: int, *, rows: int, days: Iterable[date]) -> bool:
        """Commit an open append; False when it was made void meanwhile."""
        values = {"state": COMMITTED, "rows": rows, "days": sorted(day.isoformat() for day in days)}
        with self._database.write() as connection:
            still_open = sa.update(ingest).where(ingest.c.id == number, ingest.c.state == OPEN)
            connection.execute(still_open.values(committed_at=self._machine(), **values))
            state: str | None = connection.scalar(sa.select(ingest.c.state).where(ingest.c.id == number))
            return state == COMMITTED

    def void(self, number: int) -> None:
        """Give up an open append; its source is free for another try."""
        freed = ingest.c.source + sa.literal(f" (void {number})")
        with self._database.write() as connection:
            connection.execute(
                sa.update(ingest).where(ingest.c.id == number, ingest.c.state == OPEN).values(state=VOID, source=freed)
            )

    def open(self, model: str, log: Log) -> list[int]:
        """The numbers that are neither committed nor void, in order."""
        still_open = sa.select(ingest.c.id).where(_of(model, log), ingest.c.state == OPEN).order_by(ingest.c.id)
        with self._database.read() as connection:
            return list(connection.scalars(still_open))

    def highest(self, model: str, log: Log) -> int:
        """The largest number that was given to this log, whatever became of it; 0 when there is none."""
        with self._database.read() as connection:
            return connection.scalar(sa.select(sa.func.max(ingest.c.id)).where(_of(model, log))) or 0

    def horizon(self, model: str, log: Log) -> int:
        """The largest number of this log up to which every append is committed or void; 0 when there is none."""
        first_open = sa.select(sa.func.min(ingest.c.id)).where(_of(model, log), ingest.c.state == OPEN)
        last = sa.select(sa.func.max(ingest.c.id)).where(_of(model, log))
        with self._database.read() as connection:
            limit = connection.scalar(first_open)
            return connection.scalar(last if limit is None else last.where(ingest.c.id < limit)) or 0

    def readable(self, model: str, log: Log, upto: int | None) -> Readable:
        """The numbers that may be read now, up to and with ``upto``."""
        given = _of(model, log) if upto is None else sa.and_(_of(model, log), _up_to(upto))
        without = sa.select(ingest.c.id).where(given, ingest.c.state != COMMITTED).order_by(ingest.c.id)
        with self._database.read() as connection:
            last = connection.scalar(sa.select(sa.func.max(ingest.c.id)).where(given)) or 0
            return Readable(upto=last, without=tuple(connection.scalars(without)))

    def committed(self, model: str, log: Log, *, after: int = 0, upto: int | None = None) -> list[Ingest]:
        """The committed appends with ``after < number <= upto``, in order."""
        found = sa.select(ingest).where(_of(model, log), ingest.c.state == COMMITTED, ingest.c.id > after)
        if upto is not None:
            found = found.where(_up_to(upto))
        with self._database.read() as connection:
            return [_read(row) for row in connection.execute(found.order_by(ingest.c.id))]

    def days_since(self, model: str, log: Log, since: datetime) -> set[date]:
        """The days of events that the committed appends which began since a machine time touched."""
        touched = sa.select(sa.cast(ingest.c.days, sa.String)).where(
            _of(model, log), ingest.c.state == COMMITTED, ingest.c.created_at >= since
        )
        with self._database.read() as connection:
            told = connection.scalars(touched.distinct()).all()
        return {date.fromisoformat(day) for days in told for day in json.loads(days)}


def _of(model: str, log: Log) -> sa.ColumnElement[bool]:
    return sa.and_(ingest.c.model == model, ingest.c.log == log.value)


def _up_to(number: int) -> sa.ColumnElement[bool]:
    """Numbers up to one that may be larger than any that the column can hold."""
    return ingest.c.id <= sa.literal(number, sa.BigInteger)


def _read(row: sa.Row[tuple[object, ...]]) -> Ingest:
    days = tuple(date.fromisoformat(text) for text in row.days or ())
    return Ingest(number=row.id, source=row.source, state=row.state, rows=row.rows, days=days)
