"""The release ledger: who made which version live, when and why. Append-only; each verb is one transaction.

Laws. At most one release of a model is live, and ``model.champion`` names its version. An approval holds for the bundle
and the dataset that were reviewed, judged against the version that is live; a release that goes live supersedes every
other open one of its model, and a newer one that waits for review supersedes older ones that wait. A verb that is
repeated on a release that is in its state already changes nothing. A rollback puts its model on hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from perene.errors import Conflict, NotAllowed
from perene.records.release import LivePeriod, Release, ReleaseEvent, ReleaseState
from perene.repositories import Fence, audits, ledger, models
from perene.repositories.ledger import Deed
from perene.storage import tables
from perene.storage.database import Database

_release = tables.release
_event = tables.release_event


class Releases:
    """The release ledger. ``actor`` is who does it, ``at`` project time; ``fence`` guards the effects of a run."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def propose(
        self,
        model: str,
        version: int,
        *,
        run: int | None,
        evaluation: int | None,
        at: datetime,
        actor: str,
        why: str,
        fence: Fence | None = None,
    ) -> Release:
        """Propose to make a version live. The same run again gives the release that it proposed before."""
        with self._database.write() as connection:
            if fence is not None:
                fence(connection)
            champion = models.lock_model(connection, model).champion
            known = [] if run is None else ledger.releases(connection, _release.c.run == run)
            if known:
                return known[0]
            if version == champion:
                raise Conflict(f"{model} v{version} is live already", mend=f"nothing: perene model show {model}")
            deed = Deed(actor, why, at)
            values = {"kind": "release", "replaces": champion, "run": run, "evaluation": evaluation}
            return ledger.open_(connection, model, version, deed=deed, **values)

    def wait(self, id: int, *, actor: str, why: str, at: datetime, fence: Fence | None = None) -> Release:
        """Leave it to a person; older ones of the model that wait are superseded."""
        with self._database.write() as connection:
            if fence is not None:
                fence(connection)
            release = ledger.locked(connection, id)
            if release.state is ReleaseState.WAITING:
                return release
            waiting = ledger.append(connection, release, ReleaseState.WAITING, deed=Deed(actor, why, at))
            newer = Deed(actor, f"v{release.version} waits for review instead (release {id})", at)
            ledger.supersede(connection, waiting, deed=newer, states=(ReleaseState.WAITING,))
            return waiting

    def approve(
        self,
        id: int,
        *,
        actor: str,
        why: str,
        at: datetime,
        bundle: str | None = None,
        automatic: bool = False,
        fence: Fence | None = None,
    ) -> Release:
        """Approve a release and make it live. ``bundle``: the digest that was reviewed; ``automatic``: by no person.

        Raises Conflict when what was reviewed is not what would be released, NotAllowed when it is closed, or when it
        is automatic and the model is on hold (code "held").
        """
        with self._database.write() as connection:
            if fence is not None:
                fence(connection)
            release = ledger.locked(connection, id)
            if release.state is ReleaseState.LIVE:
                return release
            if automatic:
                _refuse_held(connection, release)
            deed = Deed(actor, why, at)
            if release.state in ledger.OPEN:
                ledger.refuse_stale(connection, release, bundle=bundle)
            approved = ledger.append(connection, release, ReleaseState.APPROVED, deed=deed)
            live = ledger.make_live(connection, approved, before=ReleaseState.REPLACED, deed=deed)
            _audit(connection, "approve", live, deed=deed)
            return live

    def reject(self, id: int, *, actor: str, why: str, at: datetime, fence: Fence | None = None) -> Release:
        """Refuse a release."""
        with self._database.write() as connection:
            if fence is not None:
                fence(connection)
            release = ledger.locked(connection, id)
            if release.state is ReleaseState.REJECTED:
                return release
            deed = Deed(actor, why, at)
            rejected = ledger.append(connection, release, ReleaseState.REJECTED, deed=deed)
            _audit(connection, "reject", rejected, deed=deed)
            return rejected

    def rollback(self, model: str, to: int | None = None, *, actor: str, why: str, at: datetime) -> Release:
        """Make a version live again (by default the one before) and put the model on hold.

        Raises NotAllowed when there is none to go back to, or ``to`` was never live; Conflict when it is live already.
        """
        with self._database.write() as connection:
            champion = models.lock_model(connection, model).champion
            target = _target(connection, model, to)
            deed = Deed(actor, why, at)
            values = {"kind": "rollback", "replaces": champion, "run": None, "evaluation": None}
            back = ledger.open_(connection, model, target, deed=deed, **values)
            live = ledger.make_live(connection, back, before=ReleaseState.ROLLED_BACK, deed=deed)
            _audit(connection, "rollback", live, deed=deed)
            models.set_hold(connection, model, actor=actor, why=f"rolled back to v{target}: {why}", at=at)
            return live

    def rollback_target(self, model: str, to: int | None = None) -> int:
        """The version that a rollback would make live. Raises as ``rollback`` does."""
        with self._database.read() as connection:
            return _target(connection, model, to)

    def get(self, id: int) -> Release:
        """One release. Raises NotFound."""
        with self._database.read() as connection:
            return ledger.release_of(connection, id)

    def events(self, model: str, *, release: int | None = None) -> list[ReleaseEvent]:
        """The ledger's lines of a model (or of one of its releases), in the order of writing."""
        where = [_event.c.model == model] if release is None else [_event.c.model == model, _event.c.release == release]
        with self._database.read() as connection:
            return ledger.events(connection, *where)

    def decided(self, releases: Sequence[Release]) -> dict[int, ReleaseEvent]:
        """The line that says why each release was, or was not, released: its newest before it went live."""
        mine = _event.c.release.in_([release.id for release in releases])
        with self._database.read() as connection:
            lines = ledger.events(connection, mine, _event.c.state.not_in(ledger.ONCE_LIVE))
        return {line.release: line for line in lines}

    def history(self, model: str) -> list[LivePeriod]:
        """Which version was live from when to when, oldest first."""
        with self._database.read() as connection:
            return ledger.live_periods(connection, model)

    def anchor(self, model: str) -> int | None:
        """The newest version, on the way to the live one, that a person approved or the gate certified better."""
        with self._database.read() as connection:
            return ledger.anchor(connection, model)

    def before(self, model: str) -> int | None:
        """The version that was live before the live one, not counting those that were rolled back from."""
        with self._database.read() as connection:
            return ledger.version_before(ledger.live_periods(connection, model))

    def live_at(self, model: str, at: datetime) -> int | None:
        """The version that was live at a project time; None before the first release."""
        live = sa.select(_event.c.version).where(
            _event.c.model == model, _event.c.state == ReleaseState.LIVE, _event.c.at <= at
        )
        with self._database.read() as connection:
            return connection.scalar(live.order_by(_event.c.at.desc(), _event.c.id.desc()).limit(1))

    def list(
        self, model: str | None = None, *, state: ReleaseState | None = None, limit: int | None = None
    ) -> list[Release]:
        """The releases, newest first."""
        where = [] if model is None else [_release.c.model == model]
        if state is not None:
            where.append(ledger.in_state(state))
        with self._database.read() as connection:
            return ledger.releases(connection, *where, limit=limit)


def _target(connection: sa.Connection, model: str, to: int | None) -> int:
    """Where a rollback goes: to the version that it names, which must have been live, or to the one before."""
    periods = ledger.live_periods(connection, model)
    target = ledger.version_before(periods) if to is None else to
    if target is None:
        why = "none was live before it that was not rolled back from" if periods else "none was ever live"
        raise NotAllowed(f"{model} has no version to go back to", why=why, mend=f"perene model history {model}")
    if periods and target == periods[-1].version:
        raise Conflict(f"{model} v{target} is live already", mend=f"name another one: perene model history {model}")
    if target not in {period.version for period in periods}:
        models.version_of(connection, model, target)
        raise NotAllowed(
            f"{model} cannot go back to v{target}",
            why="it was never live",
            mend="approve its release instead: perene release list",
        )
    return target


def _refuse_held(connection: sa.Connection, release: Release) -> None:
    held = models.lock_model(connection, release.model)
    if held.held_at is not None:
        raise NotAllowed(
            f"{release.model} is on hold, so v{release.version} is not released by itself",
            why=f"{held.held_by}: {held.held_why}",
            mend=f"perene model resume {release.model}, or perene release approve {release.id}",
            code="held",
        )


def _audit(connection: sa.Connection, verb: str, release: Release, *, deed: Deed) -> None:
    live = release.version if release.state is ReleaseState.LIVE else release.replaces
    audits.record(
        connection,
        verb,
        f"release {release.id}",
        at=deed.at,
        actor=deed.actor,
        why=deed.why,
        before={"model": release.model, "champion": release.replaces},
        after={"model": release.model, "champion": live, "bundle": release.bundle},
    )
