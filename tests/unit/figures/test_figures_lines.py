"""Lines over time: points, gaps, bands, events and ticks where the numbers are."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perene.figures.axes import Reference
from perene.figures.glyphs import EventKind
from perene.figures.lines import Event, LineChart
from perene.figures.style import STYLE

FIRST = date(2013, 3, 1)


def test_points_are_where_their_numbers_are(lines, line, days):
    """Each point's place agrees with the ticks of its axis, and times are spaced as they are in time."""
    values = [0.42, 0.47, 0.61, 0.5]
    figure = lines(line(values, at=[FIRST, *days(9, step=10)[6:]]))
    marks = figure.ticks(upright=True)
    (low, low_y), (high, high_y) = min(marks.items()), max(marks.items())

    [points] = figure.pieces("fig-line")

    expected = [low_y + (value - low) / (high - low) * (high_y - low_y) for value in values]
    assert [y for _, y in points] == pytest.approx(expected, abs=0.1)
    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(points)]
    assert gaps == pytest.approx([gaps[1] * 6, gaps[1], gaps[1]], abs=0.2)


def test_larger_values_are_higher(lines, line):
    """Up is more."""
    [points] = lines(line([1.0, 2.0])).pieces("fig-line")

    assert points[0][1] > points[1][1]


def test_gap_is_a_gap(lines, line):
    """Where nothing is known there is no line; a point between two gaps is a dot."""
    figure = lines(line([1.0, 2.0, None, 3.0, None, 1.0, 2.0, 3.0]))

    found = figure.pieces("fig-line")

    assert [len(piece) for piece in found] == [2, 3]
    assert len(figure.dots("fig-series")) == 6


def test_long_lines_have_few_dots(lines, line):
    """A line of many points shows as dots its last one and those that stand alone."""
    values = [1.0] * 50 + [None, 1.0, None] + [1.0] * 50

    assert len(lines(line(values)).dots("fig-series")) == 2


def test_band_has_its_bounds_and_its_gaps(lines, line):
    """A band goes through its upper bounds and back through its lower ones, in pieces where one is missing."""
    figure = lines(line([1, 1, 1, 1.0], lower=[0, 0.5, None, 0], upper=[2, 1.5, 2, 2]))
    marks = figure.ticks(upright=True)
    unit = (marks[2] - marks[0]) / 2

    bands = figure.pieces("fig-band")

    assert [len(band) for band in bands] == [4, 2]
    assert [(y - marks[0]) / unit for _, y in bands[0]] == pytest.approx([2, 1.5, 0.5, 0], abs=0.01)


def test_infinite_band_ends_with_the_plot(lines, line):
    """An infinite bound reaches the edge and stretches no axis."""
    figure = lines(line([1, 2.0], lower=[-math.inf, 1], upper=[math.inf, 3]))
    marks = figure.ticks(upright=True)

    [points] = figure.pieces("fig-band")

    assert [points[0][1], points[-1][1]] == pytest.approx([marks[3], marks[1]])


def test_lines_differ_in_more_than_colour(lines, line):
    """Every line has a dot of another shape, and all but the first their own dashes."""
    figure = lines(*(line([1.0, 2.0], name=f"model {n}") for n in range(5)))
    shapes = {one.get("d") for one in figure.marks("fig-dot")}
    dashes = re.findall(r"\.fig-(\d) \.fig-line \{ stroke-dasharray: ([\d ]+);", STYLE)

    assert len(shapes) == 5
    assert [number for number, _ in dashes] == ["2", "3", "4", "5"]
    assert len({pattern for _, pattern in dashes}) == 4


def test_more_lines_than_can_be_told_apart_are_refused(line):
    """Six lines are refused."""
    with pytest.raises(ValueError, match="6 lines cannot be told apart; 5 can"):
        LineChart(id="a", title="t", series=[line([1.0])] * 6)


def test_events_stand_at_their_time_with_their_own_glyph(lines, line, days):
    """An event's glyph and line stand over its day; kinds differ in shape; all are in the legend and the table."""
    at = days(4)
    events = [Event(at=day, kind=kind, label=f"v{n}") for n, (day, kind) in enumerate(zip(at, EventKind, strict=True))]
    figure = lines(line([1, 2, 3, 4.0]), events=events)
    [points] = figure.pieces("fig-line")

    found = {kind: figure.dots(f"fig-{kind.value}")[0] for kind in EventKind}

    assert [found[kind][0] for kind in EventKind] == pytest.approx([x for x, _ in points], abs=0.1)
    shapes = {figure.marks(f"fig-{kind.value}")[0][0].get("d") for kind in EventKind}
    assert len(shapes) == 4
    assert figure.legend()[1:] == [kind.value for kind in EventKind]
    assert [row[-1] for row in figure.table()] == [
        "Events",
        "▲ release v0",
        "✗ rejection v1",
        "◦ inconclusive v2",
        "▽ rollback v3",
    ]


def test_events_of_one_day_do_not_hide_each_other(lines, line):
    """Events of one day stand above one another."""
    events = [Event(at=FIRST, kind=kind) for kind in EventKind]
    figure = lines(line([1.0, 2.0, 3.0]), events=events)

    heights = [figure.dots(f"fig-{kind.value}")[0][1] for kind in EventKind]

    assert all(lower - upper >= 15 for lower, upper in pairwise(heights))


def test_labels_do_not_overlap(lines, line, days):
    """Of events at every day only labels with room are shown, on a narrow page fewer; all stay in the table."""
    at = days(120)
    events = [Event(at=day, kind=EventKind.RELEASE, label=f"version {n}") for n, day in enumerate(at)]
    figure = lines(line([1.0] * 120), events=events)

    for names, size in (({"fig-text"}, 22), ({"fig-text", "fig-wide"}, 13)):
        shown = [
            one
            for one in figure.words()
            if (one.text or "").startswith("version") and set(one.get("class", "").split()) <= names
        ]
        places = [float(one.get("x", "nan")) for one in shown if one.get("text-anchor") == "middle"]
        assert len(places) > 2
        assert all(b - a >= len("version 1") * 0.5 * size for a, b in pairwise(places))
    assert len(figure.table()) == 121


def test_labels_stay_in_the_drawing(lines, line, days):
    """A long label at the end of time stands at the edge, not beyond it."""
    events = [Event(at=days(9)[8], kind=EventKind.ROLLBACK, label="back to version 1")]
    figure = lines(line([1.0] * 9), events=events)

    [label] = [one for one in figure.words() if one.text == "back to version 1"]

    assert (label.get("x"), label.get("text-anchor")) == ("720", "end")


def test_reference_is_a_line_at_its_value(lines, line):
    """A reference lies at its value, widens the axis to it, and is named in the legend."""
    figure = lines(line([1.0, 2.0]), reference=Reference(value=5, label="a constant"))

    [path] = figure.marks("fig-reference")

    assert float(re.findall(r"[\d.]+", path.get("d", ""))[1]) == figure.ticks(upright=True)[5]
    assert "a constant" in figure.legend()


def test_table_has_every_number_and_no_other(lines, line):
    """The table has a row for each time that anything has, a dash where nothing is known."""
    first = line([0.5, None, 0.25], lower=[0.4, None, 0.2], upper=[0.6, None, 0.3])
    second = line([1234.25], name="rows", at=[FIRST + timedelta(days=1)])

    assert lines(first, second).table() == [
        ["Time (UTC)", "live", "live, lower", "upper", "rows"],
        ["2013-03-01", "0.5000", "0.4000", "0.6000", "–"],
        ["2013-03-02", "–", "–", "–", "1,234"],
        ["2013-03-03", "0.2500", "0.2000", "0.3000", "–"],
    ]


def test_table_has_events_between_points(lines, line):
    """An event of a time that no line has gets a row of its own."""
    happened = Event(at=datetime(2013, 3, 1, 6, tzinfo=UTC), kind=EventKind.REJECTION, label="v2")

    assert lines(line([1.0]), events=[happened]).table()[1:] == [
        ["2013-03-01", "1", ""],
        ["2013-03-01 06:00", "–", "✗ rejection v2"],
    ]


def test_instants_are_drawn_and_said_in_utc(lines, line):
    """An instant lies where its UTC time is, whatever its offset."""
    noon = datetime(2013, 3, 2, 14, tzinfo=timezone(timedelta(hours=2)))
    figure = lines(line([1.0, 2.0, 3.0], at=[FIRST, noon, datetime(2013, 3, 4, tzinfo=UTC)]))

    [points] = figure.pieces("fig-line")

    assert (points[1][0] - points[0][0]) / (points[2][0] - points[0][0]) == pytest.approx(0.5, abs=0.001)
    assert [row[0] for row in figure.table()[1:]] == ["2013-03-01", "2013-03-02 12:00", "2013-03-04"]


def test_nothing_is_said_to_be_nothing(lines, line):
    """A chart without data says so, and has no numbers on its axis."""
    figure = lines(line([None, None]))

    assert "No data" in figure.texts("fig-note")
    assert figure.ticks(upright=True) == {}
    assert lines().texts("fig-note") == ["No data"]


def test_one_point_is_a_dot_in_the_middle(lines, line):
    """A single point is a dot in the middle of its axis, which has a date."""
    figure = lines(line([3.0]))
    [place] = figure.dots("fig-series")
    start, end = figure.across("fig-axis")

    assert place[0] == pytest.approx((start + end) / 2, abs=0.1)
    assert figure.marks("fig-line") == []
    assert "1 Mar" in figure.texts("fig-text")


@pytest.mark.parametrize("level", [0.0, 0.25, -7.0, 1e12, 1e-12])
def test_constant_series_is_a_level_line(level, lines, line):
    """A line of one value is level, within the plot, and its axis has ticks around it."""
    figure = lines(line([level] * 5))

    [points] = figure.pieces("fig-line")

    assert len({y for _, y in points}) == 1
    assert len(figure.marks("fig-grid")) >= 3


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_value_that_is_no_number_is_refused(bad, line):
    """NaN and infinities are no values: a gap is said as None."""
    with pytest.raises(ValueError, match=r"'live' has .* among its values, at 2013-03-02"):
        line([1.0, bad])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lower": [0, math.nan], "upper": [1, 1]}, "among its lower"),
        ({"lower": [0, 0]}, "one bound only"),
        ({"lower": [0], "upper": [1, 1]}, "2 times and 1 lower"),
        ({"at": [FIRST]}, "1 times and 2 values"),
        ({"at": [FIRST, FIRST]}, "do not ascend"),
        ({"at": [datetime(2013, 3, 1), datetime(2013, 3, 2)]}, "no offset"),  # noqa: DTZ001
    ],
)
def test_series_that_cannot_be_drawn_is_refused(changes, words, line):
    """A series is refused by name when it is made, not when it is drawn."""
    with pytest.raises(ValueError, match=words):
        line([1.0, 2.0], **changes)


def test_numbers_too_large_to_draw_are_refused(lines, line):
    """What has no finite axis is refused, not drawn wrongly."""
    with pytest.raises(ValueError, match="cannot be drawn"):
        lines(line([-1.7e308, 1.7e308]))


@given(values=st.lists(st.none() | st.floats(-1e290, 1e290), max_size=60))
def test_any_numbers_make_a_figure_inside_its_frame(values, lines, line):
    """Whatever the values are, every mark lies within the drawing."""
    figure = lines(line(values))
    width, height = figure.size

    points = [point for piece in figure.pieces("fig-line") for point in piece]

    assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
