"""The release ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

GATE = "the gate"  # who released what no person approved


class ReleaseState(StrEnum):
    """proposed → (waiting) → approved | rejected | superseded → live → replaced | rolled back."""

    PROPOSED = "proposed"
    WAITING = "waiting"
    APPROVED = "approved"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    LIVE = "live"
    REPLACED = "replaced"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A proposal to make a version live, and what became of it. ``bundle`` and ``dataset_digest`` are what an
    approval is pinned to."""

    id: int
    model: str
    version: int
    replaces: int | None  # the version that was live when it was proposed
    run: int | None
    evaluation: int | None
    bundle: str
    dataset_digest: str
    kind: str  # "release" or "rollback"
    created_at: datetime
    state: ReleaseState


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseEvent:
    """One line of the ledger."""

    id: int
    release: int
    model: str
    version: int
    state: ReleaseState
    at: datetime
    actor: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePeriod:
    """How long a version was live: [since, until) in project time; ``until`` is None for the one that is live now."""

    model: str
    version: int
    release: int
    kind: str  # "release" or "rollback"
    since: datetime
    until: datetime | None
    actor: str
    why: str
