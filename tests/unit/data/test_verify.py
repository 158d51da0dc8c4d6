"""The proof that a version still reads back what it held."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from perene.errors import StorageError
from perene.storage.envelope import Log

NOW = "2013-01-31 12:00"
LATER = "2013-02-03 12:00"


@pytest.fixture
def cut(bench):
    """A bench with one version, of 17 to 29 January."""
    bench.declare(revisit="30d", examples="source+log")
    bench.collect(NOW)
    bench.cut(NOW)
    return bench


def tampered(bench, day: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Write the rows of a day anew in the table itself, past the lake."""
    uri = f"{bench.folder}/store/trip-late/{Log.EXAMPLES}"
    rows = pl.scan_delta(uri).filter(pl.col("day") == bench.instant(day).date()).collect()
    write_deltalake(DeltaTable(uri), change(rows), mode="overwrite", predicate=f"day = '{day}'")


def days(bench) -> list[str]:
    """The days that version 1 is found to differ in."""
    verified = bench.datasets.verify(bench.model, 1)
    assert not verified.ok
    assert verified.then == bench.datasets.get("trip-late", 1).digest != verified.now
    return [day.isoformat() for day in verified.days]


def test_an_untouched_version_is_what_it_was(cut):
    """The digest of its rows, read again, is that of its making."""
    version = cut.datasets.get("trip-late", 1)
    verified = cut.datasets.verify(cut.model, version)

    assert verified.ok
    assert verified.then == verified.now == version.digest
    assert verified.rows == version.rows
    assert verified.days == ()


def new_days(bench) -> None:
    bench.collect(LATER)


def corrections_and_retractions(bench) -> None:
    bench.told = bench.told.filter(pl.col("starts").dt.day() != 20).with_columns(
        late=~pl.col("late"), miles=pl.col("miles") + 1
    )
    bench.collect(LATER)


def late_labels(bench) -> None:
    row = bench.trips("2013-01-20", 1, a_day=1).with_columns(rider=pl.lit("r9"))
    bench.predict(row, ["p9"], source="first")
    bench.collect(LATER)
    bench.tell(row, source="truth", ids=["p9"], known_at=bench.instant("2013-02-03 18:00"))
    bench.collect("2013-02-04")


def imports(bench) -> None:
    bench.bring(bench.trips("2013-01-15", 20, a_day=5), LATER)


def labels_of_the_past(bench) -> None:
    rows = bench.told.with_columns(late=~pl.col("late"), ended=pl.col("starts") + timedelta(minutes=1))
    bench.bring(rows, NOW)  # known long before the version was cut, but said after it


def compaction(bench) -> None:
    new_days(bench)
    for riders in range(4, 9):
        bench.bring(bench.trips("2013-01-25", 1, a_day=riders), LATER)
    day = bench.folder / f"store/trip-late/{Log.EXAMPLES}/day=2013-01-25"
    assert len(list(day.glob("*.parquet"))) == 6
    bench.lake.compact("trip-late", Log.EXAMPLES)
    bench.lake.vacuum("trip-late", Log.EXAMPLES, keep=timedelta(0))
    assert len(list(day.glob("*.parquet"))) == 1


@pytest.mark.parametrize(
    "came", [new_days, corrections_and_retractions, late_labels, imports, labels_of_the_past, compaction]
)
def test_whatever_comes_later_a_version_is_what_it_was(cut, came):
    """Its digest and its rows stay, and a version that is cut then has others."""
    before = cut.read(1)
    came(cut)
    later = cut.cut("2013-02-04")

    assert cut.datasets.verify(cut.model, 1).ok
    assert cut.read(1) == before
    assert cut.datasets.verify(cut.model, later).ok
    assert later.digest != cut.datasets.get("trip-late", 1).digest


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.with_columns(label=~pl.col("label")),
        lambda rows: rows.with_columns(label=pl.lit(None, dtype=pl.Boolean)),
        lambda rows: rows.with_columns(row=pl.col("row").struct.with_fields(miles=pl.field("miles") + 1e-12)),
        lambda rows: rows.with_columns(known_at=pl.col("known_at") + timedelta(microseconds=1)),
        lambda rows: rows.with_columns(key=pl.lit('["r7"]') + pl.col("key")),
        lambda rows: rows.with_columns(event_at=pl.col("event_at") + timedelta(microseconds=1)),
        lambda rows: rows.with_columns(retracted=pl.lit(value=True)),
        lambda rows: rows.head(2),
        lambda rows: rows.clear(),
        lambda rows: pl.concat([rows, rows.head(1).with_columns(key=pl.lit("[9]"))]),
    ],
    ids=["label", "no label", "field", "known_at", "key", "time", "retracted", "one less", "none left", "one more"],
)
def test_a_day_that_was_tampered_with_is_named(cut, change):
    """Any cell, row or day that differs is found, and where."""
    tampered(cut, "2013-01-20", change)

    assert days(cut) == ["2013-01-20"]


def test_all_days_that_were_tampered_with_are_named(cut):
    """The others are not."""
    for day in ("2013-01-17", "2013-01-29"):
        tampered(cut, day, lambda rows: rows.with_columns(label=~pl.col("label")))

    assert days(cut) == ["2013-01-17", "2013-01-29"]


def test_rows_that_were_put_into_a_day_without_appends_are_found(bench):
    """Rows under the number of an append that did not touch their day are rows that the version did not hold."""
    bench.told = bench.told.filter(pl.col("starts").dt.day() != 20)
    bench.collect(NOW)
    bench.cut(NOW)
    uri = f"{bench.folder}/store/trip-late/{Log.EXAMPLES}"
    rows = pl.scan_delta(uri).filter(pl.col("day") == bench.instant("2013-01-19").date()).collect()
    moved = rows.with_columns(pl.col("event_at", "known_at", "day") + timedelta(days=1))
    write_deltalake(DeltaTable(uri), moved, mode="append")

    assert days(bench) == ["2013-01-20"]


def test_the_same_rows_in_other_files_are_no_difference(cut):
    """What is proven is the rows, not the bytes of their files."""
    for day in ("2013-01-19", "2013-01-20"):
        tampered(cut, day, lambda rows: rows.reverse().select(*reversed(rows.columns)))

    assert cut.datasets.verify(cut.model, 1).ok


def test_kept_digests_do_not_hide_what_was_tampered_with(cut):
    """Verification reads the examples, although the digests of their days are kept."""
    tampered(cut, "2013-01-20", lambda rows: rows.with_columns(label=~pl.col("label")))
    again = cut.cut("2013-01-31 18:00")  # uses the kept digests, and proves what the days held

    assert not cut.datasets.verify(cut.model, again).ok


def test_a_day_that_the_window_divides_is_named_too(bench):
    """Its digest is not kept, but where every kept one is right it is that day which differs."""
    bench.declare(train_on="55h", test_on="60h")
    bench.collect(NOW)
    bench.cut(NOW)  # from 25 January 05:00 on
    tampered(bench, "2013-01-25", lambda rows: rows.with_columns(label=~pl.col("label")))

    assert days(bench) == ["2013-01-25"]


def test_a_damaged_file_is_told_as_such(cut):
    """A file of the table that cannot be read is a storage error with its table, not an error of a library."""
    file = next((cut.folder / "store").rglob("day=2013-01-2*/*.parquet"))
    file.write_bytes(file.read_bytes()[:100])

    with pytest.raises(StorageError, match="the table examples of trip-late could not be read"):
        cut.datasets.verify(cut.model, 1)
