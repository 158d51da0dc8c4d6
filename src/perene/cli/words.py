"""How values are said to people: instants, ages, shares, sizes, states."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from math import floor, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perene.records.status import Estimate

_MOST_DECIMALS = 6
_STATES = {
    # freshness and health
    "fresh": ("●", "good"),
    "ageing": ("◐", "warn"),
    "stale": ("○", "bad"),
    "unknown": ("?", "faint"),
    "exempt": ("●", "faint"),
    "healthy": ("●", "good"),
    "progressing": ("◐", "warn"),
    "degraded": ("✗", "bad"),
    "suspended": ("‖", "warn"),
    # the version that shall be live against those that servers run
    "in step": ("●", "good"),
    "rolling out": ("◐", "warn"),
    "out of step": ("✗", "bad"),
    "waiting for review": ("◐", "warn"),
    "held": ("‖", "warn"),
    "nothing live": ("?", "faint"),
    # runs
    "queued": ("○", "faint"),
    "running": ("◐", "warn"),
    "succeeded": ("●", "good"),
    "failed": ("✗", "bad"),
    "cancelled": ("–", "faint"),
    # loads of stored predictions
    "loading": ("◐", "warn"),
    "ready": ("●", "good"),
    "removed": ("–", "faint"),
    # releases
    "proposed": ("○", "faint"),
    "waiting": ("◐", "warn"),
    "approved": ("●", "good"),
    "rejected": ("✗", "bad"),
    "superseded": ("–", "faint"),
    "live": ("●", "good"),
    "replaced": ("○", "faint"),
    "rolled back": ("↩", "warn"),
    # verdicts
    "pass": ("●", "good"),
    "worse": ("✗", "bad"),
    "unfit": ("✗", "bad"),
    "inconclusive": ("◐", "warn"),
    "refused": ("✗", "bad"),
    # alerts
    "firing": ("▲", "bad"),
    "resolved": ("●", "good"),
}


def state(word: str) -> str:
    """A state as its sign and its word: the word is never left out."""
    sign = _STATES.get(word, ("", ""))[0]
    return f"{sign} {word}".strip()


def tone_of(word: str) -> str:
    """The tone of a state."""
    return _STATES.get(word, ("", ""))[1]


def instant(at: datetime | None) -> str:
    """An instant to the minute, as ``2013-03-01 06:00Z``; Z says that it is UTC."""
    return "-" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")


def span(value: timedelta | None) -> str:
    """A span in the unit that says it best, as ``20 ms``, ``1.4 s``, ``15 m``, ``40 h`` or ``3 d``."""
    if value is None:
        return "-"
    seconds = value.total_seconds()
    if 0 < abs(seconds) < 0.1:
        return f"{seconds * 1000:.0f} ms"
    for size, unit, until in ((1, "s", 90), (60, "m", 90 * 60), (3600, "h", 72 * 3600)):
        if abs(seconds) < until:
            shown = f"{seconds / size:.1f}" if size == 1 and abs(seconds) < 10 else f"{seconds / size:.0f}"
            return f"{shown.removesuffix('.0')} {unit}"
    return f"{seconds / 86400:.0f} d"


def ago(at: datetime | None, now: datetime) -> str:
    """How long before ``now`` it was, as ``3 h ago``; ``in 2 h`` for what is to come."""
    if at is None:
        return "-"
    return f"{span(now - at)} ago" if at <= now else f"in {span(at - now)}"


def number(value: float | None, unit: str | None = None) -> str:
    """A number to four significant digits, with its unit."""
    if value is None:
        return "-"
    shown = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return f"{shown} {unit}" if unit else shown


def estimate(found: Estimate | None, unit: str | None = None, *, signed: bool = False) -> str:
    """An estimate with its 95 % interval, as ``3.90 (3.72 … 4.08) min``."""
    return "-" if found is None else between(found.value, found.lower, found.upper, unit, signed=signed)


def between(
    value: float, lower: float | None, upper: float | None, unit: str | None = None, *, signed: bool = False
) -> str:
    """A number with its bounds, to the digits that these allow."""
    if lower is None or upper is None or lower == upper:
        return number(value, unit)
    decimals = max(1 - floor(log10((upper - lower) / 2)), 0)
    form = f"{'+' if signed else ''},.{decimals}f" if decimals <= _MOST_DECIMALS else f"{'+' if signed else ''}.3g"
    shown, low, high = (f"{x:{form}}" for x in (value, lower, upper))
    return f"{shown} ({low} … {high})" + (f" {unit}" if unit else "")


def share(value: float | None) -> str:
    """A share as whole per cent."""
    return "-" if value is None else f"{value:.0%}".replace("%", " %")


def size(count: int | None) -> str:
    """A number of bytes, as ``12 MiB``."""
    if count is None:
        return "-"
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def version(number: int | None) -> str:
    """A version as ``v3``."""
    return "-" if number is None else f"v{number}"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun, as ``1 model`` or ``1,200 rows``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def value_words(value: object, unit: str | None = None) -> str:
    """A value of a row, an output or a label."""
    match value:
        case None:
            return "-"
        case bool():
            return "true" if value else "false"
        case int():
            return f"{value} {unit}" if unit else str(value)
        case float():
            return number(value, unit)
        case datetime():
            return instant(value)
        case list() | tuple():
            return ", ".join(value_words(item) for item in value)
        case Mapping():
            return pairs(value)
        case _:
            return str(value)


def pairs(values: Mapping[str, object]) -> str:
    """Names and values, as ``km=2.5  items=1``."""
    return "  ".join(f"{name}={value_words(value)}" for name, value in values.items())
