"""Lists of ids in files, read again as soon as they change."""

from __future__ import annotations

import re
from pathlib import Path

from perene.errors import ServingError

Seen = tuple[int, int, int]  # of a file: when it was changed, how long it is, and which it is
Ids = frozenset[str | int]
_COMMENT = re.compile(r"(^|\s)#")
_read: dict[tuple[Path, bool], tuple[Seen, Ids]] = {}


def listed(file: Path, *, are_numbers: bool) -> Ids:
    """The ids of a file: one per line. ``#`` at a line's begin or after a space begins a comment.

    Raises:
        ServingError: the file cannot be read, or has a line that is no id; nothing is answered then.
    """
    try:
        stat = file.stat()
        seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        before = _read.get((file, are_numbers))
        if before is not None and before[0] == seen:
            return before[1]
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(file, getattr(error, "strerror", None) or str(error)) from error
    texts = [(place, _COMMENT.split(line, maxsplit=1)[0].strip()) for place, line in enumerate(lines, start=1)]
    ids = frozenset(_id(file, place, text, are_numbers=are_numbers) for place, text in texts if text)
    _read[(file, are_numbers)] = seen, ids
    return ids


def _id(file: Path, place: int, text: str, *, are_numbers: bool) -> str | int:
    if not are_numbers:
        return text
    try:
        number = int(text)
    except ValueError:
        raise _unreadable(file, f"line {place} is {text[:40]!r}, no integer") from None
    if abs(number) >= 2**63:
        raise _unreadable(file, f"line {place} is no integer of 64 bits")
    return number


def _unreadable(file: Path, why: str) -> ServingError:
    return ServingError(
        f"the list {file.name} cannot be read, and what is on it may not be answered",
        why=f"{file}: {why}",
        mend="mend the file, or put it back; the next request reads it again",
        code="list-unreadable",
    )
