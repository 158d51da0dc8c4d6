"""Intervals in rows: dots, whiskers and zero where the numbers are."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from perene.figures.axes import Reference
from perene.figures.intervals import Estimate


def test_interval_is_where_its_numbers_are(intervals):
    """Dot, whisker and zero line agree with the ticks."""
    figure = intervals(Estimate(label="May", value=0.01, lower=-0.02, upper=0.04))
    marks = figure.ticks()
    unit = (marks[0.04] - marks[0.0]) / 0.04

    [[x, y]] = figure.dots("fig-estimate")
    start, end = figure.across("fig-whisker")

    assert [(x - marks[0.0]) / unit, (start - marks[0.0]) / unit, (end - marks[0.0]) / unit] == pytest.approx(
        [0.01, -0.02, 0.04], abs=0.001
    )
    assert figure.marks("fig-whisker")[0].get("d", "").split("H")[0].endswith(f" {y:.1f}".removesuffix(".0"))
    assert figure.marks("fig-zero")[0].get("d", "").startswith(f"M{marks[0.0]:.1f}".removesuffix(".0"))


@pytest.mark.parametrize(
    ("lower", "upper", "is_clear"), [(0.1, 0.3, True), (-0.3, -0.1, True), (-0.1, 0.3, False), (0.0, 0.3, False)]
)
def test_clear_intervals_have_another_glyph(lower, upper, is_clear, intervals):
    """An interval that leaves out zero has a full dot, one that includes it a hollow one; the legend says which."""
    figure = intervals(Estimate(label="May", value=(lower + upper) / 2, lower=lower, upper=upper))

    assert len(figure.marks("fig-dot")) == is_clear
    assert len(figure.marks("fig-hollow")) == (not is_clear)
    legend = " ".join(figure.legend())
    assert ("leaves out zero" in legend, "includes zero" in legend) == (is_clear, not is_clear)


def test_zero_is_always_seen(intervals):
    """Zero is on the axis, however far the estimates lie from it."""
    figure = intervals(Estimate(label="May", value=7, lower=6, upper=8))

    assert 0.0 in figure.ticks()


def test_infinite_bounds_are_arrows_to_the_edge(intervals):
    """An interval without an end has an arrow at the plot's edge, no cap, and stretches no axis."""
    figure = intervals(
        Estimate(label="one day", value=1, lower=-math.inf, upper=math.inf),
        Estimate(label="May", value=1, lower=0.0, upper=2),
    )
    start, end = figure.across("fig-whisker")

    marks = figure.ticks()
    assert (start, end) == (min(marks.values()), max(marks.values()))
    assert max(marks) <= 2
    assert "v10" not in figure.marks("fig-whisker")[0].get("d", "")
    assert figure.table()[1][2:] == ["-∞", "∞"]


def test_unknown_estimate_is_said(intervals):
    """A row without an estimate says so, in the drawing and as dashes in the table."""
    figure = intervals(Estimate(label="May", value=None), Estimate(label="June", value=1.0))

    assert figure.texts("fig-note") == ["not known"]
    assert figure.table()[1] == ["May", "–", "–", "–"]
    assert len(figure.dots("fig-estimate")) == 1


def test_long_names_are_cut_and_kept_in_the_table(intervals):
    """A long name is cut in the drawing, whose table has it whole."""
    name = "an airport with a very long name"
    figure = intervals(Estimate(label=name, value=1.0))

    [shown] = figure.texts("fig-strong")

    assert (len(shown), shown[-1]) == (18, "…")
    assert figure.table()[1][0] == name


def test_rows_and_sides_are_in_order(intervals):
    """Rows come as they were given, from the top; the sides' words stand left and right."""
    figure = intervals(*(Estimate(label=name, value=1.0) for name in "cab"), below="live is better", above="first is")
    names = figure.marks("fig-strong")

    assert [one.text for one in names] == ["c", "a", "b"]
    assert all(float(a.get("y", "")) < float(b.get("y", "")) for a, b in pairwise(names))
    said = [one for one in figure.words() if (one.text or "").strip("← →") in {"live is better", "first is"}]
    assert [one.get("text-anchor") for one in said] == ["start", "end"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"value": math.nan}, "None where nothing is known"),
        ({"value": math.inf}, "None where nothing is known"),
        ({"value": 1, "lower": math.nan, "upper": 2}, "None where nothing is known"),
        ({"value": 1, "lower": 0}, "bounds without each other"),
        ({"value": None, "lower": 0, "upper": 1}, "without an estimate"),
        ({"value": 3, "lower": 0, "upper": 1}, "do not enclose"),
        ({"value": 1, "lower": 2, "upper": 0}, "do not enclose"),
    ],
)
def test_estimate_that_cannot_be_is_refused(changes, words):
    """An estimate is refused by name when it is made."""
    with pytest.raises(ValueError, match=words):
        Estimate(label="May", **changes)


def test_reference_that_is_no_number_is_refused():
    """A reference lies somewhere."""
    with pytest.raises(ValueError, match="'margin' lies at nan"):
        Reference(value=math.nan, label="margin")
