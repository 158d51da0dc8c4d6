"""Many rows, batch by batch: in order, no further ahead than said, and every error where the items are taken."""

from __future__ import annotations

import threading
from contextlib import closing

import polars as pl
import pytest

from perene.errors import DataError
from perene.pipelines.bulk import ahead, batches_of


def test_items_come_in_order() -> None:
    """Whatever the thread does, the order is that of making."""
    assert list(ahead(ahead(iter(range(100))))) == list(range(100))


def test_what_making_raises_is_raised() -> None:
    """After the items before it."""

    def broken():
        yield 1
        raise KeyError("gone")

    taken = []
    with pytest.raises(KeyError, match="gone"):
        taken.extend(item for item in ahead(broken()))
    assert taken == [] or taken == [1]


def test_no_more_is_made_than_can_wait() -> None:
    """Two wait, one is in the maker's hand: memory is bounded."""
    made = []

    def count():
        for n in range(100):
            made.append(n)
            yield n

    with closing(ahead(count(), most=2)) as items:
        next(items)
        for thread in threading.enumerate():
            if thread.name == "perene-ahead":
                thread.join(0.3)
        assert len(made) <= 4


def test_who_stops_taking_ends_the_thread() -> None:
    """A generator that is closed early leaves no thread, and closes what it took from."""
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    items = ahead(ahead(endless()))
    next(items)
    items.close()

    assert closed.wait(5)
    assert [thread for thread in threading.enumerate() if thread.name == "perene-ahead"] == []


def test_a_large_frame_is_cut() -> None:
    """Into batches of the size, the last one smaller; so is each of frames that come one after another."""
    rows = pl.DataFrame({"n": range(25)})

    assert [batch.height for batch in batches_of(rows, size=10)] == [10, 10, 5]
    assert [batch.height for batch in batches_of(iter([rows, rows[:3]]), size=10)] == [10, 10, 5, 3]
    assert pl.concat(batches_of(rows.lazy(), size=10)).equals(rows)


def test_what_holds_no_rows_is_refused() -> None:
    """A number, a text or a dict is no table."""
    for nothing in (5, "rows.csv", {"n": [1]}):
        with pytest.raises(DataError, match="holds no rows"):
            list(batches_of(nothing))
