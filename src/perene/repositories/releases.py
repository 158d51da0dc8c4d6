"""The release ledger: who made which version live, when and why. Append-only; each verb is one transaction.

Laws. At most one release of a model is live, and ``model.champion`` names its version. An approval holds for the bundle
and the dataset that were reviewed, judged against the version that is live; a release that goes live supersedes every
other open one of its model, and a newer one that waits for review supersedes older ones that wait. A verb that is
repeated on a release that is in its state already changes nothing. A rollback puts its model on hold. At most one
release of a model is on its way by steps (a canary); ``model.canary`` and ``model.canary_share`` say which and how far.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from perene.definition.canary import share_text
from perene.errors import Conflict, NotAllowed
from perene.records.release import AT_ONCE, Course, LivePeriod, Release, ReleaseEvent, ReleaseState, Rollout
from perene.repositories import Fence, audits, canaries, ledger, models
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
        course: Course = AT_ONCE,
        fence: Fence | None = None,
    ) -> Release:
        """Approve a release and make it live, or let it begin the first step of its ``course``.

        One that is on its way by steps goes live at once, but stays on its way when it is to go by steps that were
        asked for: the same command twice is no way to 100 %. Steps need a champion that answers the other keys: without
        one it goes live too. ``bundle`` is the digest that was reviewed, ``automatic`` means by no person.

        Raises Conflict when what was reviewed is not what would be released, NotAllowed when it is closed, or when it
        is automatic and the model is on hold (code "held") or another release is on its way (code "rolling-out").
        """
        with self._database.write() as connection:
            if fence is not None:
                fence(connection)
            release = ledger.locked(connection, id)
            stays = automatic or (course.is_asked and course.steps)
            if release.state is ReleaseState.LIVE or (stays and release.state is ReleaseState.ROLLING_OUT):
                return release
            if automatic:
                _refuse_held(connection, release)
                _refuse_crowded(connection, release)
            deed = Deed(actor, why, at)
            if release.state is not ReleaseState.ROLLING_OUT:
                if release.state in ledger.OPEN:
                    ledger.refuse_stale(connection, release, bundle=bundle)
                release = ledger.append(connection, release, ReleaseState.APPROVED, deed=deed)
                if course.steps and release.replaces is not None:
                    begun = canaries.roll_out(connection, release, course.steps, deed=deed._replace(why=""))
                    _audit(connection, "approve", begun, deed=deed)
                    return begun
            live = ledger.make_live(connection, release, before=ReleaseState.REPLACED, deed=deed, watch=course.watch)
            _audit(connection, "approve", live, deed=deed)
            return live

    def step_up(
        self, rollout: Rollout, *, actor: str, why: str, at: datetime, watch: timedelta | None = None
    ) -> Release:
        """Begin the next step of a release that is on its way; after the last it goes live, as its approver's.

        Changes nothing when it is not at that step any more: another scheduler, or a person, was there first.
        """
        with self._database.write() as connection:
            release = ledger.locked(connection, rollout.release.id)
            if rollout not in canaries.rollouts(connection, release.model):
                return release
            if rollout.step + 1 < len(release.canary):
                return canaries.raise_share(connection, release, rollout.step + 1, deed=Deed(actor, why, at))
            deed = Deed(rollout.approved_by, f"its steps are done; {why}", at)
            live = ledger.make_live(connection, release, before=ReleaseState.REPLACED, deed=deed, watch=watch)
            _audit(connection, "go live", live, deed=deed._replace(actor=actor))
            return live

    def undo(self, id: int, *, actor: str, why: str, at: datetime) -> Release:
        """Take a release back that is on its way: the champion answers every key. Any other stays as it is."""
        with self._database.write() as connection:
            release = ledger.locked(connection, id)
            if release.state is not ReleaseState.ROLLING_OUT:
                return release
            deed = Deed(actor, why, at)
            undone = canaries.take_back(connection, release, ReleaseState.ROLLED_BACK, deed=deed)
            _audit(connection, "undo", undone, deed=deed)
            return undone

    def reject(self, id: int, *, actor: str, why: str, at: datetime, fence: Fence | None = None) -> Release:
        """Refuse a release; one that is on its way by steps is taken back."""
        with self._database.write() as connection:
            if fence is not None:
                fence(connection)
            release = ledger.locked(connection, id)
            if release.state is ReleaseState.REJECTED:
                return release
            deed = Deed(actor, why, at)
            was_on_its_way = release.state is ReleaseState.ROLLING_OUT
            close = canaries.take_back if was_on_its_way else ledger.append
            rejected = close(connection, release, ReleaseState.REJECTED, deed=deed)
            _audit(connection, "reject", rejected, deed=deed)
            return rejected

    def rollback(
        self,
        model: str,
        to: int | None = None,
        *,
        actor: str,
        why: str,
        at: datetime,
        live: int | None = None,
    ) -> Release:
        """Make a version live again (by default the one before) and put the model on hold.

        While a release is on its way by steps, the default takes that back, and the live version stays. ``live`` is the
        version that the rollback is meant for.

        Raises NotAllowed when there is none to go back to, or ``to`` was never live; Conflict when it is live already,
        or ``live`` is not.
        """
        with self._database.write() as connection:
            champion = models.lock_model(connection, model).champion
            if live is not None and live != champion:
                raise Conflict(f"{model} v{live} is not live any more", mend=f"perene model history {model}")
            deed = Deed(actor, why, at)
            on_its_way = canaries.rollouts(connection, model)
            if on_its_way and to is None:
                canary = on_its_way[0].release
                undone = canaries.take_back(connection, canary, ReleaseState.ROLLED_BACK, deed=deed)
                _audit(connection, "rollback", undone, deed=deed)
                models.set_hold(connection, model, actor=actor, why=f"took back v{canary.version}: {why}", at=at)
                return undone
            target = _target(connection, model, to)
            values = {"kind": "rollback", "replaces": champion, "run": None, "evaluation": None}
            back = ledger.open_(connection, model, target, deed=deed, **values)
            ended = ledger.make_live(connection, back, before=ReleaseState.ROLLED_BACK, deed=deed)
            _audit(connection, "rollback", ended, deed=deed)
            models.set_hold(connection, model, actor=actor, why=f"rolled back to v{target}: {why}", at=at)
            return ended

    def rollback_target(self, model: str, to: int | None = None) -> int:
        """The version that would be live after a rollback. Raises as ``rollback`` does."""
        with self._database.read() as connection:
            on_its_way = canaries.rollouts(connection, model)
            if on_its_way and to is None and (stays := on_its_way[0].release.replaces) is not None:
                return stays
            return _target(connection, model, to)

    def rollouts(self, model: str | None = None) -> list[Rollout]:
        """The releases that are on their way by steps: one of a model at most."""
        with self._database.read() as connection:
            return canaries.rollouts(connection, model)

    def end_watch(self, model: str, *, live: int) -> None:
        """Stop to compare a release with the one before, while it is the live one."""
        with self._database.write() as connection:
            if models.lock_model(connection, model).champion == live:
                models.follow(connection, model, former=None, watched_until=None)

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
            lines = ledger.events(connection, mine)
        live = {line.release: line.id for line in lines if line.state is ReleaseState.LIVE}
        return {line.release: line for line in lines if line.id < live.get(line.release, line.id + 1)}

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


def _refuse_crowded(connection: sa.Connection, release: Release) -> None:
    for other in canaries.rollouts(connection, release.model):
        raise NotAllowed(
            f"v{other.release.version} of {release.model} is rolling out, so v{release.version} waits",
            why=f"release {other.release.id} answers {share_text(other.share)} of the keys",
            mend=f"perene release approve {release.id} --why TEXT takes its place",
            code="rolling-out",
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
