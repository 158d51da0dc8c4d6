"""How a model does: three axes that are never mixed (freshness, health, release), and the numbers beside them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from perene.records.serving import ServingCounts
from perene.records.verdict import Verdict


class FreshnessState(StrEnum):
    """How old what the live model learnt from is, against its limit."""

    FRESH = "fresh"
    AGEING = "ageing"
    STALE = "stale"
    UNKNOWN = "unknown"  # never trained, or it learnt from rows of the future: a clock is wrong
    EXEMPT = "exempt"  # declared never to go stale


class HealthState(StrEnum):
    """The worst of a model's parts."""

    HEALTHY = "healthy"
    PROGRESSING = "progressing"  # a run works, or servers swap
    DEGRADED = "degraded"
    SUSPENDED = "suspended"  # a person put it on hold
    UNKNOWN = "unknown"  # nothing is live, and nothing is on its way


class Standing(StrEnum):
    """The version that shall be live against those that servers run."""

    IN_STEP = "in step"
    ROLLING_OUT = "rolling out"
    OUT_OF_STEP = "out of step"
    WAITING = "waiting for review"
    HELD = "held"
    NOTHING_LIVE = "nothing live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """The age of the live model: ``now - trained_through``, the newest event time that it learnt from.

    ``held_out`` is how much of the age is there because the newest rows tested the model. Instants are project time.
    What is not known, or does not apply, is None.
    """

    state: FreshnessState
    trained_through: datetime | None = None
    age: timedelta | None = None
    limit: timedelta | None = None
    held_out: timedelta | None = None
    warn_at: datetime | None = None  # from here on it is ageing
    stale_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its two-sided 95 % interval, clustered by day; a single day gives no bounds (None)."""

    value: float
    lower: float | None
    upper: float | None
    rows: int
    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bias:
    """How far predictions lie above what happened, on average; 0 is right.

    ``observed`` is mean(prediction) - mean(label) over rows whose labels have had their wait. ``against_training``
    takes instead the mean of the training labels of the version that answered, over all rows: it needs no labels, and
    the season moves it too. Both are None where nothing could be measured.
    """

    observed: Estimate | None
    against_training: Estimate | None
    mean_prediction: float | None  # over the rows of ``observed``
    mean_label: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A version that is new to live traffic, beside the one that it is compared with (``against``).

    ``role`` is "canary", "shadow", or "fresh": live, and compared with the one before until ``until``. That is the end
    of a canary's step; ``share`` is what it answers of the keys. ``verdict`` is what the gate would say of the answers
    since then (of a fresh one it is not asked). Instants are project time.
    """

    role: str
    version: int
    against: int | None
    since: datetime
    until: datetime | None
    share: float | None
    counts: ServingCounts
    counts_against: ServingCounts
    verdict: Verdict | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """Everything that one line of ``perene status`` says.

    ``validated`` is the score that the live version had on its test rows, ``live_score`` that of what was answered
    about the last ``test_on`` whose labels have had their wait (by whichever version was live), ``coverage`` the share
    of these rows that have a label, ``label_lag`` how long after its event a label usually was known,
    ``unmatched_labels`` how many labels from the beginning of these rows up to now belong to no prediction. ``reasons``
    explain ``health``, the gravest first. ``waiting`` counts releases that wait for review, ``rivals`` are versions
    that are new to live traffic.
    """

    model: str
    owner: str | None
    live: int | None
    since: datetime | None
    freshness: Freshness
    health: HealthState
    reasons: tuple[str, ...]
    standing: Standing
    servers: int
    servers_in_step: int
    metric: str
    better: str
    unit: str | None
    validated: float | None
    live_score: Estimate | None
    bias: Bias | None
    coverage: float | None
    label_lag: timedelta | None
    unmatched_labels: int | None
    next_due: datetime | None
    waiting: int
    held_why: str | None
    last_run: int | None
    last_outcome: str | None
    rivals: tuple[Rival, ...] = ()
