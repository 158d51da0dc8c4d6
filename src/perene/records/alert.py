"""Alerts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something that a person should know. One is open per fingerprint (model and rule); ``count`` says how often it
    came again."""

    id: int
    fingerprint: str
    model: str | None
    rule: str  # "candidate-worse", "run-failed", "predictions-lost" …
    severity: str  # "page" or "notice"
    what: str
    why: str
    mend: str
    state: str  # "firing" or "resolved"
    count: int
    first_at: datetime
    last_at: datetime
    resolved_at: datetime | None
