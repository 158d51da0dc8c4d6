"""Watches versions that are new to live traffic: raises a canary step by step, and takes back what regresses.

Laws. A canary, or a fresh release, that surely fails more often, is slower, or whose answers jump is taken back, with
an alert that says why; so is a canary whose answers are shown to be worse by the gate's rules. What cannot be told is
no reason to take anything back. A canary that nobody asks does not rise. A hold that came after it began stops it where
it is. Two schedulers raise it once.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from perene.definition.canary import share_text
from perene.definition.model import Model
from perene.errors import Conflict
from perene.monitoring.remembered import Remembered
from perene.monitoring.rivals import is_worse, judge_canary
from perene.records.model import RegisteredModel
from perene.records.release import WATCH, ReleaseState, Rollout
from perene.records.roles import CANARY, CHAMPION
from perene.records.serving import ServingCounts
from perene.statistics import guards

CANARY_UNDONE, RELEASE_UNDONE = "canary-undone", "release-undone"
LEAST_ASKED = 20  # requests that a canary must have been asked before its share rises


def watch_rollouts(models: Iterable[Model], remembered: Remembered, *, now: datetime) -> None:
    """Look at every canary and every fresh release of a project once."""
    known = {model.name: model for model in remembered.models.list()}
    for model in models:
        registered = known.get(model.name)
        if registered is None:
            continue
        if registered.canary is not None:
            for rollout in remembered.releases.rollouts(model.name):
                _watch_canary(model, registered, rollout, remembered, now)
        if registered.former is not None and registered.champion is not None:
            _watch_release(model, registered, registered.champion, registered.former, remembered, now)


def _watch_canary(
    model: Model, known: RegisteredModel, rollout: Rollout, remembered: Remembered, now: datetime
) -> None:
    mine = remembered.servings.get(model.name, rollout.release.version, CANARY)
    other = _champions(remembered, model.name, known.champion)
    why = regression(mine, other, is_canary=True)
    if why:
        _undo(model, rollout, remembered, now, why)
        return
    if not is_due(rollout, known, mine, now):
        return
    looks = len(rollout.release.canary)
    verdict = judge_canary(model, remembered.predictions, rollout, now=now, looks=looks)
    if is_worse(verdict):
        _undo(model, rollout, remembered, now, verdict.reason)
        return
    why = f"{mine.requests:,.0f} requests answered, {mine.errors:,.0f} failed; {verdict.metric}: {verdict.reason}"
    stepped = remembered.releases.step_up(rollout, actor=WATCH, why=why, at=now, watch=model.watch)
    if stepped.state is ReleaseState.LIVE:
        for rule in (CANARY_UNDONE, RELEASE_UNDONE):
            remembered.alerts.resolve(model.name, rule, at=now, why=f"v{stepped.version} is live")


def is_due(rollout: Rollout, known: RegisteredModel, mine: ServingCounts, now: datetime) -> bool:
    """Whether the step of a canary is over: its time is, it was asked, and no hold came since it began."""
    is_held = known.held_at is not None and known.held_at >= rollout.since
    is_over = now - rollout.step_since >= rollout.release.canary[rollout.step].lasts
    return is_over and not is_held and mine.asked >= LEAST_ASKED


def _undo(model: Model, rollout: Rollout, remembered: Remembered, now: datetime, why: str) -> None:
    release = rollout.release
    undone = remembered.releases.undo(release.id, actor=WATCH, why=why, at=now)
    if undone.state is not ReleaseState.ROLLED_BACK:
        return  # a person was first
    what = f"{model.name} v{release.version} was taken back from {share_text(rollout.share)} of the keys"
    remembered.alerts.raise_(
        model.name, CANARY_UNDONE, severity="page", what=f"{what}: v{release.replaces} answers them again", why=why,
        mend=f"perene release show {release.id}", at=now,
    )  # fmt: skip


def _watch_release(
    model: Model, known: RegisteredModel, live: int, former: int, remembered: Remembered, now: datetime
) -> None:
    if known.watched_until is None or now >= known.watched_until:
        remembered.releases.end_watch(model.name, live=live)
        return
    mine = remembered.servings.get(model.name, live, CHAMPION)
    why = regression(mine, _champions(remembered, model.name, former), is_canary=False)
    if not why:
        return
    try:
        remembered.releases.rollback(model.name, former, actor=WATCH, why=why, at=now, live=live)
    except Conflict:  # a person was first
        return
    remembered.alerts.raise_(
        model.name, RELEASE_UNDONE, severity="page",
        what=f"{model.name} v{live} was taken back, soon after its release: v{former} is live, and the model is held",
        why=why, mend=f"perene model history {model.name}; perene model resume {model.name} lets releases go on",
        at=now,
    )  # fmt: skip


def _champions(remembered: Remembered, name: str, version: int | None) -> ServingCounts:
    return ServingCounts() if version is None else remembered.servings.get(name, version, CHAMPION)


def regression(mine: ServingCounts, other: ServingCounts, *, is_canary: bool) -> str:
    """What is surely worse about a new version's serving than about the other's; empty for nothing.

    The times of a canary are those of the champion's traffic, though with its share the rows of its batches grow: so
    it must be slower by batch and by row. Those of a fresh release count against a declared budget only.
    """
    if guards.fails_more(mine.errors, mine.asked, other.errors, other.asked):
        before = _of(other.errors, other.asked)
        return f"its code failed on {_of(mine.errors, mine.asked)} requests, the other's on {before}"
    if guards.misses_budget(mine.slow, mine.singles, other.slow, other.singles):
        return (
            f"{_of(mine.slow, mine.singles)} batches took longer than the declared latency, "
            f"of the other's {_of(other.slow, other.singles)}"
        )
    times = ((c.batches, c.seconds, c.seconds_sq) for c in (mine, other))
    is_slow_by_row = mine.seconds * other.rows >= guards.LEAST_TIMES * other.seconds * mine.rows
    if is_canary and is_slow_by_row and guards.is_slower(*times):
        return f"a batch takes {_ms(mine)}, the champion's {_ms(other)}"
    if guards.jumps(mine.pairs, mine.gap, mine.gap_sq, mine.other, mine.other_sq):
        usual = mine.other / mine.pairs
        return (
            f"its answers jump: {usual + mine.gap / mine.pairs:.4g} on average, and {usual:.4g} by the other version "
            f"to the same {mine.pairs:,.0f} rows"
        )
    return ""


def _of(part: float, whole: float) -> str:
    return f"{part:,.0f} of {whole:,.0f}"


def _ms(counts: ServingCounts) -> str:
    return f"{1000 * counts.seconds / counts.batches:.3g} ms"
