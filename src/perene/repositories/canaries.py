"""Releases that are on their way by steps: a share of the keys that rises.

Every function works in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from perene.definition.canary import CanaryStep, share_text
from perene.records.release import Release, ReleaseState, Rollout
from perene.repositories import ledger, models
from perene.repositories.ledger import Deed
from perene.repositories.servings import begin_anew
from perene.storage import tables

_release = tables.release
_event = tables.release_event


def roll_out(connection: sa.Connection, release: Release, steps: Sequence[CanaryStep], *, deed: Deed) -> Release:
    """An approved release begins its first step. Another one that is on its way is superseded."""
    stored = [[step.share, step.lasts.total_seconds()] for step in steps]
    connection.execute(_release.update().where(_release.c.id == release.id).values(canary=stored))
    newer = deed._replace(why=f"v{release.version} rolls out instead (release {release.id})")
    ledger.supersede(connection, release, deed=newer, states=(ReleaseState.ROLLING_OUT,))
    begin_anew(connection, release.model, release.version, "canary")
    if release.replaces is not None:  # both are judged by the traffic of the same time
        begin_anew(connection, release.model, release.replaces, "champion")
    return raise_share(connection, ledger.release_of(connection, release.id), 0, deed=deed)


def raise_share(connection: sa.Connection, release: Release, step: int, *, deed: Deed) -> Release:
    """A release begins one of its steps: its version answers that share of the keys."""
    share = release.canary[step].share
    said = f"{share_text(share)} of the keys" + (f"; {deed.why}" if deed.why else "")
    begun = ledger.append(connection, release, ReleaseState.ROLLING_OUT, deed=deed._replace(why=said))
    models.follow(connection, release.model, canary=release.version, canary_share=share)
    return begun


def take_back(connection: sa.Connection, release: Release, state: ReleaseState, *, deed: Deed) -> Release:
    """A release that is on its way ends as ``state``: the champion answers every key again."""
    ended = ledger.append(connection, release, state, deed=deed)
    models.follow(connection, release.model, canary=None, canary_share=0.0)
    return ended


def rollouts(connection: sa.Connection, model: str | None = None) -> list[Rollout]:
    """The releases that are on their way, and how far they are; of a model there is one at most."""
    mine = [] if model is None else [_release.c.model == model]
    found = []
    for release in ledger.releases(connection, *mine, ledger.in_state(ReleaseState.ROLLING_OUT)):
        lines = ledger.events(connection, _event.c.release == release.id)
        steps = [line for line in lines if line.state is ReleaseState.ROLLING_OUT]
        approved = next(line for line in lines if line.state is ReleaseState.APPROVED)
        found.append(
            Rollout(
                release=release,
                step=len(steps) - 1,
                step_since=steps[-1].at,
                since=steps[0].at,
                approved_by=approved.actor,
            )
        )
    return found
