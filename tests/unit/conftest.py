"""A database of one's own for each test, and models with versions in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

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


@pytest.fixture(params=["sqlite", "postgresql"])
def dialect(request: pytest.FixtureRequest) -> str:
    """Each kind of database in turn, for the tests that ask for one."""
    return str(request.param)


@dataclass
class Files:
    """Lends SQLite files, as a PostgreSQL server lends databases."""

    empty: Path
    folder: Path
    lent: int = 0

    def lend(self) -> str:
        """A migrated database without a row; gives its URL."""
        self.lent += 1
        return f"sqlite:///{shutil.copy(self.empty, self.folder / f'perene-{self.lent}.db')}"

    def take_back(self, url: str) -> None:
        """Its test has ended."""


@pytest.fixture
def new_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Make migrated databases, each of its own; gives their URLs."""
    get = request.getfixturevalue
    lender = Files(get("empty_database"), tmp_path) if dialect == "sqlite" else get("postgres")
    lent: list[str] = []

    def make() -> str:
        lent.append(lender.lend())
        return lent[-1]

    yield make
    for url in lent:
        lender.take_back(url)


@pytest.fixture
def new_database(new_url: Callable[[], str]) -> Iterator[Callable[[], Database]]:
    """Make migrated databases, each of its own."""
    made: list[Database] = []

    def make() -> Database:
        made.append(Database(new_url()))
        return made[-1]

    yield make
    for database in made:
        database.close()


@pytest.fixture
def emptied(database: Database, request: pytest.FixtureRequest) -> Callable[[], Database]:
    """Empty the test's database, as often as there are examples; gives it."""

    def empty() -> Database:
        database.close()
        if database.dialect == "postgresql":
            request.getfixturevalue("postgres").empty(url_of(database))
        else:
            for path in Path(str(database.name)).parent.glob(f"{Path(str(database.name)).name}-*"):
                path.unlink()  # the log of writes, and its index
            shutil.copy(request.getfixturevalue("empty_database"), str(database.name))
        return database

    return empty


@pytest.fixture
def database(new_database: Callable[[], Database]) -> Database:
    """A migrated database without a row."""
    return new_database()


@pytest.fixture
def sqlite_database(empty_database: Path, tmp_path: Path) -> Iterator[Database]:
    """The same, a SQLite file for sure."""
    database = Database(f"sqlite:///{shutil.copy(empty_database, tmp_path / 'perene.db')}")
    yield database
    database.close()


@pytest.fixture
def beside() -> Iterator[Callable[..., Database]]:
    """Open a database that is open already once more, as another process does."""
    opened: list[Database] = []

    def open_(database: Database, **terms: Any) -> Database:
        opened.append(Database(url_of(database), **terms))
        return opened[-1]

    yield open_
    for database in opened:
        database.close()


def url_of(database: Database) -> str:
    """The URL that opens it."""
    return database.engine.url.render_as_string(hide_password=False)


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
