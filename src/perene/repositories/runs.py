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
from perene.errors import Conflict, LostLease, NotAllowed, NotFound
from perene.records.run import OFFLINE, SCHEDULE, Run, RunState, Step
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
            return known[0] if known else _queue(connection, cause, created_at=created_at, actor=actor)

    def create_next(
        self, model: str, *, trigger: str, due_at: datetime, created_at: datetime, actor: str
    ) -> Run | None:
        """Queue a run, unless one of this trigger waits or works, or one that counts as such was due then or later;
        None, where it is so.
        """
        cause = {"model": model, "trigger": trigger, "due_at": due_at}
        at_work = (_run.c.trigger == trigger) & _run.c.state.in_(_OPEN)
        settled = (_run.c.model == model) & (at_work | (_stands_for(trigger) & (_run.c.due_at >= due_at)))
        with self._database.write() as connection:
            models.lock_model(connection, model)
            if connection.scalar(sa.select(_run.c.id).where(settled).limit(1)) is not None:
                return None
            return _queue(connection, cause, created_at=created_at, actor=actor)

    def claim(self, owner: str, lease: timedelta, *, model: str | None = None) -> Run | None:
        """Take the run that comes next for the worker ``owner``; None when none waits, or none that nobody else holds.

        A run whose worker was silent for ``lease`` comes before those that are queued.
        """
        asked_at = self._machine()  # a heartbeat may have waited for the database as long as this claim has to
        with self._database.write() as connection:
            id = _claimed(connection, silent_since=asked_at - lease, model=model)
            if id is None:
                return None
            taken = {"state": RunState.RUNNING.value, "owner": owner, "heartbeat_at": self._machine()}
            died = sa.case((_run.c.state == RunState.RUNNING.value, 1), else_=0)
            counts = {"attempt": _run.c.attempt + 1, "deaths": _run.c.deaths + died}
            connection.execute(_run.update().where(_run.c.id == id).values(**taken, **counts))
            return _one(connection, id)

    def heartbeat(self, run: Run) -> None:
        """Say that the worker of a claimed run lives. Raises LostLease."""
        with self._database.write() as connection:
            _update(connection, run, heartbeat_at=self._machine())

    def give_back(self, run: Run) -> None:
        """Queue a claimed run again: its worker ends. Raises LostLease."""
        with self._database.write() as connection:
            _update(connection, run, state=RunState.QUEUED.value, owner=None)
            _leave_step(connection, run.id, state=RunState.QUEUED, at=None)

    def fence(self, run: Run) -> Fence:
        """A check for the transactions of a run's effects: raises LostLease when its claim is lost."""
        return lambda connection: _hold(connection, run)

    def begin_step(self, run: Run, name: str) -> None:
        """Record that a step begins, perhaps again. Raises LostLease, and Conflict for one that has its result."""
        with self._database.write() as connection:
            now = self._machine()
            _update(connection, run, heartbeat_at=now)
            begun = {"state": RunState.RUNNING.value, "attempt": run.attempt, "started_at": now, "ended_at": None}
            this = (_step.c.run == run.id) & (_step.c.name == name)
            known = connection.scalar(sa.select(_step.c.state).where(this))
            if known == RunState.SUCCEEDED.value:
                what = f"the step {name} of run {run.id} has its result already"
                raise Conflict(what, mend=f"perene run show {run.id}")
            if known is None:
                connection.execute(_step.insert().values(run=run.id, name=name, **begun))
            else:
                connection.execute(_step.update().where(this).values(**begun))

    def finish_step(self, run: Run, name: str, result: Mapping[str, object], *, outcome: str | None = None) -> None:
        """Record what a step gave (JSON), and the run's outcome when the step decided it.

        Raises LostLease, and Conflict for a step that is not begun, or has its result.
        """
        with self._database.write() as connection:
            now = self._machine()
            _update(connection, run, heartbeat_at=now, **({} if outcome is None else {"outcome": outcome}))
            done = {"state": RunState.SUCCEEDED.value, "ended_at": now, "result": dict(result)}
            mine = _open_step(run.id, name) & (_step.c.attempt == run.attempt)
            if not connection.execute(_step.update().where(mine).values(**done)).rowcount:
                what = f"the step {name} of run {run.id} is not at work"
                raise Conflict(what, mend=f"perene run show {run.id}")

    def succeed(self, run: Run) -> Run:
        """Record that every step is done. Raises LostLease."""
        with self._database.write() as connection:
            _update(connection, run, state=RunState.SUCCEEDED.value, heartbeat_at=self._machine())
            return _one(connection, run.id)

    def fail(self, run: Run, step: str | None, error: Mapping[str, object]) -> Run:
        """Record that a step (None: the run before any) failed, and the run with it. Raises LostLease."""
        with self._database.write() as connection:
            now = self._machine()
            _update(connection, run, state=RunState.FAILED.value, outcome="failed", heartbeat_at=now, error=dict(error))
            if step is not None:
                connection.execute(_step.update().where(_open_step(run.id, step)).values(error=dict(error)))
            _leave_step(connection, run.id, state=RunState.FAILED, at=now)
            return _one(connection, run.id)

    def cancel(self, id: int, *, actor: str, why: str = "", at: datetime) -> Run:
        """Take a run off: a queued one never starts, a running one's worker loses its claim.

        Raises NotAllowed when it has ended.
        """
        with self._database.write() as connection:
            connection.scalar(sa.select(_run.c.id).where(_run.c.id == id).with_for_update(key_share=True))
            run = _one(connection, id)
            if run.state.value not in _OPEN:
                what, why = f"run {id} cannot be cancelled", f"it has ended: {run.state.value}"
                raise NotAllowed(what, why=why, mend=f"perene run show {id}")
            off = {"state": RunState.CANCELLED.value, "outcome": "cancelled"}
            connection.execute(_run.update().where(_run.c.id == id).values(**off))
            _leave_step(connection, id, state=RunState.CANCELLED, at=self._machine())
            audits.record(
                connection, "cancel", f"run {id}", at=at, actor=actor, why=why, before={"state": run.state.value}
            )
            return _one(connection, id)

    def get(self, id: int) -> Run:
        """One run with its steps. Raises NotFound."""
        with self._database.read() as connection:
            return _one(connection, id)

    def last_due(self, trigger: str = SCHEDULE) -> dict[str, datetime]:
        """When each model's newest run of a trigger was due."""
        return self._newest(_run.c.trigger == trigger)

    def last_cycles(self) -> dict[str, datetime]:
        """Up to when no scheduled run of each model is wanting."""
        return self._newest(_stands_for(SCHEDULE))

    def _newest(self, which: sa.ColumnElement[bool]) -> dict[str, datetime]:
        query = sa.select(_run.c.model, sa.func.max(_run.c.due_at)).where(which)
        with self._database.read() as connection:
            rows = connection.execute(query.group_by(_run.c.model)).all()
        return {model: due_at for model, due_at in rows}

    def open_models(self, trigger: str = SCHEDULE) -> set[str]:
        """The models that have a queued or running run of a trigger."""
        query = sa.select(_run.c.model).where(_run.c.trigger == trigger, _run.c.state.in_(_OPEN))
        with self._database.read() as connection:
            return set(connection.scalars(query))

    def counts(self) -> dict[tuple[str, str], int]:
        """How many runs of each model ended so: by their outcome, else by their state."""
        ended = sa.func.coalesce(_run.c.outcome, _run.c.state).label("ended")
        query = sa.select(_run.c.model, ended, sa.func.count()).where(_run.c.state.not_in(_OPEN))
        with self._database.read() as connection:
            rows = connection.execute(query.group_by(_run.c.model, ended)).all()
        return {(model, outcome): count for model, outcome, count in rows}

    def list(
        self,
        model: str | None = None,
        *,
        state: RunState | None = None,
        limit: int | None = None,
        without: str | None = None,
    ) -> list[Run]:
        """The runs with their steps, newest first; those of the trigger ``without`` are left out."""
        where = [] if model is None else [_run.c.model == model]
        if state is not None:
            where.append(_run.c.state == state.value)
        if without is not None:
            where.append(_run.c.trigger != without)
        with self._database.read() as connection:
            return _read(connection, *where, limit=limit)


def _stands_for(trigger: str) -> sa.ColumnElement[bool]:
    """The runs that count as one of a trigger: its own, however they ended; for a scheduled one also a cycle that
    somebody asked for, unless it failed or was cancelled.
    """
    own = _run.c.trigger == trigger
    if trigger != SCHEDULE:
        return own
    return own | ((_run.c.trigger != OFFLINE) & _run.c.state.in_((*_OPEN, RunState.SUCCEEDED.value)))


def _queue(connection: sa.Connection, cause: Mapping[str, object], *, created_at: datetime, actor: str) -> Run:
    new = {**cause, "created_at": created_at, "actor": actor, "state": RunState.QUEUED.value, "attempt": 0, "deaths": 0}
    id = connection.scalars(_run.insert().values(**new).returning(_run.c.id)).one()
    told = {"trigger": cause["trigger"], "run": id}
    audits.record(connection, "run", f"model {cause['model']}", at=created_at, actor=actor, after=told)
    return _one(connection, id)


def _claimed(connection: sa.Connection, *, silent_since: datetime, model: str | None) -> int | None:
    """The run that comes next, kept from others until the transaction ends; None when there is none.

    A model is looked at again behind a lock on its row: only then do all claims of its runs show. What others hold is
    passed over, never waited for: they may be waiting for that row.
    """
    passed: list[str] = []
    while True:
        free = _claimable(silent_since).where(_run.c.model.not_in(passed))
        free = free if model is None else free.where(_run.c.model == model)
        found = connection.execute(free.with_for_update(of=tables.model, key_share=True, skip_locked=True)).first()
        if found is None:
            return None
        passed.append(found.model)
        again = connection.execute(_claimable(silent_since).where(_run.c.model == found.model)).first()
        if again is not None:
            takes = sa.select(_run.c.id).where(_run.c.id == again.id, _is_free(silent_since))
            id: int | None = connection.scalar(takes.with_for_update(key_share=True, skip_locked=True))
            if id is not None:
                return id


def _is_free(silent_since: datetime) -> sa.ColumnElement[bool]:
    """Whether a run is queued, or its worker silent."""
    return sa.or_(_run.c.state == RunState.QUEUED.value, _is_silent(silent_since))


def _is_silent(silent_since: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(_run.c.state == RunState.RUNNING.value, _run.c.heartbeat_at < silent_since)


def _claimable(silent_since: datetime) -> sa.Select[int, str]:
    """The run that comes next, and its model; runs of a model at work are passed over."""
    other = _run.alias("other")
    at_work = sa.exists().where(
        other.c.model == _run.c.model,
        other.c.id != _run.c.id,
        other.c.state == RunState.RUNNING.value,
        other.c.heartbeat_at >= silent_since,
    )
    return (
        sa.select(_run.c.id, _run.c.model)
        .join(tables.model, tables.model.c.name == _run.c.model)
        .where(_is_free(silent_since), ~at_work)
        .order_by(sa.case((_is_silent(silent_since), 0), else_=1), _run.c.due_at, _run.c.id)
        .limit(1)
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
    if connection.scalar(sa.select(_run.c.id).where(_mine(run)).with_for_update(key_share=True)) is None:
        raise _lost(connection, run)


def _update(connection: sa.Connection, run: Run, **values: object) -> None:
    if not connection.execute(_run.update().where(_mine(run)).values(**values)).rowcount:
        raise _lost(connection, run)


def _lost(connection: sa.Connection, run: Run) -> LostLease:
    now = _one(connection, run.id)
    why = f"it is {now.state.value}" + (f", attempt {now.attempt} by {now.owner}" if now.owner else "")
    what = f"run {run.id} is not attempt {run.attempt} of {run.owner} any more"
    return LostLease(what, why=why, mend=f"nothing, if another worker has it: perene run show {run.id}")


def _open_step(run: int, name: str | None = None) -> sa.ColumnElement[bool]:
    """The step that a run is in, if it is in one."""
    at_work = (_step.c.run == run) & (_step.c.state == RunState.RUNNING.value)
    return at_work if name is None else at_work & (_step.c.name == name)


def _leave_step(connection: sa.Connection, run: int, *, state: RunState, at: datetime | None) -> None:
    """The step that a run was in, if it was in one, works no more."""
    connection.execute(_step.update().where(_open_step(run)).values(state=state.value, ended_at=at))


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
    for row in connection.execute(query.order_by(_step.c.started_at, _step.c.name)).mappings():
        steps[row["run"]].append(Step(**{**row, "state": RunState(row["state"])}))
    return [replace(run, steps=tuple(steps[run.id])) for run in runs]
