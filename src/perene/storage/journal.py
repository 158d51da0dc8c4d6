"""The journal: where a server process writes what it answered, before it answers.

One folder holds the journals of every process of a project. A process (a *writer*) has one SQLite file in WAL mode at
a time, ``<writer>-<number>.db``, and holds a lock on ``<writer>.lock`` while it lives. A rotation leaves the file and
begins the next number; closed files are drained into the lake and unlinked. A lock that nobody holds belongs to a dead
process: whoever takes it may drain that writer's files. Readers may open any file at any time.

What is answered together is one entry, for an entry of each line would cost more than all else of a line. Only lines
whose id the caller gave have entries of their own, and an index: such ids are looked up before every answer.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from perene.errors import StorageError

log = logging.getLogger("perene.journal")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    seq INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    model TEXT NOT NULL,
    lines INTEGER NOT NULL,
    id TEXT,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS entry_id ON entry (id) WHERE id IS NOT NULL;
"""
_INSERT = "INSERT INTO entry (kind, model, lines, id, body) VALUES (?, ?, ?, ?, ?)"
_SELECT = "SELECT kind, model, lines, id, body FROM entry"
_BUSY_S = 10.0


class Entry(NamedTuple):
    """So many lines of a journal in one body. ``kind`` is "prediction" or "truth".

    ``id`` is that of a prediction whose caller gave it, in an entry of its own; else None.
    """

    kind: str
    model: str
    lines: int
    id: str | None
    body: bytes


@dataclass(frozen=True, slots=True, order=True)
class JournalFile:
    """One file of a journal: ``number`` counts a writer's files from 1 and is never used twice."""

    writer: str
    number: int
    path: Path

    @property
    def source(self) -> str:
        """Its name as the source of an append to the lake."""
        return f"journal:{self.writer}:{self.number}"

    def entries(self) -> list[Entry]:
        """Everything in it, in the order of writing. A file that is gone has nothing."""
        with _reading(self.path) as connection:
            return [] if connection is None else [*map(Entry._make, connection.execute(f"{_SELECT} ORDER BY seq"))]

    def unlink(self) -> None:
        """Take it away, once the lake has what it held."""
        for path in (self.path, *_companions(self.path)):
            path.unlink(missing_ok=True)


class Journal:
    """A writer's journal. Any thread may call it; writes take turns.

    ``durability``: "group" and "background" survive a killed process, "fsync" also a power cut. ``rows`` counts the
    lines in the open file; ``failure`` says why nothing can be written at this moment. An open file that somebody takes
    away is noticed: what it holds goes on in a new one, as soon as there is a place for it.
    """

    def __init__(self, folder: Path, writer: str, *, durability: str = "group") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.writer = writer
        self.rows = 0
        self.failure: StorageError | None = None
        self._synchronous = "FULL" if durability == "fsync" else "NORMAL"
        self._turn = threading.RLock()
        self._closed = False
        self._left: list[sqlite3.Connection] = []  # of files that are not written to any more
        lock = take_lock(folder, writer)
        if lock is None:
            raise StorageError(f"the journal {writer} belongs to a living process", mend="start with another writer id")
        self._lock = lock
        self._file = self._next_file(0)
        try:
            self._connection = self._begin(self._file)
        except BaseException:
            os.close(lock)
            raise
        self._made = self._file.path.stat()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Keep other writes and rotations out for a moment."""
        with self._turn:
            yield

    def write(self, entries: Sequence[Entry]) -> None:
        """Write all or nothing, in one transaction. Raises StorageError, and then nothing was written."""
        with self._turn, self._noted():
            self._stay()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(_INSERT, entries)
                self._connection.execute("COMMIT")
            except BaseException:
                self._rollback()
                raise
            self.rows += sum(entry.lines for entry in entries)
            self.failure = None

    def rotate(self) -> None:
        """Leave the open file and begin the next; an empty one stays open. Raises StorageError."""
        with self._turn, self._noted():
            self._stay()
            if self.rows:
                self._go_on()

    def check(self) -> StorageError | None:
        """Mend what can be mended; why nothing can be written at this moment, if so."""
        with self._turn, contextlib.suppress(StorageError), self._noted():
            if not self._closed:
                self._hold_lock()
                self._stay()
                if self.failure is not None:
                    self._go_on()  # a new file is the proof that there is room again
        return self.failure

    def closed(self) -> list[JournalFile]:
        """This writer's files that wait for their drain, oldest first.

        Those that were left are closed here, which takes a tenth of a second for 10,000 lines: no writer waits for it.
        """
        self._let_go()
        with self._turn:
            return [f for f in journal_files(self.folder, self.writer) if f.number < self._file.number]

    def close(self) -> None:
        """End the journal. An empty file goes; one with entries stays for whoever takes the lock next."""
        with self._turn:
            if self._closed:
                return
            self._closed = True
            try:
                with self._noted():
                    self._end()
            except StorageError as error:
                log.error("journal_not_closed writer=%s rows=%d why=%s", self.writer, self.rows, error.why)
            finally:
                self._connection.close()
                self._let_go()
                os.close(self._lock)

    def _let_go(self) -> None:
        while self._left:
            self._left.pop().close()

    def _end(self) -> None:
        if self.rows:
            self._stay()
        self._connection.close()
        if not self.rows:
            self._file.unlink()
        if not journal_files(self.folder, self.writer):
            lock_path(self.folder, self.writer).unlink(missing_ok=True)

    def _next_file(self, after: int) -> JournalFile:
        number = 1 + max((f.number for f in journal_files(self.folder, self.writer)), default=0)
        number = max(number, after + 1)
        return JournalFile(self.writer, number, self.folder / f"{self.writer}-{number}.db")

    def _begin(self, file: JournalFile, entries: Sequence[Entry] = ()) -> sqlite3.Connection:
        """Make a file, with these entries in it, or nothing."""
        with _as_storage_error(file.path):
            connection = sqlite3.connect(file.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode = MEMORY")  # or a process killed here leaves a rollback journal
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(f"PRAGMA synchronous = {self._synchronous}")
                connection.execute("PRAGMA wal_autocheckpoint = 0")  # files are small; it comes when one is closed
                connection.executescript(_SCHEMA)
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(_INSERT, entries)
                connection.execute("COMMIT")
            except BaseException:
                connection.close()
                with contextlib.suppress(OSError):
                    file.unlink()
                raise
        return connection

    def _go_on(self, entries: Sequence[Entry] = ()) -> None:
        """Begin the next file, with these entries in it, and leave the open one, which goes when it is empty."""
        following = self._next_file(self._file.number)
        connection = self._begin(following, entries)
        made = following.path.stat()
        before, closing, held = self._file, self._connection, self.rows
        self._file, self._connection, self._made = following, connection, made
        self.rows = sum(entry.lines for entry in entries)
        self.failure = None
        if entries:
            closing.execute("DELETE FROM entry")  # they are in the new file, should the old one come back
        if held:
            self._left.append(closing)
        else:
            closing.close()
            before.unlink()

    def _stay(self) -> None:
        """See that the open file is where it was made. What one that was taken away holds goes on in the next."""
        with contextlib.suppress(OSError):
            if os.path.samestat(self._file.path.stat(), self._made):
                return
        entries = [*map(Entry._make, self._connection.execute(f"{_SELECT} ORDER BY seq"))]
        self.folder.mkdir(exist_ok=True)  # but not the folder around it, which may be a disk that comes back
        self._hold_lock()
        self._go_on(entries)
        log.warning("journal_taken_away writer=%s rows_kept=%d", self.writer, self.rows)

    def _hold_lock(self) -> None:
        """Take the lock again when somebody took its file away."""
        with contextlib.suppress(OSError):
            if os.path.samestat(lock_path(self.folder, self.writer).stat(), os.fstat(self._lock)):
                return
        lock = take_lock(self.folder, self.writer)
        if lock is None:
            what = f"the lock of the journal {self.writer} was taken away, and another process has it"
            raise StorageError(what, mend="start the server again")
        os.close(self._lock)
        self._lock = lock

    def _rollback(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        """Remember what keeps the journal from being written."""
        try:
            with _as_storage_error(self.folder):
                yield
        except StorageError as error:
            self.failure = error
            raise


class JournalReader:
    """What the journals of every process hold and the lake does not have yet. Any thread may call it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find_given(self, model: str, ids: Iterable[str]) -> dict[str, bytes]:
        """The bodies of predictions by the ids that callers gave; of two with one id, the first of the first file."""
        wanted = list(ids)
        found: dict[str, bytes] = {}
        for file in journal_files(self._folder) if wanted else ():
            with _reading(file.path) as connection:
                if connection is None:
                    continue
                for part in (wanted[i : i + 500] for i in range(0, len(wanted), 500)):
                    where = f"kind = 'prediction' AND model = ? AND id IN ({','.join('?' * len(part))}) ORDER BY seq"
                    for id_, body in connection.execute(f"SELECT id, body FROM entry WHERE {where}", [model, *part]):
                        found.setdefault(id_, body)
        return found

    def entries(self, model: str, kind: str) -> list[Entry]:
        """Everything of one kind that waits for its drain."""
        found: list[Entry] = []
        for file in journal_files(self._folder):
            with _reading(file.path) as connection:
                if connection is not None:
                    cursor = connection.execute(f"{_SELECT} WHERE model = ? AND kind = ? ORDER BY seq", [model, kind])
                    found += map(Entry._make, cursor)
        return found


def read_open(folder: Path) -> JournalReader:
    """Read the journals of a folder, open ones too."""
    return JournalReader(folder)


def journal_folder(project: Path) -> Path:
    """Where the journals of a project on this machine lie."""
    return project / ".perene" / "journal"


def journal_files(folder: Path, writer: str | None = None) -> list[JournalFile]:
    """The files of every writer, or of one, in the order of writer and number."""
    found = []
    for name in (path.name for path in folder.iterdir()) if folder.is_dir() else ():
        stem, _, ending = name.rpartition(".")
        owner, _, number = stem.rpartition("-")
        if ending == "db" and number.isdecimal() and writer in (None, owner):
            found.append(JournalFile(owner, int(number), folder / name))
    return sorted(found)


def lock_path(folder: Path, writer: str) -> Path:
    """The file whose lock says that the writer lives."""
    return folder / f"{writer}.lock"


def take_lock(folder: Path, writer: str) -> int | None:
    """Hold a writer's lock until the returned descriptor is closed; None when a living process holds it."""
    path = lock_path(folder, writer)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        try:
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # somebody cleared the name away in between: what is locked is no longer the writer's lock


@contextlib.contextmanager
def orphans(folder: Path) -> Iterator[list[JournalFile]]:
    """The files that dead processes left, oldest first. Their locks are held meanwhile, so one process drains them."""
    writers = {f.writer for f in journal_files(folder)}
    if folder.is_dir():
        writers |= {path.stem for path in folder.glob("*.lock")}
    locks = {w: lock for w in sorted(writers) if (lock := take_lock(folder, w)) is not None}
    try:
        yield [f for w in locks for f in journal_files(folder, w)]
    finally:
        for writer, lock in locks.items():
            if not journal_files(folder, writer):
                lock_path(folder, writer).unlink(missing_ok=True)
                for left in (*folder.glob(f"{writer}-*.db-wal"), *folder.glob(f"{writer}-*.db-shm")):
                    left.unlink(missing_ok=True)
            os.close(lock)


def _companions(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """A connection that only reads; None when the file is drained and gone, or so new that it has no table yet."""
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)
        try:
            ready = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'entry_id'").fetchone()
        except sqlite3.Error:
            connection.close()
            raise
    except sqlite3.Error:
        if path.exists():
            raise StorageError(f"the journal {path} cannot be read", mend="see that its folder is readable") from None
        yield None
        return
    try:
        with _as_storage_error(path):
            yield connection if ready else None
    finally:
        connection.close()


@contextlib.contextmanager
def _as_storage_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        mend = "free disk space, or see that the folder is there and writable"
        raise StorageError("the journal failed", why=str(error), seen=(str(path),), mend=mend) from error
