"""Findings, and checks that cannot break their neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from perene.errors import PereneError
from perene.records.finding import Finding, Soundness


def fine(check: str, what: str) -> Finding:
    """It is as it should be."""
    return Finding(check=check, state=Soundness.FINE, what=what)


def warning(check: str, what: str, *, why: str = "", mend: str = "") -> Finding:
    """It works, and someone should know."""
    return Finding(check=check, state=Soundness.WARNING, what=what, why=why, mend=mend)


def broken(check: str, what: str, *, why: str = "", mend: str = "") -> Finding:
    """It does not work."""
    return Finding(check=check, state=Soundness.BROKEN, what=what, why=why, mend=mend)


def failed(check: str, error: BaseException) -> Finding:
    """It could not be looked at, or what was tried did not work: with the error's own words."""
    if isinstance(error, PereneError):
        why = "; ".join((*([error.why] if error.why else []), *error.seen[:3]))
        return broken(check, error.what, why=why, mend=error.mend or f"perene docs {error.code}")
    said = f"{type(error).__name__}: {error}".strip().removesuffix(":")
    return broken(check, "it could not be looked at", why=said, mend="mend what this says, then perene doctor")


def attempt(check: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What a check finds; where it fails, what it found until then, and that it failed."""
    try:
        yield from look()
    except Exception as error:  # noqa: BLE001 - the edge of a check: whatever is broken must not hide the rest
        yield failed(check, error)
