"""Which runs are due. A schedule only creates runs; two schedulers create one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from perene.records.run import OFFLINE, SCHEDULE, Run, RunState
from perene.repositories.runs import Runs

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MANUAL = "manual"


def due_at(every: timedelta, now: datetime) -> datetime:
    """The newest due time up to ``now``: a whole number of ``every`` since midnight UTC of 1 January 1970."""
    return now - (now - _EPOCH) % every


def due(every: Mapping[str, timedelta], last: Mapping[str, datetime], *, now: datetime) -> dict[str, datetime]:
    """The models that are due, and since when. What was missed is one run; a model that never ran is due at once.

    ``every`` is each model's period, ``last`` up to when none of its runs is wanting: see
    ``Runs.last_cycles``.
    """
    newest = {model: due_at(period, now) for model, period in every.items()}
    return {model: at for model, at in newest.items() if model not in last or last[model] < at}


def next_due(every: timedelta | None, last: datetime | None, *, now: datetime) -> datetime | None:
    """When the next scheduled run is due: now, where one is due already; None for a model without a schedule."""
    if every is None:
        return None
    newest = due_at(every, now)
    return now if last is None or last < newest else newest + every


def create_due(runs: Runs, every: Mapping[str, timedelta], *, now: datetime, actor: str = "scheduler") -> list[Run]:
    """Create the runs that are due, and give them. A model whose scheduled run still waits or works gets no second one,
    however many schedulers ask at once. A cycle that somebody asked for since the due time stands for it, unless it
    failed: its data are no older.
    """
    at_work = runs.open_models()
    free = {model: period for model, period in every.items() if model not in at_work}
    made = (
        runs.create_next(model, trigger=SCHEDULE, due_at=at, created_at=now, actor=actor)
        for model, at in due(free, runs.last_cycles(), now=now).items()
    )
    return [run for run in made if run is not None]


def create_offline(
    runs: Runs,
    every: Mapping[str, timedelta],
    live_since: Mapping[str, datetime],
    *,
    now: datetime,
    actor: str = "scheduler",
) -> list[Run]:
    """Create the loads of stored predictions that are due, and give them: by the model's own period, and once after
    each release. A model of which nothing is live has none; one whose load waits or works gets no second one.
    """
    last = runs.last_due(OFFLINE)
    newest = {name: max(due_at(every[name], now), since) for name, since in live_since.items() if name in every}
    made = (
        runs.create_next(model, trigger=OFFLINE, due_at=at, created_at=now, actor=actor)
        for model, at in newest.items()
        if model not in last or last[model] < at
    )
    return [run for run in made if run is not None]


def queue(runs: Runs, model: str, *, trigger: str, now: datetime, actor: str) -> Run:
    """A new run that somebody asks for; where time stands, one that was asked for at the same time is another one."""
    due = now
    while True:
        run = runs.create(model, trigger=trigger, due_at=due, created_at=now, actor=actor)
        if run.state is RunState.QUEUED:
            return run
        due += timedelta.resolution
