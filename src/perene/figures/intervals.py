"""Estimates with their intervals, one row each: differences by month, by slice, by model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite, isnan

from perene.figures.axes import (
    LINE,
    NARROW,
    Reference,
    Scale,
    label_row,
    number_text,
    number_ticks,
    text_width,
)
from perene.figures.glyphs import dot
from perene.figures.html import Html, check_id, coordinate, drawing, element, figure, legend, table

WIDTH, RIGHT, ROW = 720.0, 44.0, 34.0
_LONGEST = 18  # letters of a row's name that are shown; the table has all


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A row: its name, the estimate, and its bounds, which may be infinite. None: not known."""

    label: str
    value: float | None
    lower: float | None = None
    upper: float | None = None

    def __post_init__(self) -> None:
        numbers = (self.lower, self.value, self.upper)
        if (self.lower is None) != (self.upper is None) or (self.value is None and self.lower is not None):
            raise ValueError(f"{self.label!r} has bounds without each other or without an estimate")
        known = [number for number in numbers if number is not None]
        if any(map(isnan, known)) or (self.value is not None and not isfinite(self.value)):
            raise ValueError(f"{self.label!r} has {numbers}; None where nothing is known")
        if known != sorted(known):
            raise ValueError(f"the bounds of {self.label!r} do not enclose it: {numbers}")

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.lower is not None and self.upper is not None and (self.lower > 0 or self.upper < 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalChart:
    """What a chart of intervals is drawn from.

    ``level`` names the interval. ``below`` and ``above`` say what it means to lie left and right of zero.
    ``description`` is made when it is empty.
    """

    id: str
    title: str
    estimates: Sequence[Estimate]
    unit: str = ""
    level: str = "95 % interval"
    below: str = ""
    above: str = ""
    caption: str = ""
    description: str = ""
    references: Sequence[Reference] = field(default=())

    def __post_init__(self) -> None:
        check_id(self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plot:
    x: Scale
    top: float
    foot: float
    height: float

    def row(self, index: int) -> float:
        return self.top + ROW * (index + 0.5)


def draw_intervals(chart: IntervalChart) -> str:
    """A chart of estimates with intervals as a figure: drawing, legend, caption and table.

    Raises:
        ValueError: a value is larger than can be drawn.
    """
    plot, marks = _axes(chart)
    for index, estimate in enumerate(chart.estimates):
        marks += _row(estimate, plot, plot.row(index))
    if not chart.estimates:
        marks.append(_text("No data", (plot.x.start + plot.x.end) / 2, plot.row(0) + 5, "middle", "fig-text fig-note"))
    drawn = drawing(
        chart.id,
        marks,
        title=chart.title,
        description=chart.description or _description(chart),
        size=(WIDTH, plot.height),
    )
    head = ["", chart.unit or "Estimate", f"Lower ({chart.level})", "Upper"]
    rows = [[one.label, *map(number_text, (one.value, one.lower, one.upper))] for one in chart.estimates]
    numbers = table(f"Numbers of {chart.title}", head, rows)
    return figure(chart.id, drawn, title=chart.title, caption=chart.caption, legend=_legend(chart), numbers=numbers)


def _axes(chart: IntervalChart) -> tuple[_Plot, list[Html]]:
    """Where things lie, and what stands behind the rows: grid, ticks, zero, references, names."""
    values = [number for one in chart.estimates for number in (one.value, one.lower, one.upper) if number is not None]
    ticks = number_ticks([0.0, *values, *(reference.value for reference in chart.references)], count=4)
    left = 24 + max((text_width(_short(one.label), NARROW) for one in chart.estimates), default=0)
    x = Scale(low=ticks[0].at, high=ticks[-1].at, start=left, end=WIDTH - RIGHT)
    top = LINE + 6 if chart.unit else 12
    foot = top + ROW * max(len(chart.estimates), 1)
    sides = list(_sides(chart, x, foot))
    plot = _Plot(x=x, top=top, foot=foot, height=foot + LINE + 8 + LINE * (2 if len(sides) > 2 else bool(sides)))
    marks = [_text(chart.unit, 0, 20, "start")] if chart.unit else []
    marks += [_upright(plot, x.place(tick.at), "fig-grid") for tick in ticks]
    marks.append(element("path", d=f"M{coordinate(left)} {coordinate(foot)}H{coordinate(x.end)}", class_="fig-axis"))
    marks += label_row(
        [(x.place(tick.at), tick.label) for tick in ticks] if chart.estimates else [], y=foot + LINE, width=WIDTH
    )
    marks += [_upright(plot, x.place(0), "fig-zero")] if chart.estimates else []
    marks += [_upright(plot, x.place(reference.value), "fig-reference") for reference in chart.references]
    for index, one in enumerate(chart.estimates):
        marks.append(_text(_short(one.label), left - 16, plot.row(index) + 6, "end", "fig-text fig-strong"))
    return plot, marks + sides


def _sides(chart: IntervalChart, x: Scale, foot: float) -> Iterator[Html]:
    """What left and right of zero mean."""
    if chart.below:
        yield _text(f"← {chart.below}", x.start, foot + 2 * LINE, "start")
    if chart.above:
        yield _text(f"{chart.above} →", x.end, foot + 2 * LINE, "end")


def _row(estimate: Estimate, plot: _Plot, y: float) -> Iterator[Html]:
    """The interval as a whisker (with an arrow where it has no end) and the estimate as a dot."""
    if estimate.value is None:
        yield _text("not known", plot.x.place(0) + 12, y + 5, "start", "fig-text fig-note")
        return
    marks = []
    if estimate.lower is not None and estimate.upper is not None:
        ends = [plot.x.place(estimate.lower), plot.x.place(estimate.upper)]
        path = f"M{coordinate(ends[0])} {coordinate(y)}H{coordinate(ends[1])}"
        for end, bound, back in ((ends[0], estimate.lower, 7), (ends[1], estimate.upper, -7)):
            shape = "v10" if isfinite(bound) else f"m{back} 0l{-back} 5l{back} 5"
            path += f"M{coordinate(end)} {coordinate(y - 5)}{shape}"
        marks.append(element("path", d=path, class_="fig-whisker"))
    name = f"{estimate.label}: {number_text(estimate.value)}"
    if estimate.lower is not None:
        name += f" ({number_text(estimate.lower)} to {number_text(estimate.upper)})"
    marks.append(dot(1, plot.x.place(estimate.value), y, name=name, is_hollow=not estimate.is_clear))
    yield element("g", *marks, class_="fig-estimate fig-certain fig-1" if estimate.is_clear else "fig-estimate fig-1")


def _legend(chart: IntervalChart) -> Html:
    has_bounds = [one for one in chart.estimates if one.lower is not None]
    whisker = element("path", d="M1 8H35M1 3v10M35 3v10", class_="fig-whisker")
    entries = []
    for is_clear, word in ((True, "leaves out zero"), (False, "includes zero")):
        if any(one.is_clear is is_clear for one in has_bounds):
            swatch = element("g", whisker, dot(1, 18, 8, is_hollow=not is_clear), class_="fig-certain fig-1")
            entries.append((swatch, f"{chart.level} {word}"))
    line = element("path", d="M18 0V16", class_="fig-reference")
    return legend([*entries, *((line, reference.label) for reference in chart.references)])


def _description(chart: IntervalChart) -> str:
    """What the drawing shows, for those who cannot see it."""
    known = [one.value for one in chart.estimates if one.value is not None]
    if not known:
        return "Nothing to show yet."
    clear = sum(one.is_clear for one in chart.estimates)
    return (
        f"{len(known)} of {len(chart.estimates)} rows are known, from {number_text(min(known))} to "
        f"{number_text(max(known))}; the {chart.level} of {clear} leaves out zero."
    )


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"


def _upright(plot: _Plot, x: float, look: str) -> Html:
    return element("path", d=f"M{coordinate(x)} {coordinate(plot.top)}V{coordinate(plot.foot)}", class_=look)


def _text(text: str, x: float, y: float, anchor: str, look: str = "fig-text") -> Html:
    return element("text", text, x=x, y=y, text_anchor=anchor, class_=look)
