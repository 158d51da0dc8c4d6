"""A lake whose folder is away for a while: nothing is read as empty, nothing is made in its place, nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from perene.errors import StorageError
from perene.repositories.models import Models
from perene.storage.database import Database
from perene.storage.envelope import Log
from perene.storage.lake import Lake

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LOG = Log.EXAMPLES


@pytest.fixture
def dialect() -> str:
    """Nothing here depends on the database."""
    return "sqlite"


def rows(key: str) -> pl.DataFrame:
    return pl.DataFrame({"key": [key], "day": [date(2026, 1, 1)]})


@pytest.fixture
def lake(database: Database, tmp_path: Path) -> Lake:
    """A lake in which the model m has one example."""
    Models(database).register("m", {}, NOW)
    made = Lake(str(tmp_path / "store"), database, lambda: NOW)
    made.append("m", LOG, rows("a"), source="a")
    return made


@pytest.fixture(params=["gone", "an empty folder", "a file"])
def away(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], AbstractContextManager[None]]:
    """Take the lake's folder away for a while, each time with something else in its place."""
    store = tmp_path / "store"

    @contextmanager
    def taken() -> Iterator[None]:
        store.rename(tmp_path / "elsewhere")
        if request.param == "an empty folder":
            store.mkdir()
        if request.param == "a file":
            store.write_text("no folder")
        yield
        if request.param == "an empty folder":
            store.rmdir()  # raises where something was made in it
        if request.param == "a file":
            store.unlink()
        (tmp_path / "elsewhere").rename(store)

    return taken


@pytest.fixture(params=["held", "new"])
def either(request: pytest.FixtureRequest, lake: Lake) -> Lake:
    """The lake, with the handle that it holds on its table, or without."""
    return lake if request.param == "held" else Lake(lake._root, lake.ingests._database, lake.machine)


def test_an_append_fails_and_can_be_repeated(either: Lake, away) -> None:
    """Nothing is written into the place of a lake that is away; the same append is there once when it is back."""
    with away():
        for _ in range(2):
            with pytest.raises(StorageError):
                either.append("m", LOG, rows("b"), source="b")
    either.append("m", LOG, rows("b"), source="b")

    assert sorted(either.scan("m", LOG).collect()["key"]) == ["a", "b"]


def test_a_read_fails(either: Lake, away) -> None:
    """A log that is away is not an empty one."""
    with away():
        with pytest.raises(StorageError, match="is not where it was") as caught:
            either.scan("m", LOG)

    assert caught.value.code == "storage-away"
    assert either.scan("m", LOG).collect()["key"].to_list() == ["a"]


def test_settling_decides_nothing(either: Lake, away) -> None:
    """An append whose rows are in a lake that is away is not made void."""
    number = either.ingests.begin("m", LOG, "b").number
    either._write("m", LOG, rows("b"), number)
    with away():
        with pytest.raises(StorageError):
            either.settle("m", LOG)
    either.settle("m", LOG)

    assert sorted(either.scan("m", LOG).collect()["key"]) == ["a", "b"]


def test_a_log_that_never_was_is_empty(lake: Lake) -> None:
    """Where nothing was appended yet, there is nothing to miss."""
    assert lake.scan("m", Log.TRUTHS).collect().is_empty()
    assert lake.settle("m", Log.TRUTHS) == 0
