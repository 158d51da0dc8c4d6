"""The release ledger's lines: what may follow what, and what they say together.

Every function works in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

import sqlalchemy as sa

from perene.definition.canary import CanaryStep
from perene.errors import Conflict, NotAllowed, NotFound
from perene.records.release import GATE, LivePeriod, Release, ReleaseEvent, ReleaseState
from perene.repositories import models
from perene.repositories.servings import begin_anew
from perene.storage import tables

_release = tables.release
_event = tables.release_event

NEXT = {
    ReleaseState.PROPOSED: {
        ReleaseState.WAITING,
        ReleaseState.APPROVED,
        ReleaseState.REJECTED,
        ReleaseState.SUPERSEDED,
    },
    ReleaseState.WAITING: {ReleaseState.APPROVED, ReleaseState.REJECTED, ReleaseState.SUPERSEDED},
    ReleaseState.APPROVED: {ReleaseState.LIVE, ReleaseState.ROLLING_OUT},
    ReleaseState.ROLLING_OUT: {
        ReleaseState.ROLLING_OUT,  # the next step
        ReleaseState.LIVE,
        ReleaseState.REJECTED,
        ReleaseState.SUPERSEDED,
        ReleaseState.ROLLED_BACK,
    },
    ReleaseState.LIVE: {ReleaseState.REPLACED, ReleaseState.ROLLED_BACK},
    ReleaseState.REJECTED: set(),
    ReleaseState.SUPERSEDED: set(),
    ReleaseState.REPLACED: set(),
    ReleaseState.ROLLED_BACK: set(),
}
OPEN = (ReleaseState.PROPOSED, ReleaseState.WAITING)
UNFINISHED = (*OPEN, ReleaseState.ROLLING_OUT)


class Deed(NamedTuple):
    """Who did it, why, and when (project time)."""

    actor: str
    why: str
    at: datetime


_state = (
    sa.select(_event.c.state)
    .where(_event.c.release == _release.c.id)
    .order_by(_event.c.id.desc())
    .limit(1)
    .scalar_subquery()
)
_releases = sa.select(_release, _state.label("state"))


def releases(connection: sa.Connection, *where: sa.ColumnElement[bool], limit: int | None = None) -> list[Release]:
    """The releases that fit, newest first."""
    rows = connection.execute(_releases.where(*where).order_by(_release.c.id.desc()).limit(limit)).mappings()
    return [
        Release(**{**row, "state": ReleaseState(row["state"]), "canary": _steps(row["canary"] or ())}) for row in rows
    ]


def _steps(stored: Iterable[tuple[float, float]]) -> tuple[CanaryStep, ...]:
    return tuple(CanaryStep(share=share, lasts=timedelta(seconds=seconds)) for share, seconds in stored)


def release_of(connection: sa.Connection, id: int) -> Release:
    """One release. Raises NotFound."""
    found = releases(connection, _release.c.id == id)
    if not found:
        raise NotFound(f"there is no release {id}", mend="perene release list")
    return found[0]


def locked(connection: sa.Connection, id: int) -> Release:
    """One release, while no other writer can change its model's ledger. Raises NotFound."""
    models.lock_model(connection, release_of(connection, id).model)
    return release_of(connection, id)


def in_state(state: ReleaseState) -> sa.ColumnElement[bool]:
    """Releases whose newest line is ``state``."""
    return _state == state


def open_(connection: sa.Connection, model: str, version: int, *, deed: Deed, **values: object) -> Release:
    """Write a release that has no line yet, pinned to the version's bundle and dataset as they are now."""
    bundle, dataset_digest = pins(connection, model, version)
    values |= {"bundle": bundle, "dataset_digest": dataset_digest}
    write = _release.insert().values(model=model, version=version, created_at=deed.at, **values)
    id = connection.scalars(write.returning(_release.c.id)).one()
    first = ReleaseState.APPROVED if values["kind"] == "rollback" else ReleaseState.PROPOSED
    _write(connection, id, model=model, version=version, state=first, deed=deed)
    return release_of(connection, id)


def append(connection: sa.Connection, release: Release, state: ReleaseState, *, deed: Deed) -> Release:
    """Write a release's next line. Raises NotAllowed when it may not follow."""
    if state not in NEXT[release.state]:
        raise NotAllowed(
            f"release {release.id} of {release.model} cannot become {state.value}",
            why=f"it is {release.state.value}",
            mend=f"perene release show {release.id}",
        )
    _write(connection, release.id, model=release.model, version=release.version, state=state, deed=deed)
    return release_of(connection, release.id)


def pins(connection: sa.Connection, model: str, version: int) -> tuple[str, str]:
    """What an approval of a version is pinned to: the digests of its bundle and of the dataset that it learnt from."""
    made = models.version_of(connection, model, version)
    dataset = tables.dataset_version
    digest = connection.scalar(
        sa.select(dataset.c.digest).where(dataset.c.model == model, dataset.c.version == made.dataset)
    )
    return made.bundle, str(digest)


def supersede(
    connection: sa.Connection, release: Release, *, deed: Deed, states: Iterable[ReleaseState] = OPEN
) -> None:
    """Close the model's other releases in ``states``: ``release`` took their place."""
    others = (_release.c.model == release.model, _release.c.id != release.id, _state.in_(list(states)))
    for other in releases(connection, *others):
        append(connection, other, ReleaseState.SUPERSEDED, deed=deed)


def make_live(
    connection: sa.Connection,
    release: Release,
    *,
    before: ReleaseState,
    deed: Deed,
    watch: timedelta | None = None,
) -> Release:
    """An approved release goes live, or one whose steps are done. The one that was becomes ``before``; those that are
    open or on their way are superseded. It is watched for ``watch``, if there is one that it can be compared with.
    """
    known = models.lock_model(connection, release.model)
    for old in releases(connection, _release.c.model == release.model, in_state(ReleaseState.LIVE)):
        append(connection, old, before, deed=deed._replace(why=f"v{release.version} took its place"))
    live = append(connection, release, ReleaseState.LIVE, deed=deed)
    began = {"former": known.champion, "watched_until": deed.at + watch} if watch and known.champion else {}
    followed = {"champion": release.version, "former": None, "watched_until": None, **began}
    if known.shadow == release.version:
        followed |= {"shadow": None, "shadow_since": None}
    models.follow(connection, release.model, canary=None, canary_share=0.0, **followed)
    begin_anew(connection, release.model, release.version, "champion")
    newer = deed._replace(why=f"v{release.version} went live (release {release.id})")
    supersede(connection, live, deed=newer, states=UNFINISHED)
    return live


def refuse_stale(connection: sa.Connection, release: Release, *, bundle: str | None) -> None:
    """Raise Conflict when what was reviewed is not what would be released."""
    champion = models.lock_model(connection, release.model).champion
    now = pins(connection, release.model, release.version)
    why = ""
    if bundle not in (None, release.bundle):
        why = "the bundle that was reviewed is another one"
    elif now != (release.bundle, release.dataset_digest):
        why = "the version's bundle or dataset has changed since it was proposed"
    elif champion != release.replaces:
        why = f"it was judged against {_shown(release.replaces)}, and {_shown(champion)} is live now"
    if why:
        raise Conflict(
            f"release {release.id} of {release.model} v{release.version} cannot be approved any more",
            why=why,
            mend=f"train again: perene train {release.model}",
            code="approval-stale",
        )


def events(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> list[ReleaseEvent]:
    """The lines that fit, in the order of writing."""
    rows = connection.execute(sa.select(_event).where(*where).order_by(_event.c.id)).mappings()
    return [ReleaseEvent(**{**row, "state": ReleaseState(row["state"])}) for row in rows]


def live_periods(connection: sa.Connection, model: str) -> list[LivePeriod]:
    """Which version was live from when to when, oldest first."""
    query = (
        sa.select(_event, _release.c.kind)
        .join(_release, _release.c.id == _event.c.release)
        .where(_event.c.model == model, _event.c.state == ReleaseState.LIVE)
        .order_by(_event.c.id)
    )
    rows = connection.execute(query).all()
    return [
        LivePeriod(
            model=model,
            version=row.version,
            release=row.release,
            kind=row.kind,
            since=row.at,
            until=None if following is None else following.at,
            actor=row.actor,
            why=row.why,
        )
        for row, following in pairwise([*rows, None])
        if row is not None
    ]


def live_stack(periods: Iterable[LivePeriod]) -> list[LivePeriod]:
    """How the live version came about, its own period last: without those that were rolled back from."""
    stack: list[LivePeriod] = []
    for period in periods:
        known = [other.version for other in stack]
        if period.kind == "rollback" and period.version in known:
            del stack[known.index(period.version) + 1 :]
        else:
            stack.append(period)
    return stack


def version_before(periods: Iterable[LivePeriod]) -> int | None:
    """Where a rollback without a number goes: the version under the live one, not counting those rolled back from."""
    stack = live_stack(periods)
    return stack[-2].version if len(stack) > 1 else None


def anchor(connection: sa.Connection, model: str) -> int | None:
    """The newest version, on the way to the live one, that a person approved or the gate certified better.

    A version that was rolled back from is none, nor is one that went live on a deadline or within the margin only.
    """
    for period in reversed(live_stack(live_periods(connection, model))):
        if period.actor != GATE or _is_certified(connection, period.release):
            return period.version
    return None


def _is_certified(connection: sa.Connection, release: int) -> bool:
    evaluation = tables.evaluation
    query = sa.select(evaluation.c.verdict).join(_release, _release.c.evaluation == evaluation.c.id)
    verdict = connection.scalar(query.where(_release.c.id == release))
    return verdict is not None and bool(verdict["certified"])


def _write(
    connection: sa.Connection, release: int, *, model: str, version: int, state: ReleaseState, deed: Deed
) -> None:
    connection.execute(
        _event.insert().values(release=release, model=model, version=version, state=state.value, **deed._asdict())
    )


def _shown(version: int | None) -> str:
    return "no version" if version is None else f"v{version}"
