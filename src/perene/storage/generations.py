"""Generations of stored predictions: what a load writes whole, and look-ups then read by key.

Laws, of every ``GenerationStore``. A generation is written by one process and read only after ``finish``; then it is
durable and never changes. Of several rows of one key the newest event is found, and of equal ones that which was added
last. What a load leaves unfinished, however it ended, is never read; ``is_written`` tells a load at work from the
rubbish of a dead one, and ``remove`` takes either away. No load holds a lock that a look-up, or the rest of the
database, would wait for. ``remove`` does not disturb a look-up that has begun. Which generation is read is not the
store's business: ``repositories.generations`` keeps the pointer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from perene.errors import StorageError
from perene.storage.database import Database


class Kept(NamedTuple):
    """One stored prediction: when its event is (microseconds since 1970), and all else, as its writer encoded it."""

    event_at: int
    body: bytes


class GenerationGone(StorageError):
    """A generation was removed: look where the pointer leads now."""


class Writing(Protocol):
    """A generation while it is written. Closed before ``finish``, it leaves nothing."""

    def add(self, keys: Sequence[str], events: Sequence[int], bodies: Sequence[bytes]) -> None:
        """Add rows. Raises StorageError."""

    def finish(self) -> int:
        """Make it durable and readable; gives the number of keys. It counts as written until it is closed, so that no
        sweep takes it away before the pointer leads to it. Raises StorageError.
        """

    def close(self) -> None:
        """End; what is not finished is taken away."""


class Reading(Protocol):
    """A finished generation. Any thread may call it."""

    def find(self, keys: Sequence[str]) -> dict[str, Kept]:
        """What is stored of these keys. Raises GenerationGone, StorageError."""

    def close(self) -> None:
        """Let go of it."""


class GenerationStore(Protocol):
    """Where generations lie, by model and number."""

    def begin(self, model: str, number: int) -> Writing:
        """Begin to write one; what lay under this number before is gone. Raises StorageError."""

    def open(self, model: str, number: int) -> Reading:
        """Read a finished one. Raises GenerationGone, StorageError."""

    def is_written(self, model: str, number: int) -> bool:
        """Whether a living process writes it at this moment."""

    def remove(self, model: str, number: int) -> None:
        """Take it away, finished or not; again is the same. Raises StorageError."""


def open_generations(database: Database, project: Path) -> GenerationStore:
    """The store that goes with a database: a file for each generation beside SQLite, a table in PostgreSQL."""
    if database.dialect == "postgresql":
        from perene.storage.generation_tables import TableGenerations

        return TableGenerations(database)
    from perene.storage.generation_files import FileGenerations

    return FileGenerations(project / ".perene" / "stored")
