"""What the database's own errors mean to a person."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from perene.errors import StorageError


class _Meaning(NamedTuple):
    code: str
    what: str
    mend: str


_BUSY = _Meaning(
    "database-busy",
    "the database {name} is locked by another process",
    "try again; end the process that holds a long transaction",
)
_FULL = _Meaning("disk-full", "there is no room left for the database {name}", "free space on its disk, then try again")
_READ_ONLY = _Meaning(
    "database-read-only",
    "the database {name} cannot be written",
    "give this user the right to write the file and its folder",
)
_UNREACHABLE = _Meaning(
    "database-unreachable",
    "the database {name} cannot be opened",
    "check the setting `database`: its folder (or server) must exist",
)
_DAMAGED = _Meaning("database-damaged", "the file {name} is damaged or is no database", "restore it from a backup")
_DISK = _Meaning("disk-failed", "the disk under the database {name} failed", "look at the disk and the system's log")
_SCHEMA = _Meaning(
    "database-schema",
    "the database {name} has no such table or column",
    "perene doctor; where its tables were changed by hand, restore it from a backup",
)
_FAILED = _Meaning("storage", "the database {name} failed", "see what its log says of this, then try again")

# By the beginning of SQLite's error name or of PostgreSQL's SQLSTATE; the first that fits holds.
_MEANINGS = (
    ("SQLITE_BUSY", _BUSY),
    ("SQLITE_LOCKED", _BUSY),
    ("SQLITE_FULL", _FULL),
    ("SQLITE_READONLY", _READ_ONLY),
    ("SQLITE_PERM", _READ_ONLY),
    ("SQLITE_CANTOPEN", _UNREACHABLE),
    ("SQLITE_CORRUPT", _DAMAGED),
    ("SQLITE_NOTADB", _DAMAGED),
    ("SQLITE_IOERR", _DISK),
    ("SQLITE_ERROR", _SCHEMA),
    ("55P03", _BUSY),  # lock_not_available
    ("40P01", _BUSY),  # deadlock_detected
    ("53100", _FULL),
    ("25006", _READ_ONLY),
    ("42501", _READ_ONLY),  # insufficient_privilege
    ("08", _UNREACHABLE),
    ("28", _UNREACHABLE),  # invalid authorization
    ("3D", _UNREACHABLE),  # no such database
    ("57P", _UNREACHABLE),  # shutting down
    ("58", _DISK),
    ("42P01", _SCHEMA),
    ("42703", _SCHEMA),
    ("XX001", _DAMAGED),
)


def storage_error(error: sa.exc.SQLAlchemyError, name: str) -> StorageError:
    """The StorageError for an error of SQLAlchemy; ``name`` is the database's, without its password."""
    theirs = getattr(error, "orig", None)
    mark = getattr(theirs, "sqlite_errorname", None) or getattr(theirs, "sqlstate", None)
    meaning = _meaning(error, mark)
    why = str(theirs or error).strip() + (f" ({mark})" if mark else "")
    return StorageError(meaning.what.format(name=name), why=why, mend=meaning.mend, code=meaning.code)


def _meaning(error: sa.exc.SQLAlchemyError, mark: str | None) -> _Meaning:
    if isinstance(error, sa.exc.TimeoutError):  # every connection of the pool is taken
        return _BUSY
    if mark is None:
        return _UNREACHABLE if isinstance(error, sa.exc.OperationalError) else _FAILED
    return next((meaning for start, meaning in _MEANINGS if mark.startswith(start)), _FAILED)
