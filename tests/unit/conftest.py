"""A database of one's own for each test, and models with versions in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from perene.records.model import ModelVersion
from perene.repositories.models import Models
from perene.storage import tables
from perene.storage.database import Database


@dataclass
class Clock:
    """A clock that moves when it is told to."""

    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> datetime:
        """Go on; gives the new time."""
        self.now += timedelta(**by)
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands until it is moved."""
    return Clock()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a migrated database without a row. Copy it; do not touch it."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    with database.engine.connect() as connection:
        connection.exec_driver_sql("ROLLBACK").close()
        connection.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    database.close()
    return path


@pytest.fixture
def new_database(empty_database: Path, tmp_path: Path) -> Iterator[Callable[[], Database]]:
    """Make migrated databases, each in a file of its own."""
    made: list[Database] = []

    def make() -> Database:
        path = tmp_path / f"perene-{len(made)}.db"
        made.append(Database(f"sqlite:///{shutil.copy(empty_database, path)}"))
        return made[-1]

    yield make
    for database in made:
        database.close()


@pytest.fixture
def database(new_database: Callable[[], Database]) -> Database:
    """A migrated database without a row."""
    return new_database()


@pytest.fixture(scope="session")
def train() -> Callable[..., ModelVersion]:
    """Add a version to a model (made known when it is not), trained on the model's only dataset version."""
    return _train


def _train(
    database: Database, model: str = "m", *, run: int | None = None, at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
) -> ModelVersion:
    models = Models(database)
    if model not in {known.name for known in models.list()}:
        models.register(model, {}, at)
        times = dict.fromkeys(("created_at", "since", "trained_until", "split", "until", "as_of"), at)
        counts = dict.fromkeys(("ingest", "rows", "train_rows", "test_rows", "labelled", "quarantined"), 0)
        with database.write() as connection:
            connection.execute(
                tables.dataset_version.insert().values(
                    model=model, version=1, digest="d1", recipe="r", changes={}, statistics={}, **times, **counts
                )
            )
    return models.add_version(
        ModelVersion(
            model=model,
            version=0,
            run=run,
            created_at=at,
            bundle=f"b{len(models.versions(model)) + 1}",
            recipe="r",
            dataset=1,
            trained_from=at,
            trained_until=at,
            trained_through=at,
            rows=1,
            label_mean=None,
            seed=0,
            seconds=0.0,
            peak_memory=0,
            parameters={},
            git_commit=None,
            lock="l",
            code="c",
        )
    )
