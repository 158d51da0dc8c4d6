"""Periods."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from perene.monitoring.periods import Period, months, spans, weeks

HOURS = st.integers(0, 24 * 400)


@given(a=HOURS, b=HOURS)
def test_months_and_weeks_tile_the_time(a, b, day):
    """Months and weeks follow one another without a gap, cover what was asked for, and begin where they should."""
    since, until = day(0, min(a, b)), day(0, max(a, b))

    for cut, begins in ((months, lambda at: at.day == 1), (weeks, lambda at: at.weekday() == 0)):
        parts = cut(since, until)

        assert [p.since for p in parts[1:]] == [p.until for p in parts[:-1]]
        assert (not parts and since == until) or (parts[0].since, parts[-1].until) == (since, until)
        assert all(begins(p.since) and p.since.hour == 0 for p in parts[1:])


def test_months_are_calendar_months(day):
    """March 2013 to December is nine months of their own lengths."""
    assert [(p.until - p.since).days for p in months(day(0), day(275))] == [31, 30, 31, 30, 31, 31, 30, 31, 30]


@given(pairs=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=8))
def test_spans_cover_the_same_and_do_not_touch(pairs, day):
    """Spans hold exactly the hours that some period holds, in order, with a gap between any two."""
    periods = [Period(since=day(0, start), until=day(0, start + length)) for start, length in pairs]

    found = spans(periods)

    hours = [day(0, hour) for hour in range(90)]
    assert [any(p.since <= h < p.until for p in found) for h in hours] == [
        any(p.since <= h < p.until for p in periods) for h in hours
    ]
    assert all(b.since - a.until > timedelta(0) for a, b in pairwise(found))
