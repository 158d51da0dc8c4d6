"""Names that were probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from perene.errors import NotFound

_LEAST = 3  # letters of a beginning


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"; did you mean x?"``, or nothing when no known name is close, or begins so."""
    names = list(known)
    close = get_close_matches(name, names, n=1) or [n for n in names if len(name) >= _LEAST and n.startswith(name)]
    return f"; did you mean {close[0]}?" if close else ""


def no_model(name: str, known: Sequence[str]) -> NotFound:
    """The error of who names a model that is not there."""
    return NotFound(
        f"there is no model {name!r}{did_you_mean(name, known)}",
        why=f"the project has {', '.join(known)}" if known else "the project has no models yet",
        mend="perene model list" if known else "perene check",
    )
