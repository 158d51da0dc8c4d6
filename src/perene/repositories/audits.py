"""The audit log: who changed what, when, why, and what was there before."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa

from perene.records.audit import AuditLine
from perene.storage import tables
from perene.storage.database import Database

_audit = tables.audit


def record(
    connection: sa.Connection,
    verb: str,
    object_: str,
    *,
    at: datetime,
    actor: str,
    why: str = "",
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """Write one line, in the deed's transaction. ``at`` is project time; ``object_`` a thing ("model late-arrival")."""
    connection.execute(
        _audit.insert().values(at=at, actor=actor, verb=verb, object=object_, why=why, before=before, after=after)
    )


class Audits:
    """Reads the audit log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self, *, about: str | None = None, limit: int = 100) -> list[AuditLine]:
        """The newest lines first; ``about`` keeps those of one thing."""
        query = sa.select(_audit).order_by(_audit.c.id.desc()).limit(limit)
        if about is not None:
            query = query.where(_audit.c.object == about)
        with self._database.read() as connection:
            return [AuditLine(**row) for row in connection.execute(query).mappings()]
