"""Figures, read back: where their marks are and what they say."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest

from perene.figures.intervals import Estimate, IntervalChart, draw_intervals
from perene.figures.lines import LineChart, Series, draw_lines

SVG = "{http://www.w3.org/2000/svg}"
FIRST = date(2013, 3, 1)
Point = tuple[float, float]


@dataclass
class Figure:
    """A parsed figure."""

    root: ElementTree.Element

    @property
    def drawing(self) -> ElementTree.Element:
        """Its SVG."""
        found = self.root.find(f"{SVG}svg")
        assert found is not None
        return found

    @property
    def size(self) -> Point:
        """Width and height of its SVG."""
        _, _, width, height = map(float, self.drawing.get("viewBox", "").split())
        return width, height

    def marks(self, name: str) -> list[ElementTree.Element]:
        """The drawing's elements of a class, in order."""
        return [one for one in self.drawing.iter() if name in one.get("class", "").split()]

    def pieces(self, name: str) -> list[list[Point]]:
        """The pieces of the paths of a class, as points."""
        said = [part for path in self.marks(name) for part in path.get("d", "").rstrip("Z").split("M") if part]
        return [[tuple(map(float, point.split())) for point in part.split("L")] for part in said]

    def across(self, name: str) -> Point:
        """Where the first horizontal line of a class starts and ends."""
        found = re.match(r"M([\d.]+) [\d.]+H([\d.]+)", self.marks(name)[0].get("d", ""))
        assert found is not None
        return float(found[1]), float(found[2])

    def dots(self, group: str) -> list[Point]:
        """Where the glyphs of a group stand."""
        moved = [one.get("transform") for there in self.marks(group) for one in there.iter()]
        return [tuple(map(float, re.findall(r"-?[\d.]+", text))) for text in moved if text]

    def words(self) -> list[ElementTree.Element]:
        """The texts of the drawing."""
        return list(self.drawing.iter(f"{SVG}text"))

    def texts(self, name: str) -> list[str]:
        """What the texts of a class say."""
        return [one.text or "" for one in self.marks(name)]

    def ticks(self, *, upright: bool = False) -> dict[float, float]:
        """The numbers of an axis, and where their ticks are."""
        side, anchor, below = ("y", "end", 5) if upright else ("x", "middle", 0)
        found = {}
        for one in self.words():
            said = (one.text or "").replace("−", "-").replace(",", "")
            if one.get("text-anchor") == anchor and re.fullmatch(r"-?[\d.]+", said):
                found[float(said)] = float(one.get(side, "nan")) - below
        return found

    def legend(self) -> list[str]:
        """The legend's words."""
        return ["".join(one.itertext()) for one in self.root.iter("li")]

    def table(self) -> list[list[str]]:
        """The table's rows, its head first."""
        return [["".join(cell.itertext()) for cell in row] for row in self.root.iter("tr")]


@pytest.fixture(scope="session")
def days() -> Callable[..., list[date]]:
    """So many days from 1 March 2013."""
    return _days


@pytest.fixture(scope="session")
def line() -> Callable[..., Series]:
    """A line of values, one a day."""
    return lambda values, **changes: Series(**{"name": "live", "at": _days(len(values)), "values": values} | changes)


@pytest.fixture(scope="session")
def lines() -> Callable[..., Figure]:
    """Draw lines and read the figure."""

    def draw(*series: Series, **changes: Any) -> Figure:
        chart = LineChart(**{"id": "loss", "title": "Loss", "series": series} | changes)
        return Figure(ElementTree.fromstring(draw_lines(chart)))

    return draw


@pytest.fixture(scope="session")
def intervals() -> Callable[..., Figure]:
    """Draw intervals and read the figure."""

    def draw(*estimates: Estimate, **changes: Any) -> Figure:
        chart = IntervalChart(**{"id": "gap", "title": "Gap", "estimates": estimates} | changes)
        return Figure(ElementTree.fromstring(draw_intervals(chart)))

    return draw


def _days(count: int, *, step: int = 1) -> list[date]:
    return [FIRST + timedelta(days=step * index) for index in range(count)]
