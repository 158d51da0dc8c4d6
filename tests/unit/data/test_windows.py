"""The windows of a dataset: whole days of UTC at its end, cut backwards by what the model declares."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perene.definition.label import Label
from perene.pipelines.windows import ranges, window_of

DAY = timedelta(days=1)


def window(bench, now, **terms):
    """The window of a model with these terms."""
    wait = terms.pop("wait", "24h")
    label = Label("late", bool, known_at="ended", wait=wait)
    return window_of(bench.declare(sound=False, label=label, **terms), now)


def test_a_window_ends_with_the_last_day_whose_labels_had_their_wait(bench):
    """The end is the last midnight before now minus the label's wait; the rest is counted back from there."""
    found = window(bench, bench.instant("2013-01-31 12:00"))

    assert found.until == bench.instant("2013-01-30")
    assert found.split == bench.instant("2013-01-27")
    assert found.trained_until == bench.instant("2013-01-26")
    assert found.since == bench.instant("2013-01-17")
    assert found.days == [date(2013, 1, 17) + i * DAY for i in range(13)]


@pytest.mark.parametrize(
    ("now", "until"),
    [("2013-01-31 11:59", "2013-01-29"), ("2013-01-31 12:00", "2013-01-30"), ("2013-02-01 11:59", "2013-01-30")],
)
def test_a_day_counts_from_the_instant_at_which_its_last_label_was_due(bench, now, until):
    """With a wait of 36 hours a day is in from noon of the day after the next."""
    assert window(bench, bench.instant(now), wait="36h").until == bench.instant(until)


def test_days_are_those_of_utc_wherever_now_was_read(bench):
    """The same instant, told in another zone, gives the same window."""
    there = datetime(2013, 3, 10, 23, 30, tzinfo=ZoneInfo("America/New_York"))  # the 11th in UTC; summer time began

    assert window(bench, there) == window(bench, bench.instant("2013-03-11 03:30"))
    assert window(bench, there).until == bench.instant("2013-03-10")


def test_windows_may_be_shorter_than_a_day(bench):
    """Hours are cut as hours, and the days are those that the window reaches into."""
    found = window(bench, bench.instant("2013-01-31"), wait="0s", train_on="12h", test_on="6h")

    assert found.split == found.trained_until == bench.instant("2013-01-30 18:00")
    assert found.since == bench.instant("2013-01-30 06:00")
    assert found.days == [date(2013, 1, 30)]


@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2040, 1, 1)), st.integers(0, 100))  # noqa: DTZ001
def test_no_window_holds_a_row_whose_label_may_still_come(make_model, at, hours):
    """Whatever now and wait are, the window's end lies at least the wait before now."""
    now = at.replace(tzinfo=ZoneInfo("UTC"))
    found = window_of(make_model(wait=timedelta(hours=hours)), now)

    assert found.since < found.split < found.until <= now - timedelta(hours=hours)
    assert found.until.time() == datetime.min.time()
    assert found.trained_until + timedelta(hours=hours) == found.split


@given(st.sets(st.integers(0, 40)))
def test_ranges_hold_every_day_once(numbers):
    """Days that follow each other make one range, and no other day is in any."""
    days = [date(2013, 1, 1) + number * DAY for number in numbers]
    found = list(ranges(days))

    assert [first + i * DAY for first, until in found for i in range((until - first).days)] == sorted(days)
    assert all(before[1] < after[0] for before, after in pairwise(found))
