"""Watches how old models get, and raises or resolves their alerts.

Laws. At the limit a model is alarmed whatever became of its candidates: one that stays undecided for ever is no reason
to be silent. An alert that fires is told again at most once per ``every``, however often it is looked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from perene.definition.model import Model
from perene.errors import PereneError
from perene.monitoring.freshness import freshness_of
from perene.monitoring.remembered import Remembered
from perene.records.alert import Alert
from perene.records.model import ModelVersion, RegisteredModel
from perene.records.release import ReleaseState
from perene.records.run import OFFLINE, Run, RunState
from perene.records.status import Freshness, FreshnessState
from perene.repositories.alerts import Alerts

STALE, AGEING = "model-stale", "model-ageing"
CLOCK = "clock-behind"
RUN_FAILED, STORE_FAILED = "run-failed", "store-failed"
FRESHNESS_RULES = (STALE, AGEING)
_CLOCKS = timedelta(minutes=10)  # by how much the clocks of machines may disagree
_AGAIN = timedelta(days=1)  # for models without a schedule
_RUNS = 10  # the newest runs, which say why nothing was released
_ENDED = (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED)
_RULE_OF = {FreshnessState.STALE: STALE, FreshnessState.AGEING: AGEING}


def watch_freshness(
    models: Iterable[Model], remembered: Remembered, *, now: datetime, every: timedelta | None = None
) -> list[Alert]:
    """Raise the alerts of models that are stale (page) or ageing (notice) at a project time, and resolve the others.

    Gives those that were raised, or told again because ``every`` (by default the model's own period) has gone by since
    they were told last.
    """
    firing = {(alert.model, alert.rule): alert for alert in remembered.alerts.list(state="firing")}
    raised = []
    for model in models:
        champion = remembered.models.champion(model.name)
        freshness = freshness_of(model, champion, now)
        due = _RULE_OF.get(freshness.state)
        for rule in FRESHNESS_RULES:
            alert = firing.get((model.name, rule))
            if rule != due or champion is None:
                if alert is not None:
                    why = f"{model.name} is {freshness.state.value} now"
                    remembered.alerts.resolve(model.name, rule, at=now, why=why)
            elif alert is None or now - alert.last_at >= (every or model.every or _AGAIN):
                raised.append(_raise(rule, model, champion, freshness, remembered, now))
    return raised


def watch_clock(remembered: Remembered, *, now: datetime, machine_now: datetime) -> Alert | None:
    """Raise an alert when the machine's clock is behind project time in real time, which then stands; else resolve it.

    Told again once a day of project time.
    """
    fires = next((alert for alert in remembered.alerts.list(state="firing") if alert.rule == CLOCK), None)
    behind = now - machine_now
    if behind <= _CLOCKS:
        if fires is not None:
            remembered.alerts.resolve(None, CLOCK, at=now, why="the clock has caught up")
        return None
    if fires is not None and now - fires.last_at < _AGAIN:
        return None
    return remembered.alerts.raise_(
        None,
        CLOCK,
        severity="page",
        what=f"project time stands at {now:%Y-%m-%d %H:%M} UTC",
        why=f"it never goes backwards, and the clock of this machine is {_span(behind)} behind it",
        mend="set the machine's clock; time goes on once it has caught up",
        at=now,
    )


def hear_of_run(run: Run, error: PereneError | None, *, alerts: Alerts, now: Callable[[], datetime]) -> None:
    """Raise an alert for a run that failed; one that succeeds takes it back."""
    rule = STORE_FAILED if run.trigger == OFFLINE else RUN_FAILED
    if error is None:
        alerts.resolve(run.model, rule, at=now(), why=f"run {run.id} succeeded")
        return
    what = f"run {run.id} of {run.model} failed: {error.what}"
    why = f"{error.why}; what is {'stored' if run.trigger == OFFLINE else 'live'} stays"
    mend = error.mend or f"perene run show {run.id}"
    alerts.raise_(run.model, rule, severity="notice", what=what, why=why, mend=mend, at=now())


def _raise(
    rule: str, model: Model, champion: ModelVersion, freshness: Freshness, remembered: Remembered, now: datetime
) -> Alert:
    why, mend = _cause(model, remembered)
    return remembered.alerts.raise_(
        model.name,
        rule,
        severity="page" if rule == STALE else "notice",
        what=_what(model, champion, freshness),
        why=why,
        mend=mend,
        at=now,
    )


def _what(model: Model, champion: ModelVersion, freshness: Freshness) -> str:
    assert freshness.age is not None and freshness.limit is not None and freshness.stale_at is not None
    state = "is stale" if freshness.state is FreshnessState.STALE else f"turns stale on {_minute(freshness.stale_at)}"
    learnt = f"v{champion.version} has learnt nothing newer than {_minute(champion.trained_through)}"
    owner = f" (owner: {model.owner})" if model.owner else ""
    return f"{model.name} {state}: {learnt}, {_span(freshness.age)} of {_span(freshness.limit)} ago{owner}"


def _cause(model: Model, remembered: Remembered) -> tuple[str, str]:
    """Why no newer version is live, as far as it is known, and the command that comes next."""
    known = remembered.models.get(model.name)
    if known.held_at is not None:
        return _held(known)
    waiting = remembered.releases.list(model.name, state=ReleaseState.WAITING, limit=1)
    if waiting:
        release = waiting[0]
        said = f"release {release.id} (v{release.version}) waits for review since {_minute(release.created_at)}"
        return said, f"perene release show {release.id}; perene release approve {release.id} --why TEXT"
    runs = remembered.runs.list(model.name, limit=_RUNS, without=OFFLINE)
    ended = [run for run in runs if run.state in _ENDED]
    if not ended:
        told = "a run is on its way" if runs else "no run has been made"
        return told, "perene run list" if runs else f"perene train {model.name}"
    return _ended(model, ended, remembered)


def _held(known: RegisteredModel) -> tuple[str, str]:
    return f"automatic releases are on hold by {known.held_by}: {known.held_why}", f"perene model resume {known.name}"


def _ended(model: Model, runs: list[Run], remembered: Remembered) -> tuple[str, str]:
    """What the newest runs came to; alike ones are counted."""
    last = runs[0]
    alike = len(list(takewhile(lambda run: run.outcome == last.outcome, runs)))
    which = (
        f"the last run ({last.id}, of {_minute(last.created_at)})" if alike == 1 else f"each of the last {alike} runs"
    )
    match last.outcome:
        case "failed":
            return f"{which} failed: {(last.error or {}).get('what', '')}", f"perene run show {last.id}"
        case "inconclusive":
            why = f"{which} was inconclusive: the test rows cannot tell whether the candidate is worse"
            mend = f"{_of_proposed(model, remembered)}; a longer test_on, or a wider margin of the gate, decides sooner"
            return why, mend
        case "worse" | "unfit" | "refused" as outcome:
            return f"{which} released nothing: {outcome}", f"perene run show {last.id}"
        case _ if model.every is None:
            return "the model is retrained only when someone asks", f"perene train {model.name}"
        case outcome:
            return f"{which} came to: {outcome or last.state.value}", f"perene train {model.name}"


def _of_proposed(model: Model, remembered: Remembered) -> str:
    """A candidate that the gate could not decide on stays proposed: a person may."""
    proposed = remembered.releases.list(model.name, state=ReleaseState.PROPOSED, limit=1)
    if not proposed:
        return f"perene release list {model.name}"
    return f"perene release show {proposed[0].id}; perene release approve {proposed[0].id} --why TEXT"


def _minute(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _span(value: timedelta) -> str:
    """A span in whole days, below three days in hours, below two hours in minutes."""
    if value >= timedelta(days=3):
        return f"{value // timedelta(days=1)} d"
    hours = value // timedelta(hours=1)
    return f"{hours} h" if hours >= 2 else f"{value // timedelta(minutes=1)} m"
