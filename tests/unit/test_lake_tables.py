"""The lake's tables: what a scan finds, and what compaction and vacuum leave as it was."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from deltalake import DeltaTable

from perene.errors import StorageError
from perene.repositories.models import Models
from perene.storage import lake as lake_module
from perene.storage.database import Database
from perene.storage.envelope import INSTANT, Log
from perene.storage.lake import Lake

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = {"key": pl.String(), "event_at": INSTANT, "day": pl.Date()}
LOG = Log.TRUTHS


@pytest.fixture
def dialect() -> str:
    """Nothing here depends on the database."""
    return "sqlite"


def rows(*keys: str, at: datetime | None = NOW, day: date | None = None) -> pl.DataFrame:
    """One row for each key, of one event time, or of one day."""
    on = day or (at.date() if at else None)
    return pl.DataFrame({"key": keys, "event_at": [at] * len(keys), "day": [on] * len(keys)}, schema=COLUMNS)


@pytest.fixture
def registered(database: Database) -> Database:
    """A database that knows the model m."""
    Models(database).register("m", {}, NOW)
    return database


@pytest.fixture
def lake(registered: Database, tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "store"), registered, lambda: NOW)


def keys(lake: Lake, **question: object) -> list[str]:
    """The keys that a scan finds, sorted."""
    return sorted(lake.scan("m", LOG, columns=COLUMNS, **question).collect()["key"])


def files(lake: Lake) -> int:
    """How many files the newest version of the table has."""
    return len(DeltaTable(f"{lake._root}/m/{LOG}").file_uris())


# ── scans ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def week(lake: Lake) -> tuple[Lake, list[int]]:
    """Seven days with an event at noon and one at midnight each, one append a day."""
    numbers = []
    for i in range(7):
        midnight = NOW + timedelta(days=i)
        frame = pl.concat([rows(f"{i}m", at=midnight), rows(f"{i}n", at=midnight + timedelta(hours=12))])
        numbers.append(lake.append("m", LOG, frame, source=str(i)))
    return lake, numbers


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [
        (timedelta(0), timedelta(days=1), ["0m", "0n"]),
        (timedelta(hours=12), timedelta(days=1, microseconds=1), ["0n", "1m"]),
        (timedelta(hours=12, microseconds=1), timedelta(days=1, hours=12), ["1m"]),
        (timedelta(days=6), None, ["6m", "6n"]),
        (None, timedelta(hours=1), ["0m"]),
        (timedelta(days=9), None, []),
    ],
)
def test_a_scan_takes_events_from_since_and_before_until(
    week: tuple[Lake, list[int]], since: timedelta | None, until: timedelta | None, found: list[str]
) -> None:
    """``since`` is in it, ``until`` is not, to the microsecond."""
    lake, _ = week
    span = {name: NOW + by for name, by in (("since", since), ("until", until)) if by is not None}

    assert keys(lake, **span) == found


def test_instants_of_any_zone_may_be_asked_for(week: tuple[Lake, list[int]]) -> None:
    """A question in another time zone is the same question."""
    lake, _ = week
    auckland = (NOW + timedelta(days=1)).astimezone(ZoneInfo("Pacific/Auckland"))

    assert keys(lake, since=auckland, until=auckland + timedelta(hours=1)) == ["1m"]


def test_a_scan_takes_the_days_it_is_given(week: tuple[Lake, list[int]]) -> None:
    """Only the named partitions, and none when none is named."""
    lake, _ = week
    days = [NOW.date() + timedelta(days=5), NOW.date(), date(1999, 1, 1)]

    assert keys(lake, days=days) == ["0m", "0n", "5m", "5n"]
    assert keys(lake, days=[]) == []


def test_a_scan_ends_with_the_append_it_is_given(week: tuple[Lake, list[int]]) -> None:
    """``upto`` counts itself in; below the first there is nothing."""
    lake, numbers = week

    assert keys(lake, upto=numbers[1]) == ["0m", "0n", "1m", "1n"]
    assert keys(lake, upto=numbers[0] - 1) == []
    assert len(keys(lake, upto=numbers[-1] + 1000)) == 14


def test_a_row_without_an_event_time_counts_by_its_day(lake: Lake) -> None:
    """It is in every question that reaches into its day, and in no other."""
    lake.append("m", LOG, rows("a", at=None, day=NOW.date()), source="s")
    day = timedelta(days=1)

    assert keys(lake, since=NOW, until=NOW + day) == ["a"]
    assert keys(lake, since=NOW + day / 2) == ["a"]
    assert keys(lake, since=NOW + day) == []
    assert keys(lake, until=NOW + timedelta(hours=1)) == ["a"]
    assert keys(lake, until=NOW) == []


def test_a_log_without_a_table_is_empty(lake: Lake) -> None:
    """It has the columns that are asked for, and no row."""
    found = lake.scan("m", LOG, columns=COLUMNS, since=NOW).collect()

    assert found.schema == pl.Schema(COLUMNS)
    assert found.is_empty()


def test_columns_that_came_later_are_null_in_older_rows(lake: Lake) -> None:
    """A new column, and a new field of a struct: older rows have null there, before and after compaction."""
    old = rows("a").with_columns(row=pl.struct(x=pl.lit(1.0)))
    new = rows("b").with_columns(row=pl.struct(x=pl.lit(2.0), z=pl.lit("z")), more=pl.lit(True))
    columns = {"key": pl.String(), "row": pl.Struct({"z": pl.String(), "x": pl.Float64()}), "more": pl.Boolean()}
    lake.append("m", LOG, old, source="1")
    before = lake.scan("m", LOG, columns=columns).collect()
    lake.append("m", LOG, new, source="2")
    lake.append("m", LOG, old.with_columns(key=pl.lit("c")), source="3")

    assert before.rows() == [("a", {"z": None, "x": 1.0}, None)]
    for _ in range(2):
        found = lake.scan("m", LOG, columns=columns).sort("key").collect()
        assert found.schema == pl.Schema(columns)
        assert found.rows() == [
            ("a", {"z": None, "x": 1.0}, None),
            ("b", {"z": "z", "x": 2.0}, True),
            ("c", {"z": None, "x": 1.0}, None),
        ]
        lake.compact("m", LOG)


# ── tidying ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def answers(lake: Lake, numbers: list[int]) -> list[pl.DataFrame]:
    return [lake.scan("m", LOG, columns=COLUMNS, upto=n).sort("key").collect() for n in numbers]


def test_compaction_and_vacuum_keep_every_past_answer(lake: Lake) -> None:
    """Every horizon's answer is the same afterwards, from fewer files."""
    numbers = [lake.append("m", LOG, rows(f"{i:02}"), source=str(i)) for i in range(30)]
    lake.ingests.void(lake.ingests.begin("m", LOG, "void").number)
    before = answers(lake, numbers[::7])

    lake.compact("m", LOG)
    lake.vacuum("m", LOG, keep=timedelta(0))

    assert all(one.equals(other) for one, other in zip(before, answers(lake, numbers[::7]), strict=True))
    assert files(lake) == len(list(Path(lake._root).rglob("part-*.parquet"))) == 1
    assert lake.append("m", LOG, rows("00"), source="0") == numbers[0]
    assert len(keys(lake)) == 30


def test_two_compactions_at_once_keep_one_copy(lake: Lake, registered: Database) -> None:
    """deltalake's own would keep two of every row."""
    numbers = [lake.append("m", LOG, rows(f"{i}"), source=str(i)) for i in range(8)]
    start = threading.Barrier(3)

    def compact() -> None:
        mine = Lake(lake._root, registered, lake.machine)
        start.wait()
        mine.compact("m", LOG)

    threads = [threading.Thread(target=compact) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert keys(lake, upto=numbers[4]) == ["0", "1", "2", "3", "4"]
    assert keys(lake) == [str(i) for i in range(8)]
    assert files(lake) == 1


def test_a_compaction_that_is_overtaken_loses_nothing(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """An append between its reading and its writing stays, in the very day that is compacted."""
    for i in range(3):
        lake.append("m", LOG, rows(str(i)), source=str(i))
    write, seen = lake_module.write_deltalake, []

    def overtaken(*args: object, **options: object) -> None:
        if options["mode"] == "overwrite" and not seen:
            seen.append(lake.append("m", LOG, rows("between"), source="between"))
        write(*args, **options)

    monkeypatch.setattr(lake_module, "write_deltalake", overtaken)
    lake.compact("m", LOG)

    assert seen
    assert keys(lake) == ["0", "1", "2", "between"]


def test_compaction_works_through_many_days(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many days at once as fit into memory, and one where not even one fits; none is left out."""
    monkeypatch.setattr(lake_module, "_ROWS_AT_ONCE", 5)
    days = [NOW + timedelta(days=i) for i in range(6)]
    for source in ("x", "y"):
        frames = [rows(*(f"{source}{i}{j}" for j in range(1 + 3 * (i % 2))), at=at) for i, at in enumerate(days)]
        lake.append("m", LOG, pl.concat(frames), source=source)
    before = lake.scan("m", LOG).sort("key").collect()

    lake.compact("m", LOG)

    assert lake.scan("m", LOG).sort("key").collect().equals(before)
    assert files(lake) == 6


def test_days_are_read_in_portions_that_fit_into_memory(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many days at once as hold no more rows together than may be in memory; a day that has more comes alone."""
    monkeypatch.setattr(lake_module, "_ROWS_AT_ONCE", 5)
    days = [NOW.date() + timedelta(days=i) for i in range(6)]
    counts = (2, 3, 1, 7, 0, 5)
    held = [rows(*map(str, range(n)), at=None, day=day) for n, day in zip(counts, days, strict=True) if n]
    lake.append("m", LOG, pl.concat(held), source="s")

    portions = list(lake.portions("m", LOG, days))

    assert portions == [days[:2], days[2:3], days[3:4], days[4:]]
    assert list(lake.portions("m", Log.EXAMPLES, days)) == [days]


def test_a_table_is_tidied_when_it_has_many_loose_files(lake: Lake) -> None:
    """Nothing happens below the measure; then the small files of each day become one."""
    assert not lake.tidy("m", LOG, most=3)
    for i in range(4):
        lake.append("m", LOG, rows(str(i)), source=str(i))
        assert lake.tidy("m", LOG, most=3) is (i == 3)

    assert not lake.tidy("m", LOG, most=3)
    assert files(lake) == 1


def test_large_files_are_left_alone_by_a_compaction(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the small files of a day become one: what is large is not written again, however often a log is tidied."""
    lake.append("m", LOG, rows(*(f"{i:04}" for i in range(2000))), source="large")
    large = DeltaTable(f"{lake._root}/m/{LOG}").file_uris()
    monkeypatch.setattr(lake_module, "_SMALL", Path(large[0]).stat().st_size)
    for i in range(3):
        lake.append("m", LOG, rows(f"small{i}"), source=str(i))
    before = lake.scan("m", LOG).sort("key").collect()

    lake.compact("m", LOG)

    after = DeltaTable(f"{lake._root}/m/{LOG}").file_uris()
    assert len(after) == 2
    assert set(large) < set(after)
    assert lake.scan("m", LOG).sort("key").collect().equals(before)


def test_a_large_file_whose_append_came_out_of_turn_loses_nothing(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small append that is older than a large one is merged, and every row of the large one is there once."""
    number = lake.ingests.begin("m", LOG, "slow").number
    lake.append("m", LOG, rows(*(f"{i:04}" for i in range(2000))), source="large")
    large = DeltaTable(f"{lake._root}/m/{LOG}").file_uris()[0]
    monkeypatch.setattr(lake_module, "_SMALL", Path(large).stat().st_size)
    for source in ("slow", "next"):
        lake.append("m", LOG, rows(source), source=source)
    before = lake.scan("m", LOG).sort("key").collect()

    lake.compact("m", LOG)

    assert before["ingest"].min() == number
    assert lake.scan("m", LOG).sort("key").collect().equals(before)


def test_the_extent_of_each_file_is_known_for_what_reads_look_for(lake: Lake) -> None:
    """Also where a struct stands before it in the rows: else every read opens every file of its days."""
    written = rows("a", "b").with_columns(request=pl.struct(grams=1.0), prediction_id=pl.Series(["p1", "p2"]))
    lake.append("m", LOG, written.select("key", "request", "event_at", "prediction_id", "day"), source="s")

    known = pl.DataFrame(DeltaTable(f"{lake._root}/m/{LOG}").get_add_actions(flatten=True))

    assert known["min.ingest"].to_list() == known["max.ingest"].to_list() == [lake.horizon("m", LOG)]
    assert known.select("min.prediction_id", "max.prediction_id").row(0) == ("p1", "p2")
    assert known["min.event_at"].to_list() == [NOW]
    assert "min.key" not in known.columns


def test_the_commits_of_days_ago_go_and_no_row_with_them(lake: Lake, registered: Database) -> None:
    """Each commit lists those that are kept, so they stay few; rows, transactions and old handles stay good."""
    old = Lake(lake._root, registered, lake.machine)
    for i in range(30):
        lake.append("m", LOG, rows(f"{i:02}"), source=str(i))
    number = lake.ingests.begin("m", LOG, "cut off").number
    lake._write("m", LOG, rows("cut off"), number)
    assert len(keys(old)) == 30
    commits = Path(lake._root, "m", LOG, "_delta_log")
    then = time.time() - timedelta(days=2).total_seconds()
    for path in commits.iterdir():
        os.utime(path, (then, then))

    for i in range(30, 60):
        lake.append("m", LOG, rows(f"{i:02}"), source=str(i))

    assert len(list(commits.glob("*.json"))) < 50
    assert lake.settle("m", LOG) > number
    assert keys(lake) == keys(old) == [*(f"{i:02}" for i in range(60)), "cut off"]


def test_an_open_question_outlives_a_vacuum(lake: Lake) -> None:
    """A reader that began before compaction and vacuum still has its files: they are kept for an hour."""
    for i in range(4):
        lake.append("m", LOG, rows(str(i)), source=str(i))
    question = lake.scan("m", LOG)

    lake.compact("m", LOG)
    lake.vacuum("m", LOG)

    assert sorted(question.collect()["key"]) == ["0", "1", "2", "3"]


@pytest.mark.parametrize(("age", "stays"), [(timedelta(days=6), True), (timedelta(days=8), False)])
def test_files_of_an_uncommitted_append_stay_for_days(lake: Lake, age: timedelta, stays: bool) -> None:
    """A writer that stood still may yet commit them; after a week they are a dead writer's, and go."""
    lake.append("m", LOG, rows("a"), source="s")
    left = Path(lake._root, "m", LOG, f"day={NOW.date()}", "part-left.parquet")
    left.write_bytes(b"PAR1")
    then = time.time() - age.total_seconds()
    os.utime(left, (then, then))

    lake.vacuum("m", LOG, keep=timedelta(0))

    assert left.exists() is stays
    assert keys(lake) == ["a"]


def test_readers_and_writers_go_on_while_a_table_is_tidied(lake: Lake, registered: Database) -> None:
    """Scans of one horizon, repeated all the while, give one answer; every append arrives once; nobody fails."""
    first = [f"first{i}" for i in range(10)]
    horizon = max(lake.append("m", LOG, rows(key), source=key) for key in first)
    failures: list[Exception] = []
    done = threading.Event()

    def forever(deed: Callable[[Lake], object]) -> Callable[[], None]:
        def work() -> None:
            mine = Lake(lake._root, registered, lake.machine)
            try:
                while not done.is_set():
                    deed(mine)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
                failures.append(error)

        return work

    def read(mine: Lake) -> None:
        assert keys(mine, upto=horizon) == first

    def tidy(mine: Lake) -> None:
        mine.compact("m", LOG)
        mine.vacuum("m", LOG)

    threads = [threading.Thread(target=forever(deed)) for deed in (read, read, tidy, tidy)]
    for thread in threads:
        thread.start()
    later = [f"later{i}" for i in range(15)]
    for key in later:
        lake.append("m", LOG, rows(key), source=key)
    done.set()
    for thread in threads:
        thread.join()

    assert failures == []
    assert keys(lake) == sorted(first + later)


# ── folders ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["my project", "josé", "100%", "a#b", "日本", "a&b+c;d,e'f~g{h}"])
def test_a_project_may_lie_in_a_folder_with_an_odd_name(registered: Database, tmp_path: Path, name: str) -> None:
    """Appends, scans, compaction and vacuum work there."""
    lake = Lake(str(tmp_path / name / "store"), registered, lambda: NOW)
    for i in range(3):
        lake.append("m", LOG, rows(str(i)), source=str(i))
    lake.compact("m", LOG)
    lake.vacuum("m", LOG, keep=timedelta(0))
    lake.append("m", LOG, rows("3"), source="3")

    assert keys(lake, since=NOW, days=[NOW.date()]) == ["0", "1", "2", "3"]
    assert (tmp_path / name / "store" / "m" / LOG / "_delta_log").is_dir()


@pytest.mark.parametrize("name", ["a[1]", "a*", "a?", "a=b", "a^b", "a|b", "a\\b", "a%20b", "a\nb"])
def test_a_folder_that_tables_cannot_be_read_back_from_is_refused(
    registered: Database, tmp_path: Path, name: str
) -> None:
    """It is refused before anything is written, and the error says why."""
    with pytest.raises(StorageError, match="cannot hold tables") as refused:
        Lake(str(tmp_path / name), registered, lambda: NOW)

    assert refused.value.code == "storage-path"
    assert refused.value.mend


# ── types ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def with_value(value: object, dtype: pl.DataType) -> pl.DataFrame:
    """A row with one more column."""
    return rows("a").with_columns(value=pl.Series([value], dtype=dtype))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((1, pl.Int64()), (1.75, pl.Float64())),
        ((True, pl.Boolean()), (1.0, pl.Float64())),
        (({"n": 1}, pl.Struct({"n": pl.Int64()})), ({"n": 1.75}, pl.Struct({"n": pl.Float64()}))),
    ],
)
def test_another_type_is_refused(lake, first, second) -> None:
    """A column, or a field of one, that comes in another type is refused with its name: nothing is cast in silence."""
    lake.append("m", LOG, with_value(*first), source="1")

    with pytest.raises(StorageError, match="do not fit its table") as caught:
        lake.append("m", LOG, with_value(*second), source="2")

    assert caught.value.code == "storage-type"
    assert "value" in caught.value.why
    assert keys(lake) == ["a"]


def test_a_field_that_is_new_is_added(lake) -> None:
    """A struct may gain a field; it is null in older rows."""
    lake.append("m", LOG, with_value({"n": 1}, pl.Struct({"n": pl.Int64()})), source="1")
    lake.append("m", LOG, with_value({"n": 2, "t": "x"}, pl.Struct({"n": pl.Int64(), "t": pl.String()})), source="2")

    found = lake.scan("m", LOG).sort("ingest").collect()["value"].to_list()

    assert found == [{"n": 1, "t": None}, {"n": 2, "t": "x"}]
