"""Lines over time, with what happened on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import groupby, pairwise
from math import isfinite, isnan

from perene.figures.axes import (
    LINE,
    NARROW,
    Reference,
    Scale,
    day_number,
    day_ticks,
    label_row,
    number_text,
    number_ticks,
    text_width,
)
from perene.figures.glyphs import SERIES, EventKind, dot, event_glyph
from perene.figures.html import Html, check_id, coordinate, drawing, element, figure, legend, table

WIDTH, PLOT_HEIGHT, RIGHT = 720.0, 220.0, 44.0
_LANE = 18.0  # height of a row of glyphs
_GLYPH = 15.0  # glyphs nearer than this go into another row
_MOST_DOTS = 40  # a line of more points shows only its last, and those that stand alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A line: values at ascending times, with the bounds of its band where it has one; None leaves a gap.

    Bounds may be infinite. Times are dates, or instants with an offset.
    """

    name: str
    at: Sequence[date]
    values: Sequence[float | None]
    lower: Sequence[float | None] | None = None
    upper: Sequence[float | None] | None = None

    def __post_init__(self) -> None:
        days = [day_number(at) for at in self.at]
        if any(later <= earlier for earlier, later in pairwise(days)):
            raise ValueError(f"the times of {self.name!r} do not ascend")
        if (self.lower is None) != (self.upper is None):
            raise ValueError(f"{self.name!r} has one bound only")
        for what, numbers in (("values", self.values), ("lower", self.lower), ("upper", self.upper)):
            if numbers is None:
                continue
            if len(numbers) != len(days):
                raise ValueError(f"{self.name!r} has {len(days)} times and {len(numbers)} {what}")
            for at, number in zip(self.at, numbers, strict=True):
                if number is not None and (isnan(number) or (what == "values" and not isfinite(number))):
                    raise ValueError(f"{self.name!r} has {number} among its {what}, at {at}; None leaves a gap")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened at a time; a short label stands by it where there is room."""

    at: date
    kind: EventKind
    label: str = ""

    @property
    def words(self) -> str:
        """Time, kind and label."""
        return f"{_time(self.at)}: {self.kind.value} {self.label}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChart:
    """What a chart of lines is drawn from. ``id`` is its own on its page; ``description`` is made when it is empty."""

    id: str
    title: str
    series: Sequence[Series]
    unit: str = ""
    caption: str = ""
    description: str = ""
    events: Sequence[Event] = field(default=())
    reference: Reference | None = None

    def __post_init__(self) -> None:
        check_id(self.id)
        if len(self.series) > SERIES:
            raise ValueError(f"{len(self.series)} lines cannot be told apart; {SERIES} can")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plot:
    x: Scale
    y: Scale
    height: float

    def point(self, at: date, value: float) -> str:
        return f"{coordinate(self.x.place(day_number(at)))} {coordinate(self.y.place(value))}"


def draw_lines(chart: LineChart) -> str:
    """A chart of lines as a figure: drawing, legend, caption and table.

    Raises:
        ValueError: a value is larger than can be drawn, or an event's instant has no offset.
    """
    plot, marks = _axes(chart)
    for number, series in enumerate(chart.series, start=1):
        marks.append(
            element("g", *_bands(series, plot), *_line(series, plot, number), class_=f"fig-series fig-{number}")
        )
    if chart.reference is not None:
        y = plot.y.place(chart.reference.value)
        marks.append(element("path", d=_across(plot, y), class_="fig-reference"))
    if not _known(chart):
        marks.append(
            _text(
                "No data",
                (plot.x.start + plot.x.end) / 2,
                (plot.y.start + plot.y.end) / 2,
                "middle",
                "fig-text fig-note",
            )
        )
    drawn = drawing(
        chart.id,
        marks,
        title=chart.title,
        description=chart.description or _description(chart),
        size=(WIDTH, plot.height),
    )
    numbers = table(f"Numbers of {chart.title}", *_numbers(chart))
    return figure(chart.id, drawn, title=chart.title, caption=chart.caption, legend=_legend(chart), numbers=numbers)


def _axes(chart: LineChart) -> tuple[_Plot, list[Html]]:
    """Where things lie, and what stands behind the lines: grid, ticks, events."""
    known = [*_known(chart), *([chart.reference.value] if chart.reference else [])]
    ticks = number_ticks(known)
    days = [day_number(at) for series in chart.series for at in series.at]
    days += [day_number(event.at) for event in chart.events]
    left = 16 + max(text_width(tick.label, NARROW) for tick in ticks)
    low, high = (min(days), max(days)) if days else (0.0, 1.0)
    if high - low < 2:
        low, high = low - 1, high + 1
    x = Scale(low=low, high=high, start=left, end=WIDTH - RIGHT)
    lanes = _lanes(chart.events, x)
    labels = LINE if any(event.label for event in chart.events) else 0
    top = (LINE + 16 if chart.unit else 16) + labels + _LANE * (max(lanes, default=-1) + 1)
    y = Scale(low=ticks[0].at, high=ticks[-1].at, start=top + PLOT_HEIGHT, end=top)
    plot = _Plot(x=x, y=y, height=top + PLOT_HEIGHT + 2 * LINE + 8)
    marks = [_text(chart.unit, 0, 20, "start")] if chart.unit else []
    for tick in ticks:
        place = y.place(tick.at)
        marks.append(element("path", d=_across(plot, place), class_="fig-grid"))
        marks.append(_text(tick.label if known else "", left - 14, place + 5, "end"))
    marks += _days(plot) if days else []
    marks += _events(chart.events, lanes, plot)
    return plot, marks


def _days(plot: _Plot) -> Iterator[Html]:
    """The time axis: a line, ticks, their labels, and the years below."""
    ticks = day_ticks(plot.x.low, plot.x.high)
    centres = [plot.x.place(tick.at) for tick in ticks]
    foot = plot.y.start
    short = "".join(f"M{coordinate(x)} {coordinate(foot)}v5" for x in centres)
    yield element("path", d=_across(plot, foot) + short, class_="fig-axis")
    for number, words in enumerate(([tick.label for tick in ticks], [tick.under for tick in ticks]), start=1):
        yield from label_row(list(zip(centres, words, strict=True)), y=foot + number * LINE, width=WIDTH)


def _events(events: Sequence[Event], lanes: Sequence[int], plot: _Plot) -> Iterator[Html]:
    """Each event: a line through the plot, its glyph above it, and its label where there is room."""
    top, foot = plot.y.end, plot.y.start
    centres = [plot.x.place(day_number(event.at)) for event in events]
    for event, lane, x in zip(events, lanes, centres, strict=True):
        y = top - _LANE * (lane + 0.5) - 2
        yield element("path", d=f"M{coordinate(x)} {coordinate(y + 7)}V{coordinate(foot)}", class_="fig-event-line")
        yield event_glyph(event.kind, x, y, name=event.words)
    labels = sorted((x, event.label) for x, event in zip(centres, events, strict=True))
    highest = top - _LANE * (max(lanes, default=-1) + 1) - 6
    yield from label_row(labels, y=highest, width=WIDTH)


def _lanes(events: Sequence[Event], x: Scale) -> list[int]:
    """The row of each event's glyph, from the plot up: the lowest in which it touches no other."""
    ends: list[float] = []
    lanes = [0] * len(events)
    for index in sorted(range(len(events)), key=lambda i: day_number(events[i].at)):
        place = x.place(day_number(events[index].at))
        lane = next((row for row, end in enumerate(ends) if place - end >= _GLYPH), len(ends))
        ends[lane:] = [place, *ends[lane + 1 :]]
        lanes[index] = lane
    return lanes


def _bands(series: Series, plot: _Plot) -> Iterator[Html]:
    """The shaded band, in pieces where there are gaps."""
    if series.lower is None or series.upper is None:
        return
    triples = list(zip(series.at, series.lower, series.upper, strict=True))
    for is_known, run in groupby(triples, key=lambda it: it[1] is not None and it[2] is not None):
        if is_known:
            piece = list(run)
            there = [plot.point(at, upper) for at, _, upper in piece if upper is not None]
            back = [plot.point(at, lower) for at, lower, _ in reversed(piece) if lower is not None]
            yield element("path", d=f"M{'L'.join(there + back)}Z", class_="fig-band")


def _line(series: Series, plot: _Plot, number: int) -> Iterator[Html]:
    """The line in pieces, and the dots: all of a short line, else those that stand alone and the last."""
    runs = []
    for is_known, run in groupby(zip(series.at, series.values, strict=True), key=lambda it: it[1] is not None):
        if is_known:
            runs.append([(at, value) for at, value in run if value is not None])
    path = "".join(f"M{'L'.join(plot.point(*pair) for pair in run)}" for run in runs if len(run) > 1)
    if path:
        yield element("path", d=path, class_="fig-line", fill="none", stroke="currentColor")
    shows_all = sum(map(len, runs)) <= _MOST_DOTS
    dots = [pair for run in runs for pair in run if shows_all or len(run) == 1 or pair is runs[-1][-1]]
    for at, value in dots:
        name = f"{series.name}, {_time(at)}: {number_text(value)}"
        yield dot(number, plot.x.place(day_number(at)), plot.y.place(value), name=name)


def _legend(chart: LineChart) -> Html:
    entries: list[tuple[Html, str]] = []
    for number, series in enumerate(chart.series, start=1):
        band = [] if series.lower is None else [element("path", d="M0 2H36V14H0Z", class_="fig-band")]
        line = element("path", d="M0 8H36", class_="fig-line", fill="none", stroke="currentColor")
        entries.append((element("g", *band, line, dot(number, 18, 8), class_=f"fig-{number}"), series.name))
    if chart.reference is not None:
        entries.append((element("path", d="M0 8H36", class_="fig-reference"), chart.reference.label))
    kinds = {event.kind for event in chart.events}
    entries += [(event_glyph(kind, 18, 8), kind.value) for kind in EventKind if kind in kinds]
    return legend(entries)


def _numbers(chart: LineChart) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table: a row for each time that a line or an event has."""
    head, columns = ["Time (UTC)"], []
    for series in chart.series:
        names = [series.name] if series.lower is None else [series.name, f"{series.name}, lower", "upper"]
        head += names
        columns += [dict(zip(map(_time, series.at), part, strict=True)) for part in _parts(series)]
    happened: dict[str, list[str]] = {}
    for event in chart.events:
        said = f"{event.kind.sign} {event.kind.value} {event.label}".strip()
        happened.setdefault(_time(event.at), []).append(said)
    times = sorted({time for column in columns for time in column} | set(happened))
    rows = [[time, *(number_text(column.get(time)) for column in columns)] for time in times]
    if chart.events:
        head.append("Events")
        rows = [[*row, ", ".join(happened.get(row[0], []))] for row in rows]
    return head, rows


def _description(chart: LineChart) -> str:
    """What the drawing shows, for those who cannot see it."""
    said = []
    times = sorted({_time(at) for series in chart.series for at in series.at} | {_time(e.at) for e in chart.events})
    if times:
        said.append(f"From {times[0]} to {times[-1]}.")
    for series in chart.series:
        known = [value for value in series.values if value is not None]
        span = f"from {number_text(min(known))} to {number_text(max(known))}" if known else "nothing known"
        said.append(f"{series.name}: {len(known)} of {len(series.values)} points, {span}.")
    counts = [kind.counted(n) for kind in EventKind if (n := sum(event.kind is kind for event in chart.events))]
    return " ".join([*said, *([", ".join(counts) + "."] if counts else [])]) or "Nothing to show yet."


def _known(chart: LineChart) -> list[float]:
    """Every value and bound that there is."""
    return [number for series in chart.series for part in _parts(series) for number in part if number is not None]


def _parts(series: Series) -> list[Sequence[float | None]]:
    return [part for part in (series.values, series.lower, series.upper) if part is not None]


def _time(at: date) -> str:
    """A time in UTC as text that sorts: the date, and the time of day unless it is midnight."""
    if not isinstance(at, datetime):
        return at.isoformat()
    there = at.astimezone(UTC)
    is_whole_minute = (there.second, there.microsecond) == (0, 0)
    said = there.replace(tzinfo=None).isoformat(" ", "minutes" if is_whole_minute else "auto")
    return said.removesuffix(" 00:00")


def _across(plot: _Plot, y: float) -> str:
    return f"M{coordinate(plot.x.start)} {coordinate(y)}H{coordinate(plot.x.end)}"


def _text(text: str, x: float, y: float, anchor: str, look: str = "fig-text") -> Html:
    return element("text", text, x=x, y=y, text_anchor=anchor, class_=look)
