"""Which server processes live, and what they run. By machine time: a silent one is dead."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import sqlalchemy as sa

from perene.clock import MachineClock
from perene.records.server import ServerProcess
from perene.storage import tables
from perene.storage.database import Database, take_turn

_server = tables.server
_request = tables.drain_request


class Servers:
    """The server processes of a project, and what they are asked to do."""

    def __init__(self, database: Database, machine: MachineClock) -> None:
        self._database = database
        self._machine = machine

    def beat(
        self, id: str, *, address: str, serves: Mapping[str, int], lost: int = 0, drained_at: datetime | None = None
    ) -> None:
        """A server says that it lives, and what it runs."""
        told = {
            "address": address,
            "serves": dict(serves),
            "lost": lost,
            "drained_at": drained_at,
            "heartbeat_at": self._machine(),
        }
        with self._database.write() as connection:
            known = connection.execute(_server.update().where(_server.c.id == id).values(**told)).rowcount
            if not known:
                connection.execute(_server.insert().values(id=id, started_at=told["heartbeat_at"], **told))

    def forget(self, id: str) -> None:
        """A server ended, or its journal was drained after its death."""
        with self._database.write() as connection:
            connection.execute(_server.delete().where(_server.c.id == id))

    def alive(self, within: timedelta) -> list[ServerProcess]:
        """Those that beat within the last ``within``, oldest first."""
        query = (
            sa.select(_server)
            .where(_server.c.heartbeat_at >= self._machine() - within)
            .order_by(_server.c.started_at, _server.c.id)
        )
        with self._database.read() as connection:
            return [ServerProcess(**row) for row in connection.execute(query).mappings()]

    def request_drain(self) -> datetime:
        """Ask every server to bring what it answered so far into the lake.

        Gives the machine time that a server's ``drained_at`` must reach.
        """
        now = self._machine()
        with self._database.write() as connection:
            take_turn(connection, "drain request")
            asked: datetime | None = connection.scalar(sa.select(_request.c.asked_at))
            if asked is None:
                connection.execute(_request.insert().values(id=1, asked_at=now))
            elif asked < now:
                connection.execute(_request.update().values(asked_at=now))
        return now if asked is None else max(asked, now)

    def drain_requested_at(self) -> datetime | None:
        """When a drain was last asked for; None when it never was."""
        with self._database.read() as connection:
            return connection.scalar(sa.select(_request.c.asked_at))
