"""HTML and SVG from text: whatever is not markup already is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from perene.figures.style import PAGE_STYLE, STYLE

_NOT_TEXT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML allows no others
_ID = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Html(str):
    """Text that is markup, so that it is not escaped again; Jinja knows it as such too."""

    __slots__ = ()

    def __html__(self) -> str:
        return str(self)


def element(name: str, /, *children: str, **attributes: str | float | None) -> Html:
    """An element, its children in order.

    Args:
        name: the element's name.
        children: markup as it is, any other text escaped.
        attributes: one that is None is left out; ``class_`` gives ``class``, ``text_anchor`` gives ``text-anchor``.
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_text(value if isinstance(value, str) else coordinate(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = joined(children)
    return Html(f"<{name}{said}>{inner}</{name}>" if inner else f"<{name}{said}/>")


def joined(parts: Iterable[str]) -> Html:
    """Parts one after another: markup as it is, other text escaped."""
    return Html("".join(part if isinstance(part, Html) else _text(part) for part in parts))


def coordinate(value: float) -> str:
    """A coordinate, to a tenth."""
    said = f"{value:.1f}".removesuffix(".0")
    return "0" if said == "-0" else said


def drawing(id: str, marks: Iterable[str], *, title: str, description: str, size: tuple[float, float]) -> Html:
    """An SVG that is read out as an image with a title and a description, and scales to the width that it is given."""
    width, height = size
    return element(
        "svg",
        element("title", title, id=f"{id}-title"),
        element("desc", description, id=f"{id}-desc"),
        *marks,
        xmlns="http://www.w3.org/2000/svg",
        class_="fig-drawing",
        viewBox=f"0 0 {coordinate(width)} {coordinate(height)}",
        role="img",
        aria_labelledby=f"{id}-title {id}-desc",
    )


def figure(id: str, drawn: Html, *, title: str, caption: str, legend: Html, numbers: Html) -> Html:
    """A figure: the drawing, what its marks mean, what it shows, and its numbers as a table to unfold."""
    return element(
        "figure",
        drawn,
        legend,
        element("figcaption", element("strong", title), f" {caption}" if caption else ""),
        element("details", element("summary", "Show the numbers"), numbers),
        class_="fig",
        id=id,
    )


def legend(entries: Iterable[tuple[Html, str]]) -> Html:
    """What the marks mean: a swatch (drawn in 36 × 16) and its word for each."""
    items = [
        element(
            "li",
            element("svg", swatch, class_="fig-swatch", viewBox="0 0 36 16", width=36, height=16, aria_hidden="true"),
            element("span", word),
        )
        for swatch, word in entries
    ]
    return element("ul", *items, class_="fig-legend") if items else Html("")


def table(name: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """A table whose first column names its rows; it scrolls by itself where it is too wide."""
    titles = element("tr", *(element("th", cell, scope="col") for cell in head))
    lines = [
        element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in rest))
        for first, *rest in rows
    ]
    inner = element("table", element("thead", titles), element("tbody", *lines))
    return element("div", inner, class_="fig-numbers", role="region", aria_label=name, tabindex="0")


def page(title: str, *parts: str, style: str = "") -> Html:
    """A whole page that needs nothing else: no script, no host, styles for figures included."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", title),
        element("style", Html(PAGE_STYLE + STYLE + style)),
    )
    return Html(f"<!doctype html>\n{element('html', head, element('body', element('main', *parts)), lang='en')}\n")


def check_id(id: str) -> None:
    """Refuse an id that other elements cannot refer to.

    Raises:
        ValueError: it is not a letter followed by letters, digits, - and _.
    """
    if not _ID.fullmatch(id):
        raise ValueError(f"{id!r} is no id: a letter, then letters, digits, - and _")


def _text(text: str) -> str:
    return escape(_NOT_TEXT.sub("\ufffd", text))
