"""A database that was restored from an older copy, and reads whose files are gone meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from perene.errors import StorageError
from perene.repositories.models import Models
from perene.storage.database import Database
from perene.storage.envelope import Log
from perene.storage.lake import Lake, collected
from perene.storage.tables import ingest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LOG = Log.EXAMPLES


@pytest.fixture
def dialect() -> str:
    """Nothing here depends on the database."""
    return "sqlite"


@pytest.fixture
def lake(database: Database, tmp_path: Path) -> Lake:
    """A lake of a database that knows the model m."""
    Models(database).register("m", {}, NOW)
    return Lake(str(tmp_path / "store"), database, lambda: NOW)


def append(lake: Lake, *sources: str) -> list[int]:
    """Append a row of each source."""
    day = pl.Series([NOW.date()])
    return [lake.append("m", LOG, pl.DataFrame({"key": [s], "day": day}), source=s) for s in sources]


def keys(lake: Lake) -> list[str]:
    """What is read."""
    return sorted(lake.scan("m", LOG).collect()["key"])


def restore(database: Database, upto: int) -> None:
    """Bring the database back to when this number was its last."""
    with database.write() as connection:
        connection.execute(ingest.delete().where(ingest.c.id > upto))


def refused(lake: Lake) -> StorageError:
    """The error that the next append meets; nothing came of it."""
    before = keys(lake)
    with pytest.raises(StorageError) as caught:
        append(lake, "new")
    assert keys(lake) == before
    return caught.value


def test_a_database_older_than_its_tables_is_refused(lake: Lake, database: Database) -> None:
    """It would give numbers again that rows have already: rows of two appends would be one, or none."""
    first, *_, last = append(lake, "a", "b", "c")
    restore(database, upto=first)

    error = refused(lake)

    assert error.code == "storage-ahead"
    assert error.why == f"the table has appends up to number {last}, and the database knows of none after {first}"
    assert "together" in error.mend
    assert keys(lake) == ["a"]  # what the database knows is read as it was


def test_a_new_database_beside_an_old_store_is_refused(
    lake: Lake, new_database: Callable[[], Database], tmp_path: Path
) -> None:
    """As of a project whose database file was deleted, or of two projects with one storage."""
    append(lake, "a")
    other = new_database()
    Models(other).register("m", {}, NOW)

    assert refused(Lake(str(tmp_path / "store"), other, lambda: NOW)).code == "storage-ahead"


def test_neither_compaction_nor_vacuum_hide_that_a_database_is_old(lake: Lake, database: Database) -> None:
    """Their commits come last, may be all that is left of the table's history, and say what those before them said."""
    first, *_ = append(lake, "a", "b", "c")
    lake.compact("m", LOG)
    lake.vacuum("m", LOG, keep=timedelta(0))
    DeltaTable(f"{lake._root}/m/{LOG}").create_checkpoint()
    *older, newest = sorted(Path(lake._root).glob("m/examples/_delta_log/*.json"))
    assert "VACUUM END" in newest.read_text()
    for commit in older:
        commit.unlink()  # as after a day
    restore(database, upto=first)

    assert refused(lake).code == "storage-ahead"


def test_a_slow_writer_does_not_hide_that_a_database_is_old(lake: Lake, database: Database) -> None:
    """An append that began first and came into the table last has a lower number than the table holds."""
    slow = lake.ingests.begin("m", LOG, "slow").number
    append(lake, "quick")
    append(lake, "slow")
    restore(database, upto=slow)

    assert refused(lake).code == "storage-ahead"


def test_the_newer_database_goes_on_where_it_was(lake: Lake, new_database: Callable[[], Database]) -> None:
    """Once the right copy is there, nothing is left of the refusal."""
    append(lake, "a", "b")
    other = new_database()
    Models(other).register("m", {}, NOW)
    refused(Lake(lake._root, other, lambda: NOW))

    append(lake, "c")

    assert keys(lake) == ["a", "b", "c"]


def test_a_read_whose_files_are_vacuumed_under_it_is_made_anew(lake: Lake, database: Database) -> None:
    """Another process compacts and vacuums between a scan and its reading: the rows are those of the scan."""
    append(lake, "a", "b", "c")
    elsewhere = Lake(lake._root, database, lambda: NOW)
    scans: list[pl.LazyFrame] = []

    def ask() -> pl.LazyFrame:
        scans.append(lake.scan("m", LOG))
        if len(scans) == 1:
            elsewhere.compact("m", LOG)
            elsewhere.vacuum("m", LOG, keep=timedelta(0))
        return scans[-1]

    found = collected(ask, "m", LOG)

    assert sorted(found["key"]) == ["a", "b", "c"]
    assert len(scans) == 2


def test_a_read_whose_files_are_gone_for_good_is_an_error(lake: Lake, tmp_path: Path) -> None:
    """It is not tried for ever."""
    append(lake, "a")
    for file in tmp_path.glob("store/m/*/day=*/*.parquet"):
        file.unlink()

    with pytest.raises(StorageError, match="the table examples of m could not be read"):
        collected(lambda: lake.scan("m", LOG), "m", LOG)
