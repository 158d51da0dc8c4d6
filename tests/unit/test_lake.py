"""The lake: exactly-once appends, horizons whose answers never change, and tables that are tidied under readers."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from perene.errors import NotFound, StorageError
from perene.repositories.models import Models
from perene.storage.database import Database
from perene.storage.envelope import INSTANT, Log
from perene.storage.lake import Lake

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = {"key": pl.String(), "event_at": INSTANT, "day": pl.Date()}
LOG = Log.TRUTHS


def rows(*keys: str, at: datetime | None = NOW, day: date | None = None) -> pl.DataFrame:
    """One row for each key, of one event time, or of one day."""
    on = day or (at.date() if at else None)
    return pl.DataFrame({"key": keys, "event_at": [at] * len(keys), "day": [on] * len(keys)}, schema=COLUMNS)


@pytest.fixture
def registered(database: Database) -> Database:
    """A database that knows the models m and other."""
    for name in ("m", "other"):
        Models(database).register(name, {}, NOW)
    return database


@pytest.fixture
def lake(registered: Database, tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "store"), registered, lambda: NOW)


def keys(lake: Lake, **question: object) -> list[str]:
    """The keys that a scan finds, sorted."""
    return sorted(lake.scan("m", LOG, columns=COLUMNS, **question).collect()["key"])


def files(lake_folder: Path) -> int:
    return len(list((lake_folder / "store").rglob("*.parquet")))


class Killed(BaseException):
    """A writer ends here, as by kill -9: nothing below catches it."""


class Mortal(Lake):
    """A lake that does something instead of, or after, bringing rows into Delta."""

    def __init__(self, lake: Lake, *, before: Callable[[], None] | None = None, after: Callable[[], None] | None = None):
        super().__init__(lake._root, lake.ingests._database, lake.machine)
        self._before, self._after = before, after

    def _write(self, model: str, log: Log, frame: pl.DataFrame, number: int) -> bool:
        if self._before:
            self._before()
        wrote = super()._write(model, log, frame, number)
        if self._after:
            self._after()
        return wrote


def die() -> None:
    raise Killed


# ── appends ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_appended_is_read(lake: Lake) -> None:
    """Rows come back with the number of their append."""
    number = lake.append("m", LOG, rows("a", "b"), source="s")

    found = lake.scan("m", LOG).collect()
    assert sorted(found["key"]) == ["a", "b"]
    assert found["ingest"].to_list() == [number, number]
    assert found.schema["event_at"] == INSTANT


def test_a_repeat_adds_nothing(lake: Lake) -> None:
    """The same source again is the same append, whatever rows come with it."""
    first = lake.append("m", LOG, rows("a"), source="s")

    assert lake.append("m", LOG, rows("a", "b"), source="s") == first
    assert keys(lake) == ["a"]


def test_sources_belong_to_their_log_and_model(lake: Lake) -> None:
    """One source may append to two logs, and to two models."""
    lake.append("m", LOG, rows("a"), source="s")
    lake.append("m", Log.EXAMPLES, rows("b"), source="s")
    lake.append("other", LOG, rows("c"), source="s")

    assert keys(lake) == ["a"]
    assert lake.scan("other", LOG).collect()["key"].to_list() == ["c"]
    assert lake.scan("m", "examples").collect()["key"].to_list() == ["b"]


@pytest.mark.parametrize("dying", ["before", "after"])
def test_a_repeat_does_what_a_dead_writer_left(lake: Lake, dying: str) -> None:
    """A writer that died before or after its commit in Delta has, once repeated, appended once, under one number."""
    with pytest.raises(Killed):
        Mortal(lake, **{dying: die}).append("m", LOG, rows("a"), source="s")
    assert keys(lake) == []

    number = lake.append("m", LOG, rows("a"), source="s")

    assert keys(lake) == ["a"]
    assert lake.horizon("m", LOG) == number
    assert lake.touched_days("m", LOG, after=0, upto=number) == {NOW.date()}


def test_a_repeat_with_other_rows_after_a_commit_in_delta_counts_what_delta_holds(lake: Lake) -> None:
    """A dead writer's rows stand; the days of the append are theirs, even when the repeat has no row at all."""
    with pytest.raises(Killed):
        Mortal(lake, after=die).append("m", LOG, rows("a", "b"), source="s")

    lake.append("m", LOG, rows(), source="s")

    assert keys(lake) == ["a", "b"]
    (ingest,) = lake.ingests.committed("m", LOG)
    assert (ingest.rows, ingest.days) == (2, (NOW.date(),))


def test_an_append_without_rows_is_an_append(lake: Lake) -> None:
    """It is committed, once, and moves the horizon: that a source had nothing to say is known."""
    number = lake.append("m", LOG, rows(), source="s")

    assert lake.append("m", LOG, rows("late"), source="s") == number
    assert lake.horizon("m", LOG) == number
    assert keys(lake) == []


def test_an_empty_append_and_a_racer_with_rows_agree(lake: Lake) -> None:
    """Of two with one source, one has no rows and is quicker: the other's rows are not in the answer by stealth."""
    slow = Mortal(lake, before=lambda: lake.append("m", LOG, rows(), source="s"))

    number = slow.append("m", LOG, rows("a"), source="s")

    (ingest,) = lake.ingests.committed("m", LOG)
    assert ingest.number == number
    assert len(keys(lake)) == ingest.rows


def test_racing_threads_append_once(lake: Lake, registered: Database) -> None:
    """Threads that append one source at one time, the table's first, get one number and leave one copy."""
    for round_ in range(5):
        start = threading.Barrier(3)
        numbers: list[int] = []

        def append(source: str, start: threading.Barrier = start, numbers: list[int] = numbers) -> None:
            mine = Lake(lake._root, registered, lake.machine)
            start.wait()
            numbers.append(mine.append("m", LOG, rows(source), source=source))

        threads = [threading.Thread(target=append, args=(f"s{round_}",)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(numbers) == 3
        assert len(set(numbers)) == 1

    assert keys(lake) == [f"s{i}" for i in range(5)]


def test_a_failed_append_leaves_nothing_and_can_be_repeated(lake: Lake, tmp_path: Path) -> None:
    """Where the disk refuses, StorageError says so; the number is void, and a repeat appends once."""
    (tmp_path / "store").write_text("a file where the folder must be")
    with pytest.raises(StorageError, match=r"could not be (appended to|opened)"):
        lake.append("m", LOG, rows("a"), source="s")
    (tmp_path / "store").unlink()
    void = lake.horizon("m", LOG)

    assert lake.append("m", LOG, rows("a"), source="s") > void
    assert keys(lake) == ["a"]


def test_a_model_must_be_registered(lake: Lake) -> None:
    """An append to a model that the database does not know is refused."""
    with pytest.raises(NotFound, match="nobody"):
        lake.append("nobody", LOG, rows("a"), source="s")


def test_a_row_without_a_day_is_refused(lake: Lake) -> None:
    """It could not be found again; nothing of its frame is appended."""
    frame = pl.concat([rows("a"), rows("b", at=None)])

    with pytest.raises(StorageError, match="no day"):
        lake.append("m", LOG, frame, source="s")

    assert lake.horizon("m", LOG) == 0


# ── void numbers, settling and horizons ──────────────────────────────────────────────────────────────────────────────


def test_a_slow_writer_that_was_overtaken_writes_again(lake: Lake) -> None:
    """Its number is void by the time that Delta has its rows: they are read once, under a new number."""
    horizons: list[int] = []

    def overtake() -> None:
        if not horizons:
            horizons.append(lake.settle("m", LOG))

    number = Mortal(lake, before=overtake).append("m", LOG, rows("a"), source="s")

    assert number > horizons[0]
    assert keys(lake) == ["a"]
    assert keys(lake, upto=horizons[0]) == []
    assert pl.scan_delta(f"{lake._root}/m/{LOG}").collect().height == 2


def test_rows_of_a_void_number_are_never_read(lake: Lake) -> None:
    """A writer that was overtaken and died after its commit in Delta left rows: no settling and no scan takes them."""
    lake.append("m", LOG, rows("a"), source="other")
    overtaken = Mortal(lake, before=lambda: lake.settle("m", LOG), after=die)
    with pytest.raises(Killed):
        overtaken.append("m", LOG, rows("b"), source="s")
    void = lake.settle("m", LOG)

    lake.settle("m", LOG)
    lake.append("m", LOG, rows("c"), source="later")
    lake.compact("m", LOG)
    assert keys(lake) == ["a", "c"]
    assert keys(lake, upto=void) == ["a"]


def test_an_append_that_is_not_committed_is_not_read(lake: Lake) -> None:
    """Rows that are in Delta under an open number are not there yet."""
    with pytest.raises(Killed):
        Mortal(lake, after=die).append("m", LOG, rows("a"), source="s")
    lake.append("m", LOG, rows("b"), source="t")

    assert keys(lake) == ["b"]
    assert lake.horizon("m", LOG) == 0


def test_settling_commits_what_is_in_delta_and_voids_the_rest(lake: Lake) -> None:
    """After it no number is open, and a dead writer's rows that reached Delta are read."""
    for dying in ("before", "after"):
        with pytest.raises(Killed):
            Mortal(lake, **{dying: die}).append("m", LOG, rows(dying), source=dying)

    horizon = lake.settle("m", LOG)

    assert lake.ingests.open("m", LOG) == []
    assert horizon == max(lake.ingests.committed("m", LOG), key=lambda i: i.number).number
    assert keys(lake) == ["after"]
    assert lake.append("m", LOG, rows("after"), source="after") == horizon


def test_the_horizon_is_below_the_first_open_number(lake: Lake) -> None:
    """Numbers above an open one do not count until it is decided."""
    assert lake.horizon("m", LOG) == 0
    first = lake.append("m", LOG, rows("a"), source="a")
    lake.ingests.begin("m", LOG, "open")
    last = lake.append("m", LOG, rows("b"), source="b")

    assert lake.horizon("m", LOG) == first
    assert lake.settle("m", LOG) == last


def test_another_log_does_not_hold_the_horizon_back(lake: Lake) -> None:
    """An open number of one log, or of another model, is no matter to this one."""
    lake.ingests.begin("m", Log.EXAMPLES, "open")
    lake.ingests.begin("other", LOG, "open")
    number = lake.append("m", LOG, rows("a"), source="a")

    assert lake.horizon("m", LOG) == number


def test_touched_days_are_those_of_committed_appends(lake: Lake) -> None:
    """Which days the appends of a span touched, and for each day the last append that did."""
    second = NOW + timedelta(days=1)
    one = lake.append("m", LOG, pl.concat([rows("a"), rows("b", at=second)]), source="1")
    two = lake.append("m", LOG, rows("c", at=second), source="2")
    lake.ingests.void(lake.ingests.begin("m", LOG, "void").number)

    assert lake.touched_days("m", LOG, after=0, upto=two) == {NOW.date(), second.date()}
    assert lake.touched_days("m", LOG, after=one, upto=two) == {second.date()}
    assert lake.last_touched("m", LOG, upto=two) == {NOW.date(): one, second.date(): two}
    assert lake.last_touched("m", LOG, upto=one) == {NOW.date(): one, second.date(): one}


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
    from zoneinfo import ZoneInfo

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


def test_compaction_and_vacuum_keep_every_past_answer(lake: Lake, tmp_path: Path) -> None:
    """Every horizon's answer is the same afterwards, from fewer files."""
    numbers = [lake.append("m", LOG, rows(f"{i:02}"), source=str(i)) for i in range(30)]
    lake.ingests.void(lake.ingests.begin("m", LOG, "void").number)
    before = answers(lake, numbers[::7])

    lake.compact("m", LOG)
    lake.vacuum("m", LOG, keep=timedelta(0))

    assert all(one.equals(other) for one, other in zip(before, answers(lake, numbers[::7]), strict=True))
    assert files(tmp_path) < 10
    assert lake.append("m", LOG, rows("00"), source="0") == numbers[0]
    assert len(keys(lake)) == 30


def test_a_repeat_is_known_after_checkpoints_and_vacuum(lake: Lake) -> None:
    """A dead writer's rows that are in Delta are found by its number, however much came since."""
    with pytest.raises(Killed):
        Mortal(lake, after=die).append("m", LOG, rows("dead"), source="dead")
    for i in range(45):  # two checkpoints
        lake.append("m", LOG, rows(str(i)), source=str(i))
    lake.compact("m", LOG)
    lake.vacuum("m", LOG, keep=timedelta(0))

    lake.append("m", LOG, rows("dead"), source="dead")

    assert keys(lake).count("dead") == 1
    assert len(keys(lake)) == 46


def test_a_table_is_tidied_when_it_has_many_loose_files(lake: Lake, tmp_path: Path) -> None:
    """Nothing happens below the measure; then the small files of each day become one."""
    assert not lake.tidy("m", LOG, most=3)
    for i in range(4):
        lake.append("m", LOG, rows(str(i)), source=str(i))
        assert lake.tidy("m", LOG, most=3) is (i == 3)

    assert not lake.tidy("m", LOG, most=3)
    assert len(DeltaTable(f"{lake._root}/m/{LOG}").file_uris()) == 1


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
    failures: list[BaseException] = []
    done = threading.Event()

    def forever(deed: Callable[[Lake], object]) -> Callable[[], None]:
        def work() -> None:
            mine = Lake(lake._root, registered, lake.machine)
            try:
                while not done.is_set():
                    deed(mine)
            except BaseException as error:
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
