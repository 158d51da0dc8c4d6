"""Generations as tables of PostgreSQL, filled by COPY; a writer's advisory lock says that it lives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from perene.errors import StorageError
from perene.storage.database import Database
from perene.storage.failures import storage_error
from perene.storage.generations import GenerationGone, Kept

if TYPE_CHECKING:
    import psycopg

_TYPES = ("text", "int8", "int8", "bytea")


class TableGenerations:
    """The generations of a project in its database: ``stored_<number>``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, model: str, number: int) -> _WritingTable:
        """Begin to write one."""
        return _WritingTable(self._database, number)

    def open(self, model: str, number: int) -> _ReadingTable:
        """Read a finished one."""
        return _ReadingTable(self._database, number)

    def is_written(self, model: str, number: int) -> bool:
        """Whether the lock of its writer is held."""
        with self._database.read() as connection:
            return not connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_lock(number))))

    def remove(self, model: str, number: int) -> None:
        """Drop it; look-ups that have begun are waited for."""
        with self._database.write() as connection:
            connection.execute(sa.text(f"DROP TABLE IF EXISTS {_table(number)}"))


class _WritingTable:
    """Its connection is its own, and each statement is kept at once: it holds no transaction open while it computes."""

    def __init__(self, database: Database, number: int) -> None:
        self._database, self._number = database, number
        self._rows = 0
        self._is_finished = False
        with self._as_storage_error():
            self._pooled = database.engine.connect()
            self._pooled.detach()
            connection: Any = self._pooled.connection.dbapi_connection
            self._connection: psycopg.Connection[Any] = connection
            self._connection.autocommit = True
            table = _table(number)
            try:
                self._take_lock()
                self._connection.execute(f"DROP TABLE IF EXISTS {table}".encode())
                columns = 'n bigint NOT NULL, key text COLLATE "C" NOT NULL, event_at bigint NOT NULL, body bytea'
                self._connection.execute(f"CREATE TABLE {table} ({columns})".encode())
            except BaseException:
                self._pooled.close()
                raise

    def add(self, keys: Sequence[str], events: Sequence[int], bodies: Sequence[bytes]) -> None:
        """Add rows."""
        copy = f"COPY {_table(self._number)} (key, event_at, n, body) FROM STDIN (FORMAT BINARY)".encode()
        numbers = range(self._rows, self._rows + len(keys))
        with self._as_storage_error(), self._connection.cursor() as cursor, cursor.copy(copy) as copying:
            copying.set_types(_TYPES)
            for row in zip(keys, events, numbers, bodies, strict=True):
                copying.write_row(row)
        self._rows += len(keys)

    def finish(self) -> int:
        """Index it."""
        table = _table(self._number)
        with self._as_storage_error():
            self._connection.execute(f"CREATE INDEX {table}_by_key ON {table} (key, event_at)".encode())
            self._connection.execute(f"ANALYZE {table}".encode())
            row = self._connection.execute(f"SELECT count(*) FROM (SELECT DISTINCT key FROM {table}) k".encode())
            (keys,) = row.fetchone() or (0,)
            self._is_finished = True
        return int(keys)

    def close(self) -> None:
        """Let go of the lock and the connection; what is not finished is dropped."""
        if self._pooled.closed:
            return
        try:
            if not self._connection.broken:
                with self._as_storage_error():
                    if not self._is_finished:
                        self._connection.execute(f"DROP TABLE IF EXISTS {_table(self._number)}".encode())
                    self._connection.execute("SELECT pg_advisory_unlock(%s)", [_lock(self._number)])  # now, not soon
        finally:
            self._pooled.close()

    def _take_lock(self) -> None:
        row = self._connection.execute("SELECT pg_try_advisory_lock(%s)", [_lock(self._number)]).fetchone()
        if row is None or not row[0]:
            what = f"another process writes {_table(self._number)}"
            raise StorageError(what, mend="wait until it has ended")

    @contextmanager
    def _as_storage_error(self) -> Iterator[None]:
        import psycopg

        try:
            yield
        except psycopg.Error as error:
            wrapped = sa.exc.OperationalError(None, None, error)
            raise storage_error(wrapped, self._database.name) from error
        except sa.exc.DBAPIError as error:
            raise storage_error(error, self._database.name) from error


class _ReadingTable:
    def __init__(self, database: Database, number: int) -> None:
        self._database, self._number = database, number
        order = "ORDER BY key, event_at DESC, n DESC"
        query = f"SELECT DISTINCT ON (key) key, event_at, body FROM {_table(number)} WHERE key = ANY(:keys) {order}"
        self._query = sa.text(query)
        self._ask(lambda connection: connection.execute(self._query, {"keys": []}).all())

    def find(self, keys: Sequence[str]) -> dict[str, Kept]:
        """Look the keys up."""
        rows = self._ask(lambda connection: connection.execute(self._query, {"keys": list(keys)}).all())
        return {row.key: Kept(row.event_at, bytes(row.body)) for row in rows}

    def close(self) -> None:
        """There is nothing to close."""

    def _ask(self, question: Callable[[sa.Connection], Sequence[sa.Row[Any]]]) -> Sequence[sa.Row[Any]]:
        try:
            with self._database.read() as connection:
                return question(connection)
        except StorageError as error:
            if error.code != "database-schema":
                raise
            mend = "store the predictions again: perene predict MODEL --store"
            raise GenerationGone(f"the table {_table(self._number)} is gone", why=error.why, mend=mend) from error


def _table(number: int) -> str:
    return f"stored_{number:d}"


def _lock(number: int) -> int:
    """The number of a writer's advisory lock: ``perene`` in ASCII, then the generation's own."""
    return int.from_bytes(b"per") << 40 | number
