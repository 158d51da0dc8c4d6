"""How each model does, worst first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from perene.definition.canary import share_text
from perene.definition.hooks import Hook
from perene.definition.model import Model
from perene.errors import PereneError
from perene.monitoring.bias import label_means
from perene.monitoring.freshness import freshness_of
from perene.monitoring.periods import Period
from perene.monitoring.quality import PeriodQuality, measure_quality
from perene.monitoring.remembered import Remembered
from perene.monitoring.rivals import rivals_of
from perene.monitoring.scoring import metrics_of
from perene.monitoring.unmatched import count_unmatched
from perene.monitoring.watch import FRESHNESS_RULES
from perene.records.model import RegisteredModel
from perene.records.release import ReleaseState
from perene.records.run import OFFLINE, Run, RunState
from perene.records.server import ServerProcess
from perene.records.status import FreshnessState, HealthState, ModelStatus, Standing
from perene.records.verdict import Verdict

ALIVE = timedelta(seconds=10)  # a server that was silent for longer does not count
ROLLOUT = timedelta(minutes=10)  # how long servers may take to follow a release
_RUNS = 5
_SAID_ELSEWHERE = (*FRESHNESS_RULES, "run-failed")  # freshness is an axis of its own, and a failed run a reason
_GRAVITY: dict[FreshnessState | HealthState, int] = {
    FreshnessState.STALE: 4,
    HealthState.DEGRADED: 3,
    FreshnessState.AGEING: 3,
    FreshnessState.UNKNOWN: 2,
    HealthState.UNKNOWN: 2,
    HealthState.SUSPENDED: 2,
    HealthState.PROGRESSING: 1,
    HealthState.HEALTHY: 0,
    FreshnessState.FRESH: 0,
    FreshnessState.EXEMPT: 0,
}


def status_of(
    model: Model,
    remembered: Remembered,
    *,
    now: datetime,
    next_due: datetime | None = None,
    pace: float = 1.0,
    measured: bool = True,
) -> ModelStatus:
    """How one registered model does at a project time.

    Args:
        model: the project's declaration.
        remembered: the repositories.
        now: project time. Servers are known by machine time, which their repository has.
        next_due: when its next run is due.
        pace: how many times as fast as machine time project time runs.
        measured: whether to read the logs too, for the live score, bias and coverage.

    Raises:
        NotFound: the model is not registered.
    """
    facts = _facts(model, remembered, lately=now - ROLLOUT * pace)
    hook, verdict = _judged(model, facts.live, remembered)
    quality, unmatched, failure = _measured(model, hook, remembered, now) if measured else (None, None, "")
    health, reasons = _health(facts, failure)
    live_score = quality.metric(hook.name) if quality else None
    last = facts.ended
    return ModelStatus(
        model=model.name,
        owner=model.owner,
        live=facts.live,
        since=facts.since,
        freshness=freshness_of(model, remembered.models.champion(model.name), now),
        health=health,
        reasons=reasons,
        standing=_standing(facts),
        servers=len(facts.servers),
        servers_in_step=facts.in_step,
        metric=hook.name,
        better=hook.better,
        unit=hook.unit,
        validated=verdict.candidate_score if verdict else None,
        live_score=live_score.live if live_score else None,
        bias=quality.bias if quality else None,
        coverage=quality.coverage if quality else None,
        label_lag=quality.label_lag if quality else None,
        unmatched_labels=unmatched,
        next_due=next_due,
        waiting=facts.waiting,
        held_why=facts.known.held_why,
        last_run=last.id if last else None,
        last_outcome=(last.outcome or last.state.value) if last else None,
        rivals=rivals_of(model, facts.known, remembered, now=now, measured=measured),
    )


def statuses(
    models: Iterable[Model],
    remembered: Remembered,
    *,
    now: datetime,
    next_due: Mapping[str, datetime | None] | None = None,
    pace: float = 1.0,
    measured: bool = True,
) -> list[ModelStatus]:
    """How registered models do, worst first. ``next_due`` says by model when its next run is due."""
    due = next_due or {}
    found = [
        status_of(model, remembered, now=now, next_due=due.get(model.name), pace=pace, measured=measured)
        for model in models
    ]
    return sorted(found, key=gravity)


def gravity(status: ModelStatus) -> tuple[int, int, int, str]:
    """A sort key: the worse, the earlier; of what is equally bad what grows old comes first, then by name."""
    freshness, health = _GRAVITY[status.freshness.state], _GRAVITY[status.health]
    return -max(freshness, health), -freshness, -health, status.model


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What the database says of a model."""

    known: RegisteredModel
    since: datetime | None
    lately: datetime  # project time; servers may still be about to follow what was released since
    waiting: int
    runs: list[Run]
    alerts: list[str]
    servers: list[ServerProcess]

    @property
    def live(self) -> int | None:
        return self.known.champion

    @property
    def ended(self) -> Run | None:
        """The newest run that came to an end."""
        return next((run for run in self.runs if run.state not in (RunState.QUEUED, RunState.RUNNING)), None)

    @property
    def at_work(self) -> Run | None:
        return next((run for run in self.runs if run.state is RunState.RUNNING), None)

    @property
    def in_step(self) -> int:
        """How many servers run the live version."""
        return sum(server.serves.get(self.known.name) == self.live for server in self.servers)

    @property
    def is_split(self) -> bool:
        """Whether a server runs another version than the live one, or none."""
        return self.live is not None and self.in_step < len(self.servers)

    @property
    def is_rolling_out(self) -> bool:
        return self.is_split and self.since is not None and self.since >= self.lately


def _facts(model: Model, remembered: Remembered, *, lately: datetime) -> _Facts:
    periods = remembered.releases.history(model.name)
    firing = remembered.alerts.list(state="firing", model=model.name)
    return _Facts(
        known=remembered.models.get(model.name),
        since=next((period.since for period in reversed(periods) if period.until is None), None),
        lately=lately,
        waiting=len(remembered.releases.list(model.name, state=ReleaseState.WAITING)),
        runs=remembered.runs.list(model.name, limit=_RUNS, without=OFFLINE),
        alerts=[a.what for a in firing if a.severity == "page" and a.rule not in _SAID_ELSEWHERE],
        servers=remembered.servers.alive(ALIVE),
    )


def _judged(model: Model, live: int | None, remembered: Remembered) -> tuple[Hook, Verdict | None]:
    """The metric that the live version was judged by and its verdict; the gate's of today, if that metric is gone."""
    evaluation = None if live is None else remembered.evaluations.for_version(model.name, live)
    if evaluation is not None:
        for hook in metrics_of(model, [evaluation.verdict.metric]):
            return hook, evaluation.verdict
    return model.gate_metric, None


def _measured(
    model: Model, hook: Hook, remembered: Remembered, now: datetime
) -> tuple[PeriodQuality | None, int | None, str]:
    """The quality of the last ``test_on`` of mature rows and how many labels since belong to none; or what kept both
    from being measured.
    """
    until = now - model.label.wait
    since = until - model.test_on
    try:
        (quality,) = measure_quality(
            model,
            remembered.predictions,
            [Period(since=since, until=until)],
            as_of=now,
            metrics=[hook.name],
            means=label_means(remembered.models, model.name),
        )
        unmatched = count_unmatched(model, remembered.predictions, Period(since=since, until=now))
    except PereneError as error:
        return None, None, f"its quality could not be measured: {error.what}"
    return quality, unmatched, ""


def _health(facts: _Facts, failure: str) -> tuple[HealthState, tuple[str, ...]]:
    """The worst of its parts in a word, and what is to say of them, the gravest first."""
    found = [(HealthState.DEGRADED, reason) for reason in _broken(facts, failure)]
    if facts.known.held_at is not None:
        found.append((HealthState.SUSPENDED, f"on hold by {facts.known.held_by}: {facts.known.held_why}"))
    if facts.live is None and facts.at_work is None:
        found.append((HealthState.UNKNOWN, "no version is live"))
    if facts.is_rolling_out:
        found.append((HealthState.PROGRESSING, f"v{facts.live} is on {facts.in_step} of {len(facts.servers)} servers"))
    if facts.known.canary is not None:
        share = share_text(facts.known.canary_share)
        found.append((HealthState.PROGRESSING, f"v{facts.known.canary} answers {share} of the keys"))
    if facts.at_work is not None:
        found.append((HealthState.PROGRESSING, f"run {facts.at_work.id} works"))
    return found[0][0] if found else HealthState.HEALTHY, tuple(reason for _, reason in found)


def _broken(facts: _Facts, failure: str) -> list[str]:
    reasons = []
    if facts.is_split and not facts.is_rolling_out:
        behind = len(facts.servers) - facts.in_step
        reasons.append(f"{behind} of {len(facts.servers)} servers do not run v{facts.live}")
    if facts.ended is not None and facts.ended.state is RunState.FAILED:
        reasons.append(f"run {facts.ended.id} failed: {(facts.ended.error or {}).get('what', '')}")
    return [*reasons, *facts.alerts, *([failure] if failure else [])]


def _standing(facts: _Facts) -> Standing:
    if facts.live is None and not facts.waiting:
        return Standing.NOTHING_LIVE
    if facts.is_split:
        return Standing.ROLLING_OUT if facts.is_rolling_out else Standing.OUT_OF_STEP
    if facts.known.canary is not None:
        return Standing.ROLLING_OUT
    if facts.known.held_at is not None:
        return Standing.HELD
    return Standing.WAITING if facts.waiting else Standing.IN_STEP
