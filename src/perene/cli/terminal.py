"""What a terminal can show: colour, width, and texts that do it no harm."""

from __future__ import annotations

import os
import re
import shutil
from typing import TextIO

_TONES = {"good": "32", "warn": "33", "bad": "31;1", "faint": "2", "strong": "1"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def is_terminal(stream: TextIO) -> bool:
    """Whether a person looks at the stream."""
    return not stream.closed and stream.isatty()


def is_coloured(stream: TextIO) -> bool:
    """Whether the stream gets colour: a terminal that is not dumb, and NO_COLOR is not set."""
    return can_rewrite(stream) and not os.environ.get("NO_COLOR")


def can_rewrite(stream: TextIO) -> bool:
    """Whether a line of the stream can be written over: a terminal that is not dumb."""
    return is_terminal(stream) and os.environ.get("TERM") != "dumb"


def paint(text: str, tone: str, *, coloured: bool) -> str:
    """The text in a tone (good, warn, bad, faint, strong), or as it is."""
    return f"\x1b[{_TONES[tone]}m{text}\x1b[0m" if coloured and tone in _TONES else text


def one_line(value: object) -> str:
    """A value as text that neither moves the cursor nor breaks a row: control characters become a space."""
    return _CONTROL.sub(" ", str(value))


def width_of(text: str) -> int:
    """How many columns a text takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )


def cut(text: str, width: int) -> str:
    """The text, or as much of it as fits the width, ending in an ellipsis."""
    if width_of(text) <= width:
        return text
    kept = text
    while kept and width_of(kept) >= width:
        kept = kept[:-1]
    return kept.rstrip() + "…"


def folded(text: str, width: int) -> list[str]:
    """The text in lines of at most a width, broken between words; a word that is longer is left whole."""
    if width_of(text) <= width:
        return [text]
    import textwrap

    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def columns_of_terminal() -> int:
    """The width of the terminal in columns (COLUMNS, else what the terminal says, else 80)."""
    return shutil.get_terminal_size().columns
