"""What servers count of the versions that they ask: errors, times, and how their numbers lie beside another version's.

Laws. What every process adds meets in one line per version and role. A release, and a version that is set into a role,
begins with none.
"""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from perene.records.serving import COUNTED, ServingCounts
from perene.storage import tables
from perene.storage.database import Database, take_turn

_serving = tables.serving
Served = tuple[str, int, str]  # model, version, role


class Servings:
    """The counts of a project's servers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, counts: Mapping[Served, Mapping[str, float]]) -> None:
        """Add what a process counted since it told last, by the names of ``ServingCounts``."""
        with self._database.write() as connection:
            for (model, version, role), new in sorted(counts.items()):
                take_turn(connection, f"serving {model}")
                more = {name: _serving.c[name] + count for name, count in new.items()}
                mine = _of(model, version, role)
                if not connection.execute(_serving.update().where(mine).values(more)).rowcount:
                    line = {"model": model, "version": version, "role": role}
                    connection.execute(_serving.insert().values({**line, **new}))

    def get(self, model: str, version: int, role: str) -> ServingCounts:
        """What was counted of a version in a role; nothing where it was never asked."""
        query = sa.select(*(_serving.c[name] for name in COUNTED)).where(_of(model, version, role))
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        return ServingCounts() if row is None else ServingCounts(**row)


def begin_anew(connection: sa.Connection, model: str, version: int, role: str) -> None:
    """Forget what was counted of a version in a role, in the caller's transaction: it begins anew."""
    take_turn(connection, f"serving {model}")
    connection.execute(_serving.delete().where(_of(model, version, role)))


def _of(model: str, version: int, role: str) -> sa.ColumnElement[bool]:
    return (_serving.c.model == model) & (_serving.c.version == version) & (_serving.c.role == role)
