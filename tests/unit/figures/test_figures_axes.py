"""Axes: round numbers and dates, and how numbers are written."""

from __future__ import annotations

import math
from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perene.figures.axes import day_number, day_ticks, number_text, number_ticks


@given(st.floats(-1e200, 1e200), st.floats(-1e200, 1e200))
def test_ticks_enclose_and_ascend(one, other):
    """Ticks ascend, enclose the values, and are at most nine."""
    low, high = min(one, other), max(one, other)
    room = 1e-6 * max(abs(low), abs(high)) + 1e-300

    found = [tick.at for tick in number_ticks([low, high])]

    assert 2 <= len(found) <= 9
    assert all(a < b for a, b in pairwise(found))
    assert found[0] <= low + room
    assert found[-1] >= high - room


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0.41, 0.62], ["0.40", "0.45", "0.50", "0.55", "0.60", "0.65"]),
        ([-1, 1], ["−1.0", "−0.5", "0", "0.5", "1.0"]),
        ([0, 9000], ["0", "2,000", "4,000", "6,000", "8,000", "10,000"]),
        ([1.1e6, 1.3e6], ["1.1 M", "1.15 M", "1.2 M", "1.25 M", "1.3 M"]),
        ([0, 4e-6], ["0", "1e-6", "2e-6", "3e-6", "4e-6"]),
        ([0, 4e12], ["0", "1e12", "2e12", "3e12", "4e12"]),
        ([], ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
    ],
)
def test_ticks_are_round_numbers(values, labels):
    """Ticks are 1, 2 or 5 of a power of ten, with the decimals of their step and a real minus."""
    assert [tick.label for tick in number_ticks(values)] == [label.replace("e-", "e−") for label in labels]


@pytest.mark.parametrize(
    ("first", "last", "labels"),
    [
        (date(2013, 3, 1), date(2013, 11, 30), ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov"]),
        (date(2013, 3, 2), date(2013, 7, 31), ["Apr", "May", "Jun", "Jul"]),
        (date(2012, 12, 30), date(2013, 1, 2), ["30 Dec", "31 Dec", "1 Jan", "2 Jan"]),
        (date(2013, 3, 1), date(2013, 4, 9), ["4 Mar", "11 Mar", "18 Mar", "25 Mar", "1 Apr", "8 Apr"]),
        (date(2012, 1, 15), date(2013, 7, 15), ["Mar", "May", "Jul", "Sep", "Nov", "Jan", "Mar", "May", "Jul"]),
        (
            date(2001, 5, 5),
            date(2021, 5, 5),
            ["2002", "2004", "2006", "2008", "2010", "2012", "2014", "2016", "2018", "2020"],
        ),
    ],
    ids=["nine months", "from the second day", "days", "weeks from Mondays", "every other month", "years"],
)
def test_time_has_months_days_or_years(first, last, labels):
    """Time has ticks at the first of months; a short span at days or Mondays, a long one at years."""
    assert [tick.label for tick in day_ticks(day_number(first), day_number(last))] == labels


def test_year_is_said_once():
    """The year stands below the first tick and below the first of each new year."""
    found = day_ticks(day_number(date(2012, 10, 1)), day_number(date(2013, 3, 31)))

    assert [tick.under for tick in found] == ["2012", "", "", "2013", "", ""]


@given(st.integers(1, 3_600_000), st.integers(2, 50_000))
def test_time_never_has_too_many_ticks(start, span):
    """Whatever the span is, there is a tick and there are at most 14."""
    low = float(min(start, 3_600_000 - span))

    assert 1 <= len(day_ticks(low, low + span)) <= 14


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (-0.0, "0"),
        (12345.0, "12,345"),
        (0.49852, "0.4985"),
        (-0.012345, "-0.01235"),
        (1234.56, "1,235"),
        (1.5e-7, "1.5e-07"),
        (math.inf, "∞"),
    ],
)
def test_numbers_in_tables_have_four_figures(number, text):
    """A table's number has four figures that count, a whole number all of its own."""
    assert number_text(number) == text
