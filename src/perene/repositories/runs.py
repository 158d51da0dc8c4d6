"""Pipeline runs: who works on which, what each step gave, and who takes over when a worker dies.

Laws. ``(model, trigger, due_at)`` makes one run, however many ask. A model's runs go one at a time. A claim lasts while
its worker beats; a silent one is claimed by whoever comes next, and from then on everything that the old worker writes
raises LostLease: each claim has its own attempt, and every write names it. A step's result is recorded once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import sqlalchemy as sa

from perene.clock import MachineClock
from perene.errors import LostLease, NotAllowed, NotFound
from perene.records.run import Run, RunState, Step
from perene.repositories import Fence, audits, models
from perene.storage import tables
from perene.storage.database import Database

_run = tables.run
_step = tables.step
_OPEN = (RunState.QUEUED.value, RunState.RUNNING.value)


class Runs:
    """The runs of a project. Claims and heartbeats go by machine time."""

    def __init__(self, database: Database, machine: MachineClock) -> None:
        self._database = database
        self._machine = machine

    def create(self, model: str, *, trigger: str, due_at: datetime, created_at: datetime, actor: str) -> Run:
        """Queue a run. The same model, trigger and due time again give the run that there is."""
        cause = {"model": model, "trigger": trigger, "due_at": due_at}
        with self._database.write() as connection:
            models.lock_model(connection, model)
            known = _read(connection, *(_run.c[name] == value for name, value in cause.items()))
            if known:
                return known[0]
            write = _run.insert().values(
                **cause, created_at=created_at, actor=actor, state=RunState.QUEUED.value, attempt=0
            )
            id = connection.scalars(write.returning(_run.c.id)).one()
            told = {"trigger": trigger, "run": id}
            audits.record(connection, "run", f"model {model}", at=created_at, actor=actor, after=told)
            return _one(connection, id)

    def claim(self, owner: str, lease: timedelta, *, model: str | None = None) -> Run | None:
        """Take the run that comes next for the worker ``owner``; None when none waits.

        A run whose worker was silent for ``lease`` comes before those that are queued.
        """
        now = self._machine()
        with self._database.write() as connection:
            query = _claimable(now - lease)
            id = connection.scalar(query if model is None else query.where(_run.c.model == model))
            if id is None:
                return None
            taken = {
                "state": RunState.RUNNING.value,
                "owner": owner,
                "heartbeat_at": now,
                "attempt": _run.c.attempt + 1,
            }
            connection.execute(_run.update().where(_run.c.id == id).values(**taken))
            return _one(connection, id)

    def heartbeat(self, run: Run) -> None:
        """Say that the worker of a claimed run lives. Raises LostLease."""
        with self._database.write() as connection:
            _update(connection, run, heartbeat_at=self._machine())

    def give_back(self, run: Run) -> None:
        """Queue a claimed run again: its worker ends. Raises LostLease."""
        with self._database.write() as connection:
            _update(connection, run, state=RunState.QUEUED.value, owner=None)

    def fence(self, run: Run) -> Fence:
        """A check for the transactions of a run's effects: raises LostLease when its claim is lost."""
        return lambda connection: _hold(connection, run)

    def begin_step(self, run: Run, name: str) -> None:
        """Record that a step begins. Raises LostLease."""
        now = self._machine()
        with self._database.write() as connection:
            _update(connection, run, heartbeat_at=now)
            state = {"state": RunState.RUNNING.value, "attempt": run.attempt, "started_at": now, "ended_at": None}
            this = (_step.c.run == run.id) & (_step.c.name == name)
            if not connection.execute(_step.update().where(this).values(**state, error=None)).rowcount:
                connection.execute(_step.insert().values(run=run.id, name=name, **state))

    def finish_step(self, run: Run, name: str, result: Mapping[str, object], *, outcome: str | None = None) -> None:
        """Record what a step gave (JSON), and the run's outcome when the step decided it. Raises LostLease."""
        now = self._machine()
        with self._database.write() as connection:
            _update(connection, run, heartbeat_at=now, **({} if outcome is None else {"outcome": outcome}))
            _end_step(connection, run, name, state=RunState.SUCCEEDED, at=now, result=dict(result))

    def succeed(self, run: Run) -> Run:
        """Record that every step is done. Raises LostLease."""
        with self._database.write() as connection:
            _update(connection, run, state=RunState.SUCCEEDED.value, heartbeat_at=self._machine())
            return _one(connection, run.id)

    def fail(self, run: Run, step: str | None, error: Mapping[str, object]) -> Run:
        """Record that a step (None: the run before any) failed, and the run with it. Raises LostLease."""
        now = self._machine()
        with self._database.write() as connection:
            _update(connection, run, state=RunState.FAILED.value, outcome="failed", heartbeat_at=now, error=dict(error))
            if step is not None:
                _end_step(connection, run, step, state=RunState.FAILED, at=now, error=dict(error))
            return _one(connection, run.id)

    def cancel(self, id: int, *, actor: str, why: str = "", at: datetime) -> Run:
        """Take a run off: a queued one never starts, a running one's worker loses its claim.

        Raises NotAllowed when it has ended.
        """
        with self._database.write() as connection:
            connection.scalar(sa.select(_run.c.id).where(_run.c.id == id).with_for_update())
            run = _one(connection, id)
            if run.state.value not in _OPEN:
                raise NotAllowed(f"run {id} cannot be cancelled", why=f"it has {run.state.value} already")
            off = {"state": RunState.CANCELLED.value, "outcome": "cancelled"}
            connection.execute(_run.update().where(_run.c.id == id).values(**off))
            audits.record(
                connection, "cancel", f"run {id}", at=at, actor=actor, why=why, before={"state": run.state.value}
            )
            return _one(connection, id)

    def get(self, id: int) -> Run:
        """One run with its steps. Raises NotFound."""
        with self._database.read() as connection:
            return _one(connection, id)

    def last_due(self, trigger: str = "schedule") -> dict[str, datetime]:
        """When each model's newest run of a trigger was due."""
        query = sa.select(_run.c.model, sa.func.max(_run.c.due_at)).where(_run.c.trigger == trigger)
        with self._database.read() as connection:
            rows = connection.execute(query.group_by(_run.c.model)).all()
        return {model: due_at for model, due_at in rows}

    def open_models(self, trigger: str = "schedule") -> set[str]:
        """The models that have a queued or running run of a trigger."""
        query = sa.select(_run.c.model).where(_run.c.trigger == trigger, _run.c.state.in_(_OPEN))
        with self._database.read() as connection:
            return set(connection.scalars(query))

    def list(self, model: str | None = None, *, state: RunState | None = None, limit: int | None = None) -> list[Run]:
        """The runs with their steps, newest first."""
        where = [] if model is None else [_run.c.model == model]
        if state is not None:
            where.append(_run.c.state == state.value)
        with self._database.read() as connection:
            return _read(connection, *where, limit=limit)


def _claimable(silent_since: datetime) -> sa.Select[int]:
    """The run that comes next, its row kept from other claimers; runs of a model at work are passed over."""
    other = _run.alias("other")
    at_work = sa.exists().where(
        other.c.model == _run.c.model,
        other.c.id != _run.c.id,
        other.c.state == RunState.RUNNING.value,
        other.c.heartbeat_at >= silent_since,
    )
    silent = sa.and_(_run.c.state == RunState.RUNNING.value, _run.c.heartbeat_at < silent_since)
    return (
        sa.select(_run.c.id)
        .join(tables.model, tables.model.c.name == _run.c.model)
        .where(sa.or_(_run.c.state == RunState.QUEUED.value, silent), ~at_work)
        .order_by(sa.case((silent, 0), else_=1), _run.c.due_at, _run.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )


def _mine(run: Run) -> sa.ColumnElement[bool]:
    return sa.and_(
        _run.c.id == run.id,
        _run.c.owner == run.owner,
        _run.c.attempt == run.attempt,
        _run.c.state == RunState.RUNNING.value,
    )


def _hold(connection: sa.Connection, run: Run) -> None:
    """Keep a claim until the transaction ends. Raises LostLease."""
    if connection.scalar(sa.select(_run.c.id).where(_mine(run)).with_for_update()) is None:
        raise _lost(connection, run)


def _update(connection: sa.Connection, run: Run, **values: object) -> None:
    if not connection.execute(_run.update().where(_mine(run)).values(**values)).rowcount:
        raise _lost(connection, run)


def _lost(connection: sa.Connection, run: Run) -> LostLease:
    now = _one(connection, run.id)
    why = f"it is {now.state.value}" + (f", attempt {now.attempt} by {now.owner}" if now.owner else "")
    return LostLease(f"run {run.id} is not attempt {run.attempt} of {run.owner} any more", why=why)


def _end_step(connection: sa.Connection, run: Run, name: str, *, state: RunState, at: datetime, **what: object) -> None:
    this = (_step.c.run == run.id) & (_step.c.name == name)
    connection.execute(_step.update().where(this).values(state=state.value, ended_at=at, **what))


def _one(connection: sa.Connection, id: int) -> Run:
    found = _read(connection, _run.c.id == id)
    if not found:
        raise NotFound(f"there is no run {id}", mend="perene run list")
    return found[0]


def _read(connection: sa.Connection, *where: sa.ColumnElement[bool], limit: int | None = None) -> list[Run]:
    rows = connection.execute(sa.select(_run).where(*where).order_by(_run.c.id.desc()).limit(limit)).mappings()
    runs = [Run(**{**row, "state": RunState(row["state"])}) for row in rows]
    query = sa.select(_step).where(_step.c.run.in_([run.id for run in runs]))
    steps: dict[int, list[Step]] = {run.id: [] for run in runs}
    for row in connection.execute(query.order_by(_step.c.started_at)).mappings():
        steps[row["run"]].append(Step(**{**row, "state": RunState(row["state"])}))
    return [replace(run, steps=tuple(steps[run.id])) for run in runs]
