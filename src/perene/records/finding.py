"""What an examination of a project finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Soundness(StrEnum):
    """How a thing is that was looked at."""

    FINE = "fine"
    WARNING = "warning"  # it works, and someone should know
    BROKEN = "broken"  # it does not work, or it could not be looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at: how it is in a word, what was seen, why, and what mends it.

    ``check`` names it, with its model where it is of one; no two of an examination have the same name.
    """

    check: str
    state: Soundness
    what: str
    why: str = ""
    mend: str = ""
