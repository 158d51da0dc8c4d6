"""Sizes in bytes as people write them."""

from __future__ import annotations

import re
from decimal import Decimal

_UNITS = {
    "B": 1,
    **{f"{letter}B": 1000 ** (i + 1) for i, letter in enumerate("KMGT")},
    **{f"{letter}iB": 1024 ** (i + 1) for i, letter in enumerate("KMGT")},
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?i?B)", re.IGNORECASE)
_BY_NAME = {unit.lower(): size for unit, size in _UNITS.items()}
FORM = 'a number and a unit, as in "512MiB" or "1.5GiB" (MB are millions of bytes, MiB 1,048,576)'


def size_in_bytes(text: str | int) -> int:
    """The bytes that a text says: ``"512MiB"``, ``"1.5 GB"``; an int is bytes already.

    Raises:
        ValueError: the text is not of that form, or says less than a byte; the message says the form.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        size = text
    else:
        found = _SIZE.fullmatch(text.strip()) if isinstance(text, str) else None
        if found is None or found[2].lower() not in _BY_NAME:
            raise ValueError(f"{text!r} is not a size: write {FORM}")
        size = int(Decimal(found[1]) * _BY_NAME[found[2].lower()])
    if size < 1:
        raise ValueError(f"{text!r} is less than a byte")
    return size


def show_size(size: int) -> str:
    """Bytes in the largest unit that they fill, to a tenth: ``512 MiB``, ``1.5 GiB``."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size >= _UNITS[unit]:
            return f"{size / _UNITS[unit]:,.1f}".removesuffix(".0") + f" {unit}"
    return f"{size} B"
