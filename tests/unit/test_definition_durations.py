"""Durations."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perene.definition.durations import duration, show_duration


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("365d", timedelta(days=365)),
        ("36h", timedelta(hours=36)),
        ("15m", timedelta(minutes=15)),
        ("2w", timedelta(weeks=2)),
        ("30s", timedelta(seconds=30)),
        ("0.5s", timedelta(seconds=0.5)),
        ("250ms", timedelta(seconds=0.25)),
        ("2m 250ms", timedelta(minutes=2, seconds=0.25)),
        ("1d 12h", timedelta(hours=36)),
        ("1h before", timedelta(hours=1)),
        (timedelta(hours=3), timedelta(hours=3)),
    ],
)
def test_text_says_a_duration(text, value):
    """A number and a unit, several of them, or a timedelta say a duration."""
    assert duration(text) == value


@pytest.mark.parametrize("text", ["", "36", "h", "3 days", "-1h", "1h after", "999999999999d", 36, None, timedelta(-1)])
def test_other_texts_are_refused(text):
    """Everything else is refused with a message."""
    with pytest.raises(ValueError, match="duration"):
        duration(text)


def test_refusal_says_the_form():
    """The refusal of a text says how a duration is written."""
    with pytest.raises(ValueError, match='as in "36h"'):
        duration("3 days")


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=100_000)))
def test_shown_duration_reads_back(value):
    """What is shown reads back as the same duration, to the microsecond."""
    assert duration(show_duration(value)) == value


def test_shown_in_the_largest_exact_unit():
    """A duration is shown in the largest unit, up to days, that says it exactly."""
    assert [show_duration(timedelta(hours=h)) for h in (0, 36, 48, 0.25)] == ["0s", "36h", "2d", "15m"]
    assert show_duration(timedelta(seconds=0.02)) == "20ms"
