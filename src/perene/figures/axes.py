"""Axes: where a value lies, which ticks it has, which labels there is room for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from math import ceil, floor, isfinite, log10

from perene.figures.html import Html, element

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
WIDE, NARROW = 13.0, 22.0  # the size of letters, in the drawing's unit, on a wide and on a narrow page (see style.py)
LETTER = 0.62  # how wide a letter is, at most, in letter sizes
LINE = 25.0  # from one line of text to the next
_LARGEST = 1e300
_DAY_STEPS, _MOST_DAYS = (1, 2, 7, 14), 8
_MONTH_STEPS, _MOST_MONTHS = (1, 2, 3, 6), 12
_YEAR_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A straight line at a value, with what it means."""

    value: float
    label: str

    def __post_init__(self) -> None:
        if not isfinite(self.value):
            raise ValueError(f"the reference {self.label!r} lies at {self.value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A place on an axis, its label, and a second line below it."""

    at: float
    label: str
    under: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A straight scale from values (``low`` to ``high``) to places (``start`` to ``end``)."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Where a value lies; one beyond the scale lies at its end."""
        share = min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)
        return self.start + share * (self.end - self.start)


def number_ticks(values: Iterable[float], *, count: int = 5) -> list[Tick]:
    """At most ``count`` + 2 round numbers, whose first and last enclose the values; infinite ones do not count.

    Raises:
        ValueError: a value is larger than can be drawn.
    """
    known = [value for value in values if isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if max(abs(low), abs(high)) > _LARGEST:
        raise ValueError(f"{low:g} to {high:g} cannot be drawn")
    size = max(abs(low), abs(high))
    if high - low <= 1e-9 * size or size < 1 / _LARGEST:  # all the same
        room = size / 10 if size > 1 / _LARGEST else 1.0
        low, high = low - room, high + room
    rough = (high - low) / count
    power = 10.0 ** floor(log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    places = [step * index for index in range(first, last + 1)]
    return [Tick(at=place, label=label) for place, label in zip(places, _labels(places, step), strict=True)]


def day_number(at: date | datetime) -> float:
    """A date, or an instant's UTC date with its part of the day, as a number of days.

    Raises:
        ValueError: an instant without an offset.
    """
    if not isinstance(at, datetime):
        return float(at.toordinal())
    if at.utcoffset() is None:
        raise ValueError(f"{at} has no offset from UTC")
    there = at.astimezone(UTC)
    midnight = there.replace(hour=0, minute=0, second=0, microsecond=0)
    return there.toordinal() + (there - midnight) / timedelta(days=1)


def day_ticks(low: float, high: float) -> list[Tick]:
    """Ticks from day ``low`` to day ``high``: days, weeks (Mondays), months or years, each year said once."""
    for step in _DAY_STEPS:
        if (high - low) / step <= _MOST_DAYS:
            start = ceil((low - 1) / step) * step + 1  # day 1 was a Monday
            days = [date.fromordinal(day) for day in range(start, floor(high) + 1, step)]
            return _with_years([(day, f"{day.day} {MONTHS[day.month - 1]}") for day in days])
    months = (high - low) / 30
    for step in _MONTH_STEPS:
        if months / step <= _MOST_MONTHS:
            return _with_years([(day, MONTHS[day.month - 1]) for day in _firsts(low, high, step)])
    years = next(size for size in _YEAR_STEPS if months / 12 / size <= _MOST_MONTHS)
    return [Tick(at=day.toordinal(), label=str(day.year)) for day in _firsts(low, high, 12 * years)]


def text_width(text: str, size: float) -> float:
    """How wide a text is, at most."""
    return len(text) * size * LETTER


def label_row(labels: Sequence[tuple[float, str]], *, y: float, width: float) -> list[Html]:
    """Labels over their centres, from left to right: those that there is room for, on a narrow page fewer of them.

    One that would leave the drawing, which is ``width`` wide, stands at its edge.
    """
    wide = _with_room(labels, size=WIDE, width=width)
    narrow = _with_room(wide, size=NARROW, width=width)
    return [
        element("text", label, x=x, y=y, text_anchor=anchor, class_=look)
        for centre, label in wide
        for x, anchor in [_anchored(centre, label, width)]
        for look in ["fig-text" if (centre, label) in narrow else "fig-text fig-wide"]
    ]


def number_text(number: float | None) -> str:
    """A number in a table: four figures that count, whole numbers whole; a dash when there is none."""
    if number is None:
        return "–"
    size = abs(number)
    if not isfinite(number):
        return f"{number}".replace("inf", "∞")
    if size < 1e15 and size == int(size):
        return f"{int(number):,}"
    return f"{number:,.{max(0, 3 - floor(log10(size)))}f}" if 1e-4 <= size < 1e9 else f"{number:.4g}"


def _anchored(centre: float, label: str, width: float) -> tuple[float, str]:
    """Where a label is held, and by which of its ends, so that the largest letters stay in the drawing."""
    half = text_width(label, NARROW) / 2
    if centre - half < 0:
        return 0.0, "start"
    return (width, "end") if centre + half > width else (centre, "middle")


def _with_room(labels: Sequence[tuple[float, str]], *, size: float, width: float) -> list[tuple[float, str]]:
    """The labels, taken from left to right, that do not touch the one that was taken before."""
    taken, end = [], float("-inf")
    for centre, label in labels:
        x, anchor = _anchored(centre, label, width)
        long = text_width(label, size)
        start = x - long * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
        if label and start >= end:
            taken.append((centre, label))
            end = start + long + size / 2
    return taken


def _labels(places: Sequence[float], step: float) -> list[str]:
    """The labels of ticks: as many decimals as their step has, a real minus."""
    decimals, largest = max(0, -floor(log10(step) + 1e-9)), max(map(abs, places))
    if step >= 1000 and 1e6 <= largest < 1e9:
        said = [f"{place / 1e6:.6g} M" for place in places]
    elif decimals > 4 or largest >= 1e6:
        said = [f"{place:.6g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-") for place in places]
    else:
        said = [f"{place:,.{decimals}f}" for place in places]
    return ["0" if place == 0 else text.replace("-", "−") for place, text in zip(places, said, strict=True)]


def _firsts(low: float, high: float, step: int) -> list[date]:
    """The first days of every so many months, counted from a January."""
    start, end = date.fromordinal(floor(low)), date.fromordinal(floor(high))
    months = range(ceil((start.year * 12 + start.month - 1) / step) * step, end.year * 12 + end.month, step)
    days = [date(month // 12, month % 12 + 1, 1) for month in months]
    return [day for day in days if low <= day.toordinal() <= high]


def _with_years(days: Sequence[tuple[date, str]]) -> list[Tick]:
    ticks, said = [], 0
    for day, label in days:
        ticks.append(Tick(at=day.toordinal(), label=label, under="" if day.year == said else str(day.year)))
        said = day.year
    return ticks
