"""What the database's own errors mean to a person."""

from __future__ import annotations

import re
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
_AWAY = _Meaning(
    "database-unreachable",
    "the database {name} does not answer",
    "start its server, or mend host and port in the setting `database`",
)
_NO_ENTRY = _Meaning(
    "database-login",
    "the database {name} does not let this user in",
    "mend user and password in the setting `database`",
)
_MISSING = _Meaning("database-missing", "there is no database {name}", "create it on its server (createdb), empty")
_CROWDED = _Meaning(
    "database-busy",
    "the server of the database {name} has no connection left",
    "try again; raise max_connections on the server",
)
_BAD_OPTION = _Meaning(
    "database-url", "the setting `database` has an option that PostgreSQL does not know", "mend what follows its `?`"
)
_FORBIDDEN = _Meaning(
    "database-read-only",
    "this user may not write the database {name}",
    "let it make and write tables (GRANT CREATE ON SCHEMA public), or make it the database's owner",
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
    ("53300", _CROWDED),  # too_many_connections
    ("25006", _READ_ONLY),
    ("42501", _FORBIDDEN),  # insufficient_privilege
    ("08", _AWAY),
    ("28", _NO_ENTRY),  # invalid authorization
    ("3D", _MISSING),
    ("57P", _AWAY),  # shutting down
    ("25P03", _AWAY),  # idle_in_transaction_session_timeout
    ("58", _DISK),
    ("42P01", _SCHEMA),
    ("42703", _SCHEMA),
    ("XX001", _DAMAGED),
)


# What PostgreSQL says where a connection fails: no SQLSTATE comes then. The first that is found holds; else it is away.
_REFUSALS = (
    (r"too many (connections|clients)|remaining connection slots", _CROWDED),
    (r'FATAL:  database ".*" does not exist', _MISSING),
    (r"password|pg_hba\.conf|FATAL:  (role|permission denied)", _NO_ENTRY),
)


def storage_error(error: sa.exc.SQLAlchemyError, name: str) -> StorageError:
    """The StorageError for an error of SQLAlchemy; ``name`` is the database's, without its password."""
    theirs = getattr(error, "orig", None)
    mark = getattr(theirs, "sqlite_errorname", None) or getattr(theirs, "sqlstate", None)
    why = str(theirs or error).strip() + (f" ({mark})" if mark else "")
    meaning = _meaning(error, mark, why)
    return StorageError(meaning.what.format(name=name), why=why, mend=meaning.mend, code=meaning.code)


def _meaning(error: sa.exc.SQLAlchemyError, mark: str | None, text: str) -> _Meaning:
    if isinstance(error, sa.exc.TimeoutError):  # every connection of the pool is taken
        return _BUSY
    if mark is not None:
        return next((meaning for start, meaning in _MEANINGS if mark.startswith(start)), _FAILED)
    if isinstance(error, sa.exc.OperationalError):
        return next((meaning for said, meaning in _REFUSALS if re.search(said, text)), _AWAY)
    return _BAD_OPTION if "connection option" in text or "URI query parameter" in text else _FAILED
