"""Who lives: servers, workers and the scheduler; and which alerts fire."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from perene.clock import MachineClock
from perene.definition.project import Project
from perene.monitoring.doctor.attempts import fine, warning
from perene.monitoring.status import ALIVE
from perene.records.finding import Finding
from perene.records.run import Run, RunState
from perene.records.server import ServerProcess
from perene.repositories.alerts import Alerts
from perene.repositories.models import Models
from perene.repositories.runs import Runs
from perene.repositories.servers import Servers
from perene.repositories.time import ProjectTime
from perene.storage.database import Database

_LATELY = timedelta(days=1)  # a server that fell silent before is of the past
_LEASE = timedelta(seconds=30)  # a worker that was silent for longer has lost its run
_SHOWN = 3


def check_servers(database: Database, machine: MachineClock) -> Iterator[Finding]:
    """The servers that beat, those that fell silent, what they lost and whether they follow the releases."""
    servers, champions = Servers(database, machine), {m.name: m.champion for m in Models(database).list()}
    alive = servers.alive(ALIVE)
    ids = {server.id for server in alive}
    silent = [server for server in servers.alive(_LATELY) if server.id not in ids]
    behind = [s for s in alive if any(s.serves.get(name) != v for name, v in champions.items() if v is not None)]
    lost = sum(server.lost for server in (*alive, *silent))
    if silent:
        names = ", ".join(f"{s.address} (since {s.heartbeat_at:%Y-%m-%d %H:%M} UTC)" for s in silent[:_SHOWN])
        yield warning(
            "silent servers", f"{len(silent)} ended without a word: {names}", mend="perene serve, if it is needed"
        )
    if lost:
        mend = "free disk space where the journals lie; perene alert list says since when"
        yield warning("lost predictions", f"{lost:,} were answered and could not be logged", mend=mend)
    if behind:
        what = f"{_addresses(behind[:_SHOWN])} answer with another version than the live one"
        yield warning(
            "servers", what, why="they are swapping, or cannot load it", mend="perene status; perene alert list"
        )
    else:
        yield fine("servers", _addresses(alive) or "none runs")


def _addresses(servers: Iterable[ServerProcess]) -> str:
    """Each address once; where several processes share it, how many."""
    counts = Counter(server.address for server in servers)
    return ", ".join(address if n == 1 else f"{address} ({n} processes)" for address, n in counts.items())


def check_runs(database: Database, machine: MachineClock, project: Project | None) -> Iterator[Finding]:
    """Runs at work and their leases, runs that nobody takes, runs that failed, and runs that nobody made."""
    runs = Runs(database, machine)
    at_work, queued = runs.list(state=RunState.RUNNING), runs.list(state=RunState.QUEUED)
    silent = [run for run in at_work if run.heartbeat_at is None or machine() - run.heartbeat_at > _LEASE]
    if silent:
        what = f"{_named(silent)}: the worker has been silent for longer than its lease"
        yield warning("leases", what, why="a worker that lives goes on with them", mend="perene worker")
    working = [run for run in at_work if run not in silent]
    if queued and not working:
        mend = "perene worker, or perene up"
        yield warning("workers", f"{_named(queued)} waits, and no worker is at work", mend=mend)
    elif working:
        yield fine("workers", f"{_named(working)} is at work")
    else:
        yield fine("workers", "no run waits")
    yield from _failures(runs, database)
    if project is not None:
        every = {m.name: m.every for m in project.models.values() if m.every is not None}
        yield from _schedule(every, runs, ProjectTime(database, machine).now())


def _failures(runs: Runs, database: Database) -> Iterator[Finding]:
    """Models whose newest run that ended has failed."""
    for model in Models(database).list():
        newest = runs.list(model.name, limit=5)
        ended = next((run for run in newest if run.state not in (RunState.QUEUED, RunState.RUNNING)), None)
        if ended is not None and ended.state is RunState.FAILED:
            error = ended.error or {}
            yield warning(
                f"last run of {model.name}",
                f"run {ended.id} failed: {error.get('what', '')}",
                why=str(error.get("why") or ""),
                mend=str(error.get("mend") or f"perene run show {ended.id}"),
            )


def _schedule(every: Mapping[str, timedelta], runs: Runs, now: datetime) -> Iterator[Finding]:
    """Models whose next run should have been made long ago."""
    last, open_ = runs.last_cycles(), runs.open_models()
    late = [name for name, period in every.items() if name not in open_ and now - last.get(name, now) > 2 * period]
    never = [name for name in every if name not in last and name not in open_]
    if late:
        what = f"no run was made in time of {', '.join(late)}"
        yield warning(
            "schedule", what, why="a scheduler makes them as time goes on", mend="perene up, or perene scheduler"
        )
    elif never:
        mend = "perene up, or perene scheduler"
        yield warning("schedule", f"nobody has made a run of {', '.join(never)} yet", mend=mend)
    else:
        yield fine("schedule", "every run that was due was made" if every else "no model has one")


def check_alerts(database: Database) -> Iterator[Finding]:
    """What fires."""
    firing = Alerts(database).list(state="firing")
    if not firing:
        yield fine("alerts", "nothing is firing")
        return
    names = ", ".join(f"{a.rule}{f' of {a.model}' if a.model else ''}" for a in firing[:_SHOWN])
    more = f" and {len(firing) - _SHOWN} more" if len(firing) > _SHOWN else ""
    yield warning("alerts", f"{len(firing)} fire: {names}{more}", mend="perene alert list")


def _named(runs: list[Run]) -> str:
    more = f" and {len(runs) - _SHOWN} more" if len(runs) > _SHOWN else ""
    return "run " + ", ".join(f"{run.id} of {run.model}" for run in runs[:_SHOWN]) + more
