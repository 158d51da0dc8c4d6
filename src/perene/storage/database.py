"""The relational database: connections, transactions and its schema's version.

Laws, on every dialect. ``read`` sees one state of the database from its first question to its last, and refuses to
write. ``write`` is one transaction: all of it is kept, or (on any exception) nothing. On SQLite a write takes the only
write lock at its beginning, so what it reads stays true until it ends. On PostgreSQL writes go side by side, and each
question of one sees what others have committed by then: what must stay true is kept by a lock that everyone takes who
could change it, first of all ``repositories.models.lock_model``, or ``take_turn`` where there is no row yet. Whoever
holds a run's claim (its row) may wait for its model's row, and nobody the other way round. Any thread may use one
Database. The database's own errors arrive as StorageError, except sqlalchemy.exc.IntegrityError: whoever writes knows
what a broken constraint means.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from sqlalchemy import event

from perene.errors import StorageError
from perene.storage import migrations
from perene.storage.failures import storage_error

if TYPE_CHECKING:
    import psycopg

_WRITES: Final = "perene_writes"  # execution option: this connection's transactions write
_OLDEST_SERVER: Final = 14  # of PostgreSQL's versions: the oldest that its makers still mend
_CONNECT_S: Final = "10"  # how long a server may take to answer at all
_STILL_S: Final = 300  # how long a process that stands still in a transaction keeps its locks


class Database:
    """One database, by its SQLAlchemy URL: a SQLite file or PostgreSQL.

    ``patience_s``: how long a write waits for another's end, before it raises StorageError ("database-busy").
    """

    def __init__(self, url: str, *, patience_s: float = 30.0) -> None:
        parsed = _parse(url)
        is_file = parsed.get_backend_name() == "sqlite"
        self.name = str(parsed.database) if is_file else _shown(parsed)
        self.engine = _sqlite_engine(parsed, patience_s) if is_file else _server_engine(parsed, self.name, patience_s)

    @property
    def dialect(self) -> str:
        """ "sqlite" or "postgresql"."""
        return self.engine.dialect.name

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection that sees one state of the database and cannot write. Raises StorageError."""
        with self._transaction(writes=False) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A connection in one transaction: committed at the end, rolled back on any exception. Raises StorageError."""
        with self._transaction(writes=True) as connection:
            yield connection

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever made in it. A file that is not there is not made by asking."""
        if self.dialect == "sqlite" and _file_at(self.name) is None and not self.name.startswith("file:"):
            return True
        with self.read() as connection:
            return migrations.revision_of(connection) is None

    @property
    def is_current(self) -> bool:
        """Whether its schema is this code's. Raises StorageError when a newer perene wrote it."""
        with self.read() as connection:
            return self._is_current(connection)

    def migrate(self) -> None:
        """Bring the schema to this code's version; of several processes one does it.

        Raises StorageError when a newer perene wrote the database.
        """
        if self.is_current:
            return
        with self.write() as connection:
            take_turn(connection, "schema")
            if not self._is_current(connection):
                migrations.upgrade(connection)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self.engine.dispose()

    def _is_current(self, connection: sa.Connection) -> bool:
        revision = migrations.revision_of(connection)
        if revision is not None and revision not in migrations.REVISIONS:
            raise StorageError(
                f"the database {self.name} was written by a newer perene",
                why=f"its schema is {revision}; this perene knows {migrations.REVISIONS[-1]} and older",
                mend="upgrade perene",
                code="database-newer",
            )
        return revision == migrations.REVISIONS[-1]

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[sa.Connection]:
        try:
            with self.engine.connect() as plain:
                connection = plain.execution_options(**{_WRITES: writes})
                with connection.begin() as transaction:
                    yield connection
                    if not writes:
                        transaction.rollback()
        except sa.exc.IntegrityError:
            raise
        except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
            raise storage_error(error, self.name) from error


def take_turn(connection: sa.Connection, what: str) -> None:
    """Write about ``what`` one after another, until the transaction ends: where there may be no row yet to lock."""
    if connection.dialect.name == "postgresql":  # on SQLite all writes take turns
        name = f"perene {what}"
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(name, 0))))


def _shown(url: sa.URL) -> str:
    """Which database of which server: a password can stand in many places of a URL, so nothing else is shown."""
    host = url.host or next(iter(url.normalized_query.get("host", ())), "")
    return sa.URL.create("postgresql", url.username, None, host, url.port, url.database).render_as_string()


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise _bad_url(str(error)) from error
    except ValueError:  # it names what may be a part of the password
        raise _bad_url("its port is not a number; in a password, write %2F for / and %40 for @") from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise _bad_url(f"{parsed.get_backend_name()} is neither sqlite nor postgresql")
    if password := parsed.query.get("password"):  # SQLAlchemy hides one only where it expects it
        parsed = parsed.difference_update_query(["password"]).set(password=str(password))
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise _bad_url("a SQLite database in memory is lost with its process")
    return parsed


def _bad_url(why: str) -> StorageError:
    return StorageError(
        "the setting `database` names no database",
        why=why,
        mend='write database = "sqlite:///.perene/perene.db" or "postgresql+psycopg://user@host/name"',
        code="database-url",
    )


def _sqlite_engine(url: sa.URL, patience_s: float) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"timeout": patience_s}, pool_timeout=patience_s)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, record: sa.pool.ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself; `begin` below does
        _set_pragmas(connection, patience_s)
        record.info["file"] = _file_at(str(url.database))

    @event.listens_for(engine, "checkout")
    def stay(_connection: object, record: sa.pool.ConnectionPoolEntry, _proxy: object) -> None:
        if record.info["file"] != _file_at(str(url.database)):  # what it would write into is gone with its last user
            raise sa.exc.DisconnectionError("the file was moved away, deleted or replaced")

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql(f"PRAGMA query_only = {int(not writes)}")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _file_at(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _set_pragmas(connection: sqlite3.Connection, patience_s: float) -> None:
    for pragma in (
        f"busy_timeout = {int(patience_s * 1000)}",
        "journal_mode = WAL",
        "synchronous = NORMAL",  # survives a killed process; a power cut may take the last commits
        "foreign_keys = ON",
        "secure_delete = ON",  # what is erased is overwritten
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _server_engine(url: sa.URL, name: str, patience_s: float) -> sa.Engine:
    url = url if "connect_timeout" in url.query else url.update_query_dict({"connect_timeout": _CONNECT_S})
    try:
        engine = sa.create_engine(url, pool_pre_ping=True, pool_timeout=patience_s)
    except ModuleNotFoundError as error:
        raise StorageError(
            "PostgreSQL's driver is not installed",
            why=str(error),
            mend='pip install "perene[postgres]"',
            code="package-missing",
        ) from error
    except sa.exc.ArgumentError as error:
        raise _bad_url(str(error)) from error

    @event.listens_for(engine, "connect", insert=True)
    def prepare(connection: psycopg.Connection, _record: object) -> None:
        version = connection.info.server_version
        if version < _OLDEST_SERVER * 10_000:
            connection.close()
            raise _too_old(name, version)
        # Whatever the server's own settings are.
        connection.execute(
            f"SET timezone = 'UTC'; SET lock_timeout = {max(1, int(patience_s * 1000))}; "
            f"SET default_transaction_isolation = 'read committed'; "
            f"SET idle_in_transaction_session_timeout = {_STILL_S * 1000}"
        )
        connection.commit()

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        if not connection.get_execution_options().get(_WRITES, False):
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

    return engine


def _too_old(name: str, version: int) -> StorageError:
    return StorageError(
        f"the server of the database {name} is too old",
        why=f"it is PostgreSQL {version // 10_000}; perene needs {_OLDEST_SERVER} or newer",
        mend="upgrade the server",
        code="database-too-old",
    )
