"""The steps by which a new version takes over, as people write them: ``"10% 1h, 50% 1h"``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from perene.definition.durations import FORM, duration, show_duration

USUAL = "10% 1h, 50% 1h"
_LEAST = 0.001  # of all keys


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryStep:
    """For how long (project time) which share of the keys, above 0 and below 1, is answered by the new version."""

    share: float
    lasts: timedelta

    def __str__(self) -> str:
        return f"{share_text(self.share)} {show_duration(self.lasts)}"


def read_canary(text: str, *, declared: tuple[CanaryStep, ...] = ()) -> tuple[CanaryStep, ...]:
    """The steps that a text says: shares that rise, each with its duration.

    A single share without a duration, as ``"10%"``, is where to begin: it lasts as long as the first declared step, and
    the larger declared ones follow. Without a declaration the usual steps (10 % and 50 %, an hour each) are meant.

    Raises:
        ValueError: it says none; the message says the form.
    """
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is not a text: write {_FORM}")
    parts = [part.split(None, 1) for part in text.split(",")]
    if len(parts) == 1 and len(parts[0]) == 1:
        first, known = _share(parts[0][0]), declared or read_canary(USUAL)
        return (CanaryStep(share=first, lasts=known[0].lasts), *(step for step in known if step.share > first))
    if not all(len(part) == 2 for part in parts):
        raise ValueError(f"{text!r} does not say for how long: write {_FORM}")
    steps = tuple(CanaryStep(share=_share(share), lasts=duration(lasts)) for share, lasts in parts)
    if any(step.lasts == timedelta(0) for step in steps):
        raise ValueError(f"a step of {text!r} lasts no time: write {_FORM}")
    if any(after.share <= before.share for before, after in pairwise(steps)):
        raise ValueError(f"the shares of {text!r} do not rise")
    return steps


def share_text(share: float) -> str:
    """A share in per cent: ``10%``, ``0.5%``."""
    return f"{100 * share:.6g}%"


def _share(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / 100 if text.endswith("%") else -1.0
    except ValueError:
        share = -1.0
    if not _LEAST <= share < 1:
        raise ValueError(f"{text!r} is not a share of the keys from {share_text(_LEAST)} to below 100%: write {_FORM}")
    return share


_FORM = f'shares that rise and how long each lasts, as in "{USUAL}" ({FORM})'
