"""The audit log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """Who did what to which thing, and what it was like before and after. ``at`` is project time."""

    id: int
    at: datetime
    actor: str
    verb: str
    why: str
    before: Mapping[str, object] | None
    after: Mapping[str, object] | None
    object: str  # "model late-arrival"; last, for it hides the builtin
