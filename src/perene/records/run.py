"""Pipeline runs and their steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

STEPS = ("collect", "dataset", "train", "validate", "release")


class RunState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


SCHEDULE = "schedule"  # the trigger of cycles that are due by a model's period
OFFLINE = "offline"  # the trigger of runs that compute and store predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a run; ``result`` is what later steps and people read, ``error`` its code, what, why, seen and
    mend."""

    run: int
    name: str
    state: RunState
    attempt: int
    started_at: datetime  # machine time
    ended_at: datetime | None
    result: Mapping[str, object] | None
    error: Mapping[str, object] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One turn of a model's cycle, or (OFFLINE) one load of its stored predictions.

    ``(model, trigger, due_at)`` is unique, so two schedulers make one run.
    ``due_at`` and ``created_at`` are project time; ``heartbeat_at`` and the steps' times are machine time.
    ``attempt`` counts the workers that took it, ``deaths`` those that fell silent in it.
    ``outcome`` says in a word how it ended: "released", "rolling out", "waiting", "worse" …
    """

    id: int
    model: str
    trigger: str  # SCHEDULE, "manual", OFFLINE …
    due_at: datetime
    created_at: datetime
    actor: str
    state: RunState
    owner: str | None
    heartbeat_at: datetime | None
    attempt: int
    deaths: int = 0
    outcome: str | None
    error: Mapping[str, object] | None
    steps: tuple[Step, ...] = ()
