"""Durations as people write them."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

_UNITS = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[wdhms])")
_WHOLE = re.compile(rf"{_PART.pattern}(?:\s*{_PART.pattern})*(?:\s+before)?")
FORM = 'a number and a unit (ms, s, m, h, d or w), as in "36h", "14d" or "1d 12h"'


def duration(text: str | timedelta) -> timedelta:
    """The duration that a text says: ``"36h"``, ``"14d"``, ``"1d 12h"``, ``"250ms"``, ``"1h before"`` (m is minutes).

    Raises:
        ValueError: the text is not of that form, or the duration is negative or too long; the message says the form.
    """
    if isinstance(text, timedelta):
        if text < timedelta(0):
            raise ValueError(f"a duration is not negative, but this is {text}")
        return text
    if not isinstance(text, str) or not _WHOLE.fullmatch(text.strip()):
        raise ValueError(f"{text!r} is not a duration: write {FORM}")
    try:
        parts = (Decimal(count) * (_UNITS[unit] // timedelta.resolution) for count, unit in _PART.findall(text))
        return timedelta(microseconds=round(sum(parts)))
    except OverflowError as error:
        raise ValueError(f"{text!r} is longer than a duration can be ({timedelta.max.days} days)") from error


def show_duration(value: timedelta) -> str:
    """A duration in the largest unit, up to days, that says it exactly with a whole number: ``36h``, ``20ms``."""
    if value == timedelta(0):
        return "0s"
    for unit in ("d", "h", "m", "s", "ms"):
        if value % _UNITS[unit] == timedelta(0):
            return f"{value // _UNITS[unit]}{unit}"
    seconds, rest = divmod(value, timedelta(seconds=1))
    return f"{seconds}.{rest.microseconds:06}".rstrip("0") + "s"
