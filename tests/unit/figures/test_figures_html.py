"""What every figure is: an image with words, numbers beside it, nothing unescaped; and the page around it."""

from __future__ import annotations

import math
import re
from datetime import date
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perene.figures.axes import Reference
from perene.figures.glyphs import EventKind
from perene.figures.html import Html, element, page
from perene.figures.intervals import Estimate, IntervalChart, draw_intervals
from perene.figures.lines import Event, LineChart, draw_lines
from perene.figures.style import STYLE

SVG = "{http://www.w3.org/2000/svg}"
FIRST = date(2013, 3, 1)
NASTY = "<script>alert(1)</script> & \"quotes' \x00\ud800]]>"


@pytest.fixture(params=["lines", "intervals", "no lines", "no rows"])
def any_figure(request, lines, intervals, line) -> Any:
    """A figure of each kind, full and empty."""
    match request.param:
        case "lines":
            events = [Event(at=FIRST, kind=kind, label=f"v{n}") for n, kind in enumerate(EventKind)]
            five = [line([n, None, n + 1.0], name=f"model {n}", lower=[0, 0, 0], upper=[9, 9, 9]) for n in range(5)]
            return lines(*five, events=events, reference=Reference(value=3, label="constant"), unit="loss")
        case "intervals":
            wide = Estimate(label="May", value=1, lower=-math.inf, upper=math.inf)
            return intervals(wide, Estimate(label="June", value=None), references=[Reference(value=2, label="margin")])
        case "no lines":
            return lines()
        case _:
            return intervals()


def test_figure_is_an_image_with_words(any_figure):
    """A figure's drawing is read out as an image by its title and description, its caption and table stand below."""
    svg = any_figure.drawing
    named = svg.get("aria-labelledby", "").split()
    words = {one.get("id"): one.text for one in (svg[0], svg[1])}

    assert (any_figure.root.tag, svg.get("role")) == ("figure", "img")
    assert [svg[0].tag, svg[1].tag] == [f"{SVG}title", f"{SVG}desc"]
    assert list(words) == named
    assert all(words.values())
    parts = [one.tag for one in any_figure.root if one.tag != "ul"]
    assert parts == [f"{SVG}svg", "figcaption", "details"]
    assert any_figure.root.find("details/summary").text == "Show the numbers"
    assert any_figure.root.find("details//table/thead") is not None


def test_figure_needs_no_script_no_host_and_no_inline_style(any_figure):
    """A figure has no script, no inline style, no handler and no address."""
    for one in any_figure.root.iter():
        assert one.tag.removeprefix(SVG) not in {"script", "style", "image", "a", "use", "foreignObject"}
        assert not [name for name in one.attrib if name in {"style", "href", "src"} or name.startswith("on")]


def test_figure_scales(any_figure):
    """A figure's size is its viewBox, so that it takes the width that it is given."""
    svg = any_figure.drawing

    assert re.fullmatch(r"0 0 720 \d+(\.\d)?", svg.get("viewBox", ""))
    assert not {"width", "height"} & set(svg.attrib)


def test_every_class_has_its_style(any_figure):
    """Each class that a mark has is in the stylesheet, or a group's name."""
    names = {name for one in any_figure.root.iter() for name in one.get("class", "").split()}

    assert {name for name in names if f".{name} " not in STYLE} <= {"fig-series", "fig-estimate"}


def test_everything_given_is_escaped(line):
    """Names, labels and captions are text wherever they appear, and what no page may hold is replaced."""
    text = draw_lines(
        LineChart(
            id="x",
            title=NASTY,
            caption=NASTY,
            unit=NASTY,
            description=NASTY,
            series=[line([1.0, 2.0], name=NASTY)],
            events=[Event(at=FIRST, kind=EventKind.RELEASE, label=NASTY)],
            reference=Reference(value=1, label=NASTY),
        )
    ) + draw_intervals(
        IntervalChart(
            id="y",
            title=NASTY,
            caption=NASTY,
            unit=NASTY,
            level=NASTY,
            below=NASTY,
            above=NASTY,
            estimates=[Estimate(label=NASTY, value=1, lower=0, upper=2)],
            references=[Reference(value=1, label=NASTY)],
        )
    )
    root = ElementTree.fromstring(f"<both>{text}</both>")

    assert "<script" not in text
    assert not [one for one in root.iter() if one.tag.endswith("script")]
    assert "<script>alert(1)</script> & \"quotes' \ufffd\ufffd]]>" in {one.text for one in root.iter()}
    text.encode()


@given(name=st.text(max_size=40), label=st.text(max_size=40))
def test_any_text_makes_a_figure(name, label, lines, line):
    """Whatever text is given, the figure is well formed."""
    figure = lines(line([1.0], name=name), events=[Event(at=FIRST, kind=EventKind.RELEASE, label=label)], caption=label)

    assert figure.root.tag == "figure"


@pytest.mark.parametrize("id", ["", "1st", "a b", 'a"', "é"])
def test_id_that_cannot_be_referred_to_is_refused(id):
    """An id is a letter, then letters, digits, - and _."""
    with pytest.raises(ValueError, match="is no id"):
        LineChart(id=id, title="t", series=[])
    with pytest.raises(ValueError, match="is no id"):
        IntervalChart(id=id, title="t", estimates=[])


def test_same_input_draws_the_same(line):
    """A figure is a function of its input."""
    chart = LineChart(id="a", title="t", series=[line([1.0, None, 2.0])])

    assert draw_lines(chart) == draw_lines(chart)


def test_element_escapes_all_but_markup():
    """Text and attributes are escaped, markup is not, None leaves an attribute out."""
    made = element("p", "a < b", element("b", "c"), class_='"', aria_label=None, x=1.25)

    assert made == '<p class="&quot;" x="1.2">a &lt; b<b>c</b></p>'
    assert made.__html__() == made


def test_page_needs_nothing_else():
    """A page carries its styles, refuses scripts and other hosts by its policy, and escapes its title."""
    made = page("A < B", element("p", "c"), Html(draw_lines(LineChart(id="a", title="t", series=[]))))

    assert made.startswith("<!doctype html>\n<html")
    assert "<title>A &lt; B</title>" in made
    assert STYLE in made
    assert "default-src 'none'" in made.replace("&#x27;", "'")
    assert not re.search(r"<script|https?://(?!www\.w3\.org/2000/svg)", made)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_colours_stand_out(mode):
    """Marks stand out 3:1 from the page and words 4.5:1, in the light and in the dark."""
    blocks = re.findall(r"\.fig \{ (--fig-paper.*?)(?:container|\})", STYLE, re.DOTALL)
    colours = dict(re.findall(r"--fig-([\w]+): (#\w+)", blocks[mode == "dark"]))

    assert len(blocks) == 2
    for name in ("1", "2", "3", "4", "5", "text", "soft"):
        least = 4.5 if name in {"text", "soft"} else 3
        assert contrast(colours[name], colours["paper"]) >= least, name


def contrast(one: str, other: str) -> float:
    """The contrast of two colours (WCAG 2)."""

    def light(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
