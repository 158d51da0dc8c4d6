"""The order of an examination: settings and models, then what they name, then what lives there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path

import sqlalchemy as sa

from perene.clock import MachineClock
from perene.definition.changes import unfit_changes
from perene.definition.project import Project, load_project
from perene.definition.settings import Settings, load_settings
from perene.monitoring.doctor import FreeSpace
from perene.monitoring.doctor.attempts import attempt, broken, failed, fine, warning
from perene.monitoring.doctor.lives import check_alerts, check_runs, check_servers
from perene.monitoring.doctor.stores import check_clock, check_journals, check_space, check_store, check_tables
from perene.monitoring.doctor.versions import check_models
from perene.records.finding import Finding
from perene.repositories.models import Models
from perene.storage import tables
from perene.storage.database import Database
from perene.storage.envelope import Log
from perene.storage.ingests import Ingests
from perene.storage.journal import journal_folder
from perene.storage.migrations import revision_of

_PATIENCE_S = 3.0
_NEVER_RUN = "nothing has run here yet"


def check_project(
    folder: Path, *, environment: str | None, variables: Mapping[str, str], machine: MachineClock, free: FreeSpace
) -> Iterator[Finding]:
    """Everything that is the project's own."""
    try:
        settings = load_settings(folder, environment=environment, variables=variables)
    except Exception as error:  # noqa: BLE001 - as attempt
        yield failed("project", error)
        yield broken("database", "it was not looked at", why="the settings do not say which it is", mend="perene check")
        return
    loaded: list[Project] = []

    def load() -> Iterator[Finding]:
        project = load_project(folder, environment=environment, variables=variables)
        loaded.append(project)
        yield fine("project", f"{settings.project} ({settings.environment}): {', '.join(project.models) or 'no model'}")

    yield from attempt("project", load)
    yield from attempt("space", lambda: check_space(_places(folder, settings), free=free))
    yield from attempt("journals", lambda: check_journals(journal_folder(folder)))
    yield from _check_stored(settings, loaded[0] if loaded else None, machine)


def _check_stored(settings: Settings, project: Project | None, machine: MachineClock) -> Iterator[Finding]:
    """What only the database can tell of."""
    file = _file_of(settings.database)
    if file is not None and not file.exists():
        where = f"there is no database at {file}"
        yield warning("database", _NEVER_RUN, why=where, mend="perene train MODEL, or perene up, makes what is needed")
        if (store := Path(settings.storage)).exists():
            mend = f"bring the database back that belongs to it, or move {store} away and begin anew"
            yield broken("store", f"{store} has what no database knows of", mend=mend)
        return
    try:
        database = Database(settings.database, patience_s=_PATIENCE_S)
    except Exception as error:  # noqa: BLE001 - as attempt
        yield failed("database", error)
        yield _rest()
        return
    with closing(database):
        try:
            is_current = database.is_current
            finding = _written(database) if is_current else None
        except Exception as error:  # noqa: BLE001 - as attempt
            finding, is_current = failed("database", error), False
        yield finding or warning("database", f"{database.name} is empty", mend="perene status makes its tables")
        if is_current:
            yield from _check_known(database, settings, project, machine)
        elif finding is not None:
            yield from attempt("store", lambda: check_store(settings.storage, is_used=None))
            yield _rest()


def _check_known(
    database: Database, settings: Settings, project: Project | None, machine: MachineClock
) -> Iterator[Finding]:
    """What a database that can be asked knows of."""
    if project is not None:
        yield from attempt("declarations", lambda: _check_declarations(project, database, machine))
    yield from attempt("store", lambda: check_store(settings.storage, is_used=_is_used(database)))
    yield from attempt("tables", lambda: check_tables(settings.storage, database, machine))
    yield from attempt("clock", lambda: check_clock(database, machine))
    yield from attempt("servers", lambda: check_servers(database, machine))
    yield from attempt("runs", lambda: check_runs(database, machine, project))
    yield from check_models(database, settings, machine, project)
    yield from attempt("alerts", lambda: check_alerts(database))


def _check_declarations(project: Project, database: Database, machine: MachineClock) -> Iterator[Finding]:
    """Whether the data that is there fits the models as they are declared now; said where it does not."""
    ingests = Ingests(database, machine)
    known = {model.name: model.declaration for model in Models(database).list()}
    unfit = [
        str(mistake)
        for name, model in project.models.items()
        if name in known and any(ingests.highest(name, log) for log in Log)
        for mistake in unfit_changes(known[name], model.declaration(), line=model.line)
    ]
    if unfit:
        mend = "take the changes back, or declare a model of another name"
        yield broken("declarations", "the data that is there does not fit them", why="; ".join(unfit), mend=mend)


def _rest() -> Finding:
    what = "tables, clock, servers, runs, versions and alerts were not looked at"
    return broken("the rest", what, why="the database cannot be asked", mend="mend the database, then perene doctor")


class _TakenBack(Exception):
    """What was written for a try is not kept."""


def _written(database: Database) -> Finding:
    """Write a line for real, and take it back."""
    ask = "SELECT sqlite_version()" if database.dialect == "sqlite" else "SHOW server_version"
    now = sa.func.now()
    line = {"id": "doctor", "address": "", "started_at": now, "heartbeat_at": now, "serves": {}, "lost": 0}
    with suppress(_TakenBack), database.write() as connection:
        schema, told = revision_of(connection), connection.scalar(sa.text(ask))
        connection.execute(tables.server.insert().values(**line))
        raise _TakenBack
    name = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[database.dialect]
    return fine("database", f"{name} {told}, schema {schema}, can be written: {database.name}")


def _is_used(database: Database) -> bool:
    """Whether the store must have something: a version or an append."""
    with database.read() as connection:
        used = (sa.exists(sa.select(table.c.id)) for table in (tables.ingest, tables.model_version))
        return bool(connection.scalar(sa.select(sa.or_(*used))))


def _places(folder: Path, settings: Settings) -> dict[str, Path]:
    """What fills disks, by what it is."""
    file = _file_of(settings.database)
    places = {"journals": folder / ".perene"} | ({"database": file.parent} if file else {})
    return places | ({} if "://" in settings.storage else {"store": Path(settings.storage)})


def _file_of(database: str) -> Path | None:
    """The file of a SQLite database."""
    return Path(database.removeprefix("sqlite:///").partition("?")[0]) if database.startswith("sqlite:///") else None
