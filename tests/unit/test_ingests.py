"""Ingest numbers: open, then committed or void for ever; a horizon tells which of them are decided."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perene.errors import NotFound
from perene.repositories.models import Models
from perene.storage.database import Database
from perene.storage.envelope import Log
from perene.storage.ingests import COMMITTED, OPEN, Ingests, Readable

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = date(2026, 1, 1)
LOG = Log.EXAMPLES


def ingests_in(database: Database) -> Ingests:
    for name in ("m", "other"):
        Models(database).register(name, {}, NOW)
    return Ingests(database, lambda: NOW)


@pytest.fixture
def ingests(database: Database) -> Ingests:
    return ingests_in(database)


def test_a_new_source_gets_a_new_open_number(ingests: Ingests) -> None:
    """Numbers rise, whatever log or model they are for."""
    begun = [ingests.begin("m", LOG, "a"), ingests.begin("other", LOG, "a"), ingests.begin("m", Log.TRUTHS, "a")]

    assert [ingest.state for ingest in begun] == [OPEN] * 3
    assert sorted(ingest.number for ingest in begun) == [ingest.number for ingest in begun]
    assert len({ingest.number for ingest in begun}) == 3


def test_a_repeat_finds_what_was_begun(ingests: Ingests) -> None:
    """The same source gets the same number, open or committed, with what was committed."""
    first = ingests.begin("m", LOG, "a")
    assert ingests.begin("m", LOG, "a") == first

    ingests.commit(first.number, rows=2, days=[date(2026, 1, 2), DAY])

    again = ingests.begin("m", LOG, "a")
    assert (again.number, again.state, again.rows, again.days) == (first.number, COMMITTED, 2, (DAY, date(2026, 1, 2)))


def test_days_are_told_of_what_was_committed_since(database: Database) -> None:
    """Of appends that began at a machine time or later: not of one before, open, void, or of another model."""
    ingests_in(database)
    said = {"begins": NOW}
    ingests = Ingests(database, lambda: said["begins"])
    for hours, days in ((0, [1]), (1, [2, 3]), (2, [3, 4]), (3, [])):
        said["begins"] = NOW + timedelta(hours=hours)
        number = ingests.begin("m", LOG, f"{hours}").number
        ingests.commit(number, rows=1, days=[date(2026, 1, day) for day in days])
    ingests.begin("m", LOG, "open")
    ingests.void(ingests.begin("m", LOG, "void").number)
    ingests.commit(ingests.begin("other", LOG, "other").number, rows=1, days=[DAY])

    found = ingests.days_since("m", LOG, NOW + timedelta(hours=1))
    assert found == {date(2026, 1, day) for day in (2, 3, 4)}
    assert ingests.days_since("m", LOG, NOW + timedelta(hours=4)) == set()


def test_a_void_number_is_never_given_again(ingests: Ingests) -> None:
    """Its source gets a new one, any number of times; the void one is not committed any more."""
    numbers = []
    for _ in range(3):
        numbers.append(ingests.begin("m", LOG, "a").number)
        ingests.void(numbers[-1])

    assert len(set(numbers)) == 3
    assert not ingests.commit(numbers[0], rows=1, days=[DAY])
    assert ingests.committed("m", LOG) == []


def test_a_committed_number_does_not_become_void(ingests: Ingests) -> None:
    """Giving it up is too late; committing it again changes nothing."""
    number = ingests.begin("m", LOG, "a").number
    assert ingests.commit(number, rows=1, days=[DAY])

    ingests.void(number)

    assert ingests.commit(number, rows=9, days=[])
    (committed,) = ingests.committed("m", LOG)
    assert (committed.source, committed.rows, committed.days) == ("a", 1, (DAY,))


def test_a_model_must_be_registered(ingests: Ingests) -> None:
    """There are no numbers for a model that the database does not know."""
    with pytest.raises(NotFound):
        ingests.begin("nobody", LOG, "a")


def test_racers_get_one_number(database: Database, ingests: Ingests) -> None:
    """Threads that begin one source at one time are told the same number."""
    start, numbers = threading.Barrier(4), list[int]()

    def begin() -> None:
        mine = Ingests(database, lambda: NOW)
        start.wait()
        numbers.append(mine.begin("m", LOG, "a").number)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(numbers) == 4
    assert len(set(numbers)) == 1


@given(ends=st.lists(st.sampled_from(["open", "committed", "void", "elsewhere"]), max_size=8), upto=st.integers(0, 12))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_questions_about_numbers_agree_with_a_list(emptied: Callable[[], Database], ends: list[str], upto: int) -> None:
    """Open, horizon, readable and committed are what a list of all numbers and their ends says."""
    ingests = ingests_in(emptied())
    mine: dict[int, str] = {}
    for i, end in enumerate(ends):
        number = ingests.begin("other" if end == "elsewhere" else "m", LOG, str(i)).number
        if end != "elsewhere":
            mine[number] = end
        if end == "committed":
            ingests.commit(number, rows=1, days=[DAY])
        if end == "void":
            ingests.void(number)

    still_open = [number for number, end in mine.items() if end == "open"]
    decided = [number for number in mine if not still_open or number < still_open[0]]
    up = [number for number in mine if number <= upto]
    done = [number for number, end in mine.items() if end == "committed"]
    assert ingests.open("m", LOG) == still_open
    assert ingests.horizon("m", LOG) == max(decided, default=0)
    assert ingests.readable("m", LOG, upto) == Readable(
        upto=max(up, default=0), without=tuple(number for number in up if mine[number] != "committed")
    )
    assert ingests.readable("m", LOG, None).upto == max(mine, default=0)
    assert [i.number for i in ingests.committed("m", LOG)] == done
    assert [i.number for i in ingests.committed("m", LOG, after=2, upto=upto)] == [n for n in done if 2 < n <= upto]
