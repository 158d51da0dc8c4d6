"""Generations as SQLite files of their own, so that a load never holds the database's write lock.

Rows are added in the order in which they come and the index is built at the end: three times as quick as a table that
is kept in the order of its keys. The file has another name until it is whole and on the disk.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from perene.errors import StorageError
from perene.storage.generations import GenerationGone, Kept
from perene.storage.journal import lock_path, take_lock

_AT_ONCE = 300  # rows of one statement: fewer hand-overs of the interpreter's lock than row by row
_ASKED = 500
_STORE_AGAIN = "store the predictions again: perene predict MODEL --store"
_LOAD = (
    "page_size = 8192",
    "journal_mode = OFF",  # a file that is not whole is thrown away
    "synchronous = OFF",
    "locking_mode = EXCLUSIVE",
    "cache_size = -65536",
    "temp_store = FILE",  # the index is sorted on disk, in bounded memory
)


class FileGenerations:
    """The generations of a project on this machine: ``folder/<model>/<number>.db``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, model: str, number: int) -> _WritingFile:
        """Begin to write one."""
        folder = self._folder / model
        with _as_storage_error(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = take_lock(folder, str(number))
            if lock is None:
                raise StorageError(f"another process writes {_path(folder, number)}", mend="wait until it has ended")
            try:
                return _WritingFile(_path(folder, number), lock)
            except BaseException:
                os.close(lock)
                raise

    def open(self, model: str, number: int) -> _ReadingFile:
        """Read a finished one."""
        return _ReadingFile(_path(self._folder / model, number))

    def is_written(self, model: str, number: int) -> bool:
        """Whether the lock of its writer is held."""
        folder = self._folder / model
        if not lock_path(folder, str(number)).exists():
            return False
        lock = take_lock(folder, str(number))
        if lock is None:
            return True
        os.close(lock)
        return False

    def remove(self, model: str, number: int) -> None:
        """Unlink it; who has it open goes on reading."""
        path = _path(self._folder / model, number)
        with _as_storage_error(path):
            for each in (path, path.with_suffix(".part"), lock_path(path.parent, str(number))):
                each.unlink(missing_ok=True)


class _WritingFile:
    def __init__(self, path: Path, lock: int) -> None:
        self._path, self._lock = path, lock
        self._part = path.with_suffix(".part")
        self._part.unlink(missing_ok=True)
        self._connection = sqlite3.connect(self._part, isolation_level=None, check_same_thread=False)
        for pragma in _LOAD:
            self._connection.execute(f"PRAGMA {pragma}").fetchall()
        self._connection.execute("CREATE TABLE stored (key TEXT NOT NULL, event_at INTEGER NOT NULL, body BLOB)")
        self._connection.execute("BEGIN")

    def add(self, keys: Sequence[str], events: Sequence[int], bodies: Sequence[bytes]) -> None:
        """Add rows."""
        with _as_storage_error(self._part):
            for start in range(0, len(keys), _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                rows = list(chain.from_iterable(zip(keys[part], events[part], bodies[part], strict=True)))
                marks = ",".join(["(?,?,?)"] * (len(rows) // 3))
                self._connection.execute(f"INSERT INTO stored VALUES {marks}", rows)

    def finish(self) -> int:
        """Index it, write it through to the disk, and give it its name."""
        with _as_storage_error(self._part):
            self._connection.execute("CREATE INDEX by_key ON stored (key, event_at)")
            (keys,) = self._connection.execute("SELECT count(DISTINCT key) FROM stored").fetchone()
            self._connection.execute("COMMIT")
            self._connection.close()
            _write_through(self._part)
            self._part.rename(self._path)
            _write_through(self._path.parent)
        return int(keys)

    def close(self) -> None:
        """Let go of the lock; what has not got its name is taken away."""
        if self._lock < 0:
            return
        self._connection.close()
        self._part.unlink(missing_ok=True)
        lock_path(self._path.parent, self._path.stem).unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = -1


class _ReadingFile:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = threading.Lock()
        with _as_storage_error(path):
            if not path.exists():
                raise GenerationGone(
                    f"{path} is gone", mend="store the predictions again: perene predict MODEL --store"
                )
            # It never changes: no lock is taken and no change is looked for.
            uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
            self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)

    def find(self, keys: Sequence[str]) -> dict[str, Kept]:
        """Look the keys up."""
        found: dict[str, Kept] = {}
        for part in (keys[i : i + _ASKED] for i in range(0, len(keys), _ASKED)):
            query = f"SELECT key, event_at, body FROM stored WHERE key IN ({','.join('?' * len(part))})"
            with self._turn, _as_storage_error(self._path):
                rows = self._connection.execute(f"{query} ORDER BY key, event_at, rowid", part).fetchall()
            found |= {key: Kept(event_at, body) for key, event_at, body in rows}  # the last of a key stays
        return found

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            self._connection.close()


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number}.db"


def _write_through(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _as_storage_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
            what, mend = f"there is no room left for {path}", "free space on its disk, then try again"
            raise StorageError(what, why=str(error), mend=mend, code="disk-full") from error
        mend = "see that its folder is there and writable, then store the predictions again"
        raise StorageError(f"the stored predictions in {path} failed", why=str(error), mend=mend) from error
