"""The release ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from perene.definition.canary import CanaryStep

GATE = "the gate"  # who released what no person approved
WATCH = "the watch"  # who undid what regressed


class ReleaseState(StrEnum):
    """proposed → (waiting) → approved | rejected | superseded → (rolling out) → live → replaced | rolled back.

    What is rolling out may also be rolled back, rejected or superseded; each of its steps is a line.
    """

    PROPOSED = "proposed"
    WAITING = "waiting"
    APPROVED = "approved"
    ROLLING_OUT = "rolling out"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    LIVE = "live"
    REPLACED = "replaced"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a release goes live: by these steps, none for at once; then for how long it is compared with the one before,
    and taken back when it regresses (None: not). ``is_asked``: somebody named these steps, and no model declared them.
    """

    steps: tuple[CanaryStep, ...] = ()
    watch: timedelta | None = None
    is_asked: bool = False


AT_ONCE = Course()


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A proposal to make a version live, and what became of it. ``bundle`` and ``dataset_digest`` are what an
    approval is pinned to; ``canary`` the steps by which it goes live, if it does so by steps."""

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
    canary: tuple[CanaryStep, ...] = ()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A canary on its way: which of the release's steps it is at, and since when (project time) that and the whole."""

    release: Release
    step: int
    step_since: datetime
    since: datetime
    approved_by: str

    @property
    def share(self) -> float:
        """The share of the keys that the new version answers."""
        return self.release.canary[self.step].share
