"""Project time, kept in the database so that every process of the project reads the same one."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from perene.clock import Anchor, MachineClock
from perene.errors import NotAllowed, StorageError
from perene.repositories import audits
from perene.storage import tables
from perene.storage.database import Database, take_turn

_clock = tables.project_clock
_NEWEST = 20  # lines; of deeds at the same moment, that which is recorded last may be a little older
_KEPT = timedelta(seconds=1)  # how long the anchor of a running clock is believed without another look


class ProjectTime:
    """The project's clock: real time, or a replay. It never goes backwards. Any thread may ask it.

    A project whose clock was never set lives in real time, and waits where the machine's clock is behind what was
    recorded: it was set back, or is that of another machine. Time that stands still is read from the database on every
    call, so processes of a replay agree; an anchor of time that runs may be a second old. So a clock whose speed
    changes goes on from where the oldest such anchor can have led.
    """

    def __init__(self, database: Database, machine: MachineClock) -> None:
        self._database = database
        self._machine = machine
        self._turn = threading.Lock()
        self._anchor: Anchor | None = None  # None: real time
        self._read_at: datetime | None = None  # machine time of the last look
        self._read_s = 0.0  # the same, by a clock that nobody sets
        self._last: datetime | None = None  # what `now` gave last, or what any process recorded

    def now(self) -> datetime:
        """Project time, in UTC."""
        with self._turn:
            machine_now = self._machine()
            self._look(machine_now)
            now = machine_now if self._anchor is None else self._anchor.at(machine_now)
            self._last = now if self._last is None else max(self._last, now)
            return self._last

    def anchor(self) -> Anchor | None:
        """What project time is reckoned from; None in real time."""
        with self._turn:
            self._look(self._machine())
            return self._anchor

    def start_replay(self, at: datetime, *, actor: str = "perene", why: str = "") -> None:
        """Set project time to ``at``, where it stands until ``advance`` or ``run``.

        Raises NotAllowed when that would go back: before what the clock shows, or (while it was never set) in a project
        that has runs or data already.
        """
        at = at.astimezone(UTC)
        with self._database.write() as connection:
            take_turn(connection, "project clock")  # there may be no anchor yet to lock
            anchor = _read(connection, writes=True)
            if anchor is None and _has_lived(connection):
                raise NotAllowed(
                    "a project that has lived in real time cannot be replayed",
                    why="it has runs or data of real time, and project time never goes backwards",
                    mend="start the replay in a new project",
                )
            if anchor is not None:
                _refuse_back(at, _shown(anchor, self._machine()))
            audits.record(connection, "replay", "project clock", at=at, actor=actor, why=why, after={"at": str(at)})
            self._set(connection, Anchor(project=at, machine=self._machine(), speed=0.0))

    def advance(self, to: datetime) -> None:
        """Move a replay on to ``to``, where time stands again.

        Raises NotAllowed for an earlier time, and in a project that lives in real time.
        """
        to = to.astimezone(UTC)
        with self._database.write() as connection:
            anchor = _read(connection, writes=True)
            if anchor is None:
                raise NotAllowed(
                    "real time cannot be moved on",
                    why="no replay was started in this project",
                    mend="start a replay in a new project",
                )
            machine_now = self._machine()
            _refuse_back(to, _shown(anchor, machine_now))
            self._set(connection, Anchor(project=to, machine=machine_now, speed=0.0))

    def run(self, speed: float, *, actor: str = "perene", why: str = "") -> None:
        """Let a replay's time run on from where it is, ``speed`` times as fast as real time; 0 stops it.

        Time stands again after ``WOUND_FOR``: call it again before. Real time runs by itself, and nothing is done. The
        audit log gets a line when time begins to run, changes its speed, or is stopped.
        """
        if self.anchor() is None:
            return
        with self._database.write() as connection:
            anchor = _read(connection, writes=True)
            assert anchor is not None  # once a clock is set, it stays set
            machine_now = self._machine()
            is_new = speed != anchor.speed or (speed > 0 and anchor.has_run_down(machine_now))
            now = anchor.at(machine_now) if speed == anchor.speed else _shown(anchor, machine_now)
            if is_new:
                audits.record(connection, "run", "project clock", at=now, actor=actor, why=why, after={"speed": speed})
            if is_new or speed > 0:
                self._set(connection, Anchor(project=now, machine=machine_now, speed=speed))

    def _look(self, machine_now: datetime) -> None:
        """Read the anchor, unless a running one was read a moment ago."""
        if self._is_fresh(machine_now):
            return
        try:
            with self._database.read() as connection:
                anchor = _read(connection)
                recorded = None if anchor else _recorded(connection)
        except StorageError:
            if self._read_at is None:
                raise
            return  # the database is away: what was known goes on, so that a server can answer
        if self._anchor is None and anchor is not None:
            self._last = None  # the replay of a young project begins: the only time that time is set back
        self._last = max(filter(None, (self._last, recorded)), default=None)
        self._anchor, self._read_at, self._read_s = anchor, machine_now, time.monotonic()

    def _is_fresh(self, machine_now: datetime) -> bool:
        if self._read_at is None or (self._anchor is not None and self._anchor.speed == 0):
            return False
        told, real = machine_now - self._read_at, timedelta(seconds=time.monotonic() - self._read_s)
        return timedelta(0) <= told < _KEPT and real < _KEPT

    def _set(self, connection: sa.Connection, anchor: Anchor) -> None:
        values = {"project_at": anchor.project, "machine_at": anchor.machine, "speed": anchor.speed}
        if not connection.execute(_clock.update().values(**values)).rowcount:
            connection.execute(_clock.insert().values(id=1, **values))
        self._read_at = None  # the next question looks again


def _read(connection: sa.Connection, *, writes: bool = False) -> Anchor | None:
    query = sa.select(_clock).with_for_update() if writes else sa.select(_clock)
    row = connection.execute(query).one_or_none()
    return None if row is None else Anchor(project=row.project_at, machine=row.machine_at, speed=row.speed)


def _shown(anchor: Anchor, machine_now: datetime) -> datetime:
    """The latest project time that any process can have shown, or will while it still believes this anchor."""
    return max(anchor.at(machine_now), anchor.at(machine_now + _KEPT))


def _recorded(connection: sa.Connection) -> datetime | None:
    """The latest project time among the newest lines of the audit log, to which every deed adds one."""
    newest = sa.select(tables.audit.c.at).order_by(tables.audit.c.id.desc()).limit(_NEWEST).subquery()
    latest: datetime | None = connection.scalar(sa.select(sa.func.max(newest.c.at)))
    return latest


def _has_lived(connection: sa.Connection) -> bool:
    lived = (sa.exists(sa.select(table.c.id)) for table in (tables.run, tables.ingest, tables.dataset_version))
    return bool(connection.scalar(sa.select(sa.or_(*lived))))


def _refuse_back(to: datetime, now: datetime) -> None:
    if to < now:
        raise NotAllowed(
            f"project time cannot go back to {to:%Y-%m-%d %H:%M:%S} UTC",
            why=f"it is {now:%Y-%m-%d %H:%M:%S} UTC already",
            mend="name a later time, or start the replay in a new project",
        )
