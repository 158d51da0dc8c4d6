"""Alerts: what a person should know. One fires per model and rule, however often its cause comes again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa

from perene.errors import NotFound
from perene.records.alert import Alert
from perene.records.identity import digest_of
from perene.repositories import audits
from perene.storage import tables
from perene.storage.database import Database, take_turn

_alert = tables.alert


class Alerts:
    """The alerts of a project."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def raise_(
        self, model: str | None, rule: str, *, severity: str, what: str, why: str = "", mend: str = "", at: datetime
    ) -> Alert:
        """Raise an alert; one that fires already is counted up and tells its newest cause.

        ``severity``: page or notice.
        """
        first = {"fingerprint": _fingerprint(model, rule), "model": model, "rule": rule, "first_at": at}
        told = {"severity": severity, "what": what, "why": why, "mend": mend, "last_at": at}
        with self._database.write() as connection:
            take_turn(connection, f"alert {first['fingerprint']}")
            return _raised(connection, first, told)

    def resolve(self, model: str | None, rule: str, *, at: datetime, actor: str = "perene", why: str = "") -> bool:
        """Its cause is gone. Whether an alert was firing."""
        fires = (_alert.c.fingerprint == _fingerprint(model, rule)) & (_alert.c.state == "firing")
        with self._database.write() as connection:
            take_turn(connection, f"alert {_fingerprint(model, rule)}")
            was_firing = connection.execute(
                _alert.update().where(fires).values(state="resolved", resolved_at=at)
            ).rowcount
            if was_firing:
                about = "project" if model is None else f"model {model}"
                audits.record(connection, "resolve", about, at=at, actor=actor, why=why, after={"rule": rule})
            return bool(was_firing)

    def get(self, id: int) -> Alert:
        """One alert. Raises NotFound."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(_alert).where(_alert.c.id == id)).mappings().first()
        if row is None:
            raise NotFound(f"there is no alert {id}", mend="perene alert list --all")
        return Alert(**row)

    def list(self, *, state: str | None = None, model: str | None = None, limit: int | None = None) -> list[Alert]:
        """The alerts, the newest cause first. ``state``: firing or resolved."""
        query = sa.select(_alert).order_by(_alert.c.last_at.desc(), _alert.c.id.desc()).limit(limit)
        if state is not None:
            query = query.where(_alert.c.state == state)
        if model is not None:
            query = query.where(_alert.c.model == model)
        with self._database.read() as connection:
            return [Alert(**row) for row in connection.execute(query).mappings()]


def _fingerprint(model: str | None, rule: str) -> str:
    return digest_of({"model": model, "rule": rule})[:16]


def _raised(connection: sa.Connection, first: Mapping[str, object], told: Mapping[str, object]) -> Alert:
    """Count the firing alert up, or make it fire."""
    fires = (_alert.c.fingerprint == first["fingerprint"]) & (_alert.c.state == "firing")
    counted = connection.execute(_alert.update().where(fires).values(count=_alert.c.count + 1, **told))
    if not counted.rowcount:
        connection.execute(_alert.insert().values(**first, **told, count=1, state="firing"))
    return Alert(**connection.execute(sa.select(_alert).where(fires)).mappings().one())
