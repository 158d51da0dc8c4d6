"""Generations of stored predictions: which there are, and which one look-ups read.

Laws. Look-ups read the ready generation that was begun last: a load that ends after a later one has ended replaces
nothing. A generation becomes readable, and the one before it is not read any more, in one transaction. The one before
is kept for look-ups that have begun in it; older ones, and what dead loads left, are to be swept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TypeVar

import sqlalchemy as sa

from perene.clock import MachineClock
from perene.errors import Conflict, NotFound
from perene.records.generation import Generation, GenerationState
from perene.repositories import Fence, audits, models
from perene.storage.database import Database
from perene.storage.tables import generation as _generation

Lock = TypeVar("Lock")
_KEPT = 2  # ready generations: the one that is read, and the one before


class Generations:
    """The generations of a project's models."""

    def __init__(self, database: Database, machine: MachineClock) -> None:
        self._database = database
        self._machine = machine

    def begin(self, new: Generation, lock: Callable[[int], Lock]) -> tuple[Generation, Lock]:
        """Remember that a load begins and give it its number (the one that it comes with is not used).

        ``lock(number)`` begins to write it; nobody sees the load before that is done, and holds it for dead.
        """
        values = {name: value for name, value in asdict(new).items() if name != "id"}
        values |= {"state": new.state.value, "fields": list(new.fields), "steps": [list(step) for step in new.steps]}
        with self._database.write() as connection:
            id = connection.scalars(_generation.insert().values(**values).returning(_generation.c.id)).one()
            return _one(connection, id), lock(id)

    def progress(self, id: int, *, rows: int, aside: int, fence: Fence | None = None) -> None:
        """Remember how many rows are stored so far. Raises what ``fence`` raises."""
        with self._database.write() as connection:
            if fence is not None:
                fence(connection)
            connection.execute(_loading(id).values(rows=rows, aside=aside))

    def finish(self, id: int, *, rows: int, keys: int, aside: int, fence: Fence | None = None) -> Generation:
        """Make a load what look-ups read. Raises Conflict when it was given up meanwhile, and what ``fence`` raises."""
        with self._database.write() as connection:
            if fence is not None:
                fence(connection)
            begun = _one(connection, id)
            models.lock_model(connection, begun.model)
            before = _current(connection, begun.model)
            done = {"state": GenerationState.READY.value, "ended_at": self._machine()}
            if not connection.execute(_loading(id).values(rows=rows, keys=keys, aside=aside, **done)).rowcount:
                what = f"generation {id} of {begun.model} was given up"
                raise Conflict(what, why="its process was held for dead", mend="store the predictions again")
            told = {"generation": id, "version": begun.version, "rows": rows, "origin": begun.origin}
            audits.record(
                connection, "store", f"model {begun.model}", at=begun.computed_at, actor=begun.actor,
                before=None if before is None else {"generation": before.id}, after=told,
            )  # fmt: skip
            return _one(connection, id)

    def fail(self, id: int, error: Mapping[str, object]) -> None:
        """Remember that a load ended without its end."""
        with self._database.write() as connection:
            ended = {"state": GenerationState.FAILED.value, "ended_at": self._machine()}
            connection.execute(_loading(id).values(error=dict(error), **ended))

    def current(self, model: str) -> Generation | None:
        """The generation that look-ups read; None before the first."""
        with self._database.read() as connection:
            return _current(connection, model)

    def get(self, id: int) -> Generation:
        """One generation. Raises NotFound."""
        with self._database.read() as connection:
            return _one(connection, id)

    def of_run(self, run: int) -> Generation | None:
        """The newest generation that a run began."""
        with self._database.read() as connection:
            return next(iter(_read(connection, _generation.c.run == run, limit=1)), None)

    def sweep(
        self, model: str, *, is_written: Callable[[int], bool], remove: Callable[[int], None]
    ) -> list[Generation]:
        """Take away what look-ups do not need any more, and what dead loads left; gives what went.

        Its files go first: who is killed in between does it again.
        """
        with self._database.read() as connection:
            ready = _read(connection, _of(model, GenerationState.READY))
            begun = _read(connection, _of(model, GenerationState.LOADING))
        old = ready[_KEPT:]
        unwritten = [generation.id for generation in begun if not is_written(generation.id)]
        with self._database.read() as connection:  # one that became ready in between is not dead
            begun = _read(connection, _of(model, GenerationState.LOADING))
        dead = [generation for generation in begun if generation.id in unwritten]
        for generation in (*old, *dead):
            remove(generation.id)
        for generation in old:
            with self._database.write() as connection:
                gone = {"state": GenerationState.REMOVED.value}
                connection.execute(_generation.update().where(_generation.c.id == generation.id).values(**gone))
        for generation in dead:
            self.fail(generation.id, {"what": "its process ended before the load did"})
        return [*old, *dead]

    def list(self, model: str | None = None, *, limit: int | None = None) -> list[Generation]:
        """The generations, newest first."""
        with self._database.read() as connection:
            return _read(connection, *([] if model is None else [_generation.c.model == model]), limit=limit)


def _of(model: str, state: GenerationState) -> sa.ColumnElement[bool]:
    return sa.and_(_generation.c.model == model, _generation.c.state == state.value)


def _loading(id: int) -> sa.Update:
    is_loading = _generation.c.state == GenerationState.LOADING.value
    return _generation.update().where(_generation.c.id == id, is_loading)


def _current(connection: sa.Connection, model: str) -> Generation | None:
    return next(iter(_read(connection, _of(model, GenerationState.READY), limit=1)), None)


def _one(connection: sa.Connection, id: int) -> Generation:
    found = _read(connection, _generation.c.id == id)
    if not found:
        raise NotFound(f"there is no generation {id}", mend="perene prediction stored")
    return found[0]


def _read(connection: sa.Connection, *where: sa.ColumnElement[bool], limit: int | None = None) -> list[Generation]:
    query = sa.select(_generation).where(*where).order_by(_generation.c.id.desc()).limit(limit)
    return [
        Generation(
            **{
                **row,
                "state": GenerationState(row["state"]),
                "fields": tuple(row["fields"]),
                "steps": tuple((name, again) for name, again in row["steps"]),
            }
        )
        for row in connection.execute(query).mappings()
    ]
