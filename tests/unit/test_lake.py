"""The lake: exactly-once appends, and horizons whose answers never change."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

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


class Killed(BaseException):
    """A writer ends here, as by kill -9: nothing below catches it."""


class Mortal(Lake):
    """A lake that does something instead of, or after, bringing rows into Delta."""

    def __init__(
        self, lake: Lake, *, before: Callable[[], None] | None = None, after: Callable[[], None] | None = None
    ):
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


# ── everything in any order ──────────────────────────────────────────────────────────────────────────────────────────

SOURCES = st.sampled_from(["s1", "s2", "s3", "s4"])


class Life(RuleBasedStateMachine):
    """A lake against dicts: the number of each append that is ``done``, whether the rows of those that dead writers
    ``left`` reached Delta, and the answer that was ``given`` up to each horizon.
    """

    new_lake: Callable[[], Lake]

    @initialize()
    def open(self) -> None:
        self.lake = type(self).new_lake()
        self.done: dict[str, int] = {}
        self.left: dict[str, bool] = {}
        self.given: dict[int, list[str]] = {}

    @rule(source=SOURCES)
    def append(self, source: str) -> None:
        number = self.lake.append("m", LOG, rows(source), source=source)
        assert self.done.setdefault(source, number) == number
        self.left.pop(source, None)

    @rule(source=SOURCES, reached=st.booleans())
    def die(self, source: str, reached: bool) -> None:
        mortal = Mortal(self.lake, **{"after" if reached else "before": die})
        if source in self.done:
            assert mortal.append("m", LOG, rows(source), source=source) == self.done[source]
            return
        with pytest.raises(Killed):
            mortal.append("m", LOG, rows(source), source=source)
        self.left[source] = reached or self.left.get(source, False)

    @rule(source=SOURCES)
    def append_slowly(self, source: str) -> None:
        settled: list[None] = []

        def overtake() -> None:
            if not settled:
                settled.append(self.settle(writing=source))

        number = Mortal(self.lake, before=overtake).append("m", LOG, rows(source), source=source)
        assert self.done.setdefault(source, number) == number

    @rule()
    def settle(self, writing: str | None = None) -> None:
        horizon = self.lake.settle("m", LOG)
        for source, reached in self.left.items():
            if reached:
                (self.done[source],) = (i.number for i in self.lake.ingests.committed("m", LOG) if i.source == source)
        self.left.clear()
        self.given[horizon] = sorted(self.done)
        assert self.lake.ingests.open("m", LOG) == []

    @rule()
    def compact(self) -> None:
        self.lake.compact("m", LOG)

    @rule()
    def vacuum(self) -> None:
        self.lake.vacuum("m", LOG, keep=timedelta(0))

    @invariant()
    def every_append_is_read_once(self) -> None:
        assert keys(self.lake) == sorted(self.done)

    @invariant()
    def no_answer_changes(self) -> None:
        for horizon, answer in self.given.items():
            assert keys(self.lake, upto=horizon) == answer


def test_in_whatever_order_things_happen_the_answers_stay(
    emptied: Callable[[], Database], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Appends, deaths, slow writers, settling, compaction and vacuum in any order: one copy, fixed answers."""

    def new_lake() -> Lake:
        database = emptied()
        Models(database).register("m", {}, NOW)
        return Lake(str(tmp_path_factory.mktemp("life")), database, lambda: NOW)

    machine = type("Life", (Life,), {"new_lake": staticmethod(new_lake)})
    quick = settings(
        max_examples=12, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
    )
    run_state_machine_as_test(machine, settings=quick)
