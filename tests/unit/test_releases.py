"""The release ledger: each verb's law."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from perene.errors import Conflict, LostLease, NotAllowed, NotFound
from perene.records.model import ModelVersion
from perene.records.release import Release, ReleaseState
from perene.repositories.audits import Audits
from perene.repositories.models import Models
from perene.repositories.releases import Releases
from perene.storage import tables
from perene.storage.database import Database

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Train = Callable[..., ModelVersion]


class Desk:
    """The ledger of one model, with a day between any two deeds."""

    def __init__(self, database: Database, train: Train) -> None:
        self.database = database
        self.ledger = Releases(database)
        self.models = Models(database)
        self._train = train
        self.now = NOW

    def later(self) -> datetime:
        self.now += timedelta(days=1)
        return self.now

    def who(self, why: str = "because") -> dict[str, object]:
        return {"actor": "ana", "why": why, "at": self.later()}

    def propose(self, **values: object) -> Release:
        """A new version, proposed."""
        version = self._train(self.database).version
        return self.ledger.propose("m", version, **{"run": None, "evaluation": None, **self.who(), **values})

    def release(self) -> Release:
        """A new version, live."""
        return self.ledger.approve(self.propose().id, **self.who())

    def states(self, release: Release) -> list[str]:
        return [event.state.value for event in self.ledger.events("m", release=release.id)]

    def champion(self) -> int | None:
        return self.models.get("m").champion


@pytest.fixture
def desk(database: Database, train: Train) -> Desk:
    return Desk(database, train)


def test_approval_makes_a_version_live(desk: Desk) -> None:
    """An approved release is live, is the champion, and has replaced the one before."""
    first, second = desk.release(), desk.release()

    assert desk.champion() == second.version == 2
    assert desk.states(second) == ["proposed", "approved", "live"]
    assert desk.states(first) == ["proposed", "approved", "live", "replaced"]


def test_a_release_waits_for_a_person(desk: Desk) -> None:
    """A release that waits changes nothing until it is approved."""
    waiting = desk.ledger.wait(desk.propose().id, **desk.who())

    assert (waiting.state, desk.champion()) == (ReleaseState.WAITING, None)
    assert desk.ledger.approve(waiting.id, **desk.who()).state is ReleaseState.LIVE


def test_a_rejected_release_is_closed(desk: Desk) -> None:
    """What was rejected cannot be approved."""
    rejected = desk.ledger.reject(desk.propose().id, **desk.who())

    with pytest.raises(NotAllowed, match="cannot become approved") as caught:
        desk.ledger.approve(rejected.id, **desk.who())
    assert caught.value.why == "it is rejected"


def test_a_newer_one_that_waits_supersedes_older_ones(desk: Desk) -> None:
    """At most one release of a model waits for a person: the newest."""
    older = desk.ledger.wait(desk.propose().id, **desk.who())
    newer = desk.ledger.wait(desk.propose().id, **desk.who())

    assert desk.ledger.get(older.id).state is ReleaseState.SUPERSEDED
    assert [release.id for release in desk.ledger.list("m", state=ReleaseState.WAITING)] == [newer.id]


def test_going_live_supersedes_every_open_release(desk: Desk) -> None:
    """Open releases were judged against a version that is not live any more."""
    waiting, proposed = desk.ledger.wait(desk.propose().id, **desk.who()), desk.propose()

    desk.release()

    assert {desk.ledger.get(release.id).state for release in (waiting, proposed)} == {ReleaseState.SUPERSEDED}


def test_an_approval_is_of_the_reviewed_bundle(desk: Desk) -> None:
    """An approval that names another bundle than the proposed one is refused."""
    proposed = desk.propose()

    with pytest.raises(Conflict, match="cannot be approved any more") as caught:
        desk.ledger.approve(proposed.id, bundle="another", **desk.who())
    assert caught.value.code == "approval-stale"
    assert desk.ledger.approve(proposed.id, bundle=proposed.bundle, **desk.who()).state is ReleaseState.LIVE


@pytest.mark.parametrize(
    ("table", "change"), [(tables.model_version, {"bundle": "other"}), (tables.dataset_version, {"digest": "other"})]
)
def test_a_version_that_changed_since_it_was_proposed(desk: Desk, table: sa.Table, change: dict[str, str]) -> None:
    """A version whose bundle or dataset has another digest by now is not released."""
    proposed = desk.propose()
    with desk.database.write() as connection:
        connection.execute(table.update().values(**change))

    with pytest.raises(Conflict, match="cannot be approved any more"):
        desk.ledger.approve(proposed.id, **desk.who())
    assert desk.states(proposed) == ["proposed"]


def test_a_release_judged_against_another_champion(desk: Desk) -> None:
    """A verdict against a version that is not live any more releases nothing."""
    proposed = desk.propose()
    with desk.database.write() as connection:
        connection.execute(tables.model.update().values(champion=9))

    with pytest.raises(Conflict, match="cannot be approved any more") as caught:
        desk.ledger.approve(proposed.id, **desk.who())
    assert caught.value.why == "it was judged against no version, and v9 is live now"


def test_a_hold_stops_automatic_releases_only(desk: Desk) -> None:
    """On hold, no release goes live by itself; a person may still approve one."""
    proposed = desk.propose()
    desk.models.hold("m", **desk.who("holidays"))

    with pytest.raises(NotAllowed, match="on hold") as caught:
        desk.ledger.approve(proposed.id, automatic=True, **desk.who())
    assert (caught.value.code, caught.value.why) == ("held", "ana: holidays")
    assert desk.ledger.approve(proposed.id, **desk.who()).state is ReleaseState.LIVE


def test_resume_allows_automatic_releases_again(desk: Desk) -> None:
    """After a resume a release goes live by itself."""
    proposed = desk.propose()
    desk.models.hold("m", **desk.who())
    desk.models.resume("m", **desk.who())

    assert desk.ledger.approve(proposed.id, automatic=True, **desk.who()).state is ReleaseState.LIVE


def test_rollback_goes_to_the_version_before(desk: Desk) -> None:
    """A rollback makes the version before live again, marks the one that was, and holds the model."""
    desk.release()
    bad = desk.release()

    back = desk.ledger.rollback("m", **desk.who("errors at ATL"))

    assert (desk.champion(), back.kind, back.replaces) == (1, "rollback", 2)
    assert desk.states(bad)[-1] == "rolled back"
    assert desk.models.get("m").held_why == "rolled back to v1: errors at ATL"


def test_a_second_rollback_goes_further_back(desk: Desk) -> None:
    """Two rollbacks in a row go back two versions, not to and fro."""
    for _ in range(3):
        desk.release()

    desk.ledger.rollback("m", **desk.who())
    desk.ledger.rollback("m", **desk.who())

    assert desk.champion() == 1


def test_rollback_to_a_given_version(desk: Desk) -> None:
    """A rollback may name any version that was live."""
    for _ in range(3):
        desk.release()

    assert desk.ledger.rollback("m", 1, **desk.who()).version == desk.champion() == 1


def test_rollback_without_a_version_before(desk: Desk) -> None:
    """A first version has none to go back to."""
    desk.release()

    with pytest.raises(NotAllowed, match="no version to go back to"):
        desk.ledger.rollback("m", **desk.who())


def test_rollback_to_a_version_that_was_never_live(desk: Desk) -> None:
    """A version that never passed is released by approval, not by rollback."""
    desk.release()
    never = desk.propose().version

    with pytest.raises(NotAllowed, match="cannot go back to v2"):
        desk.ledger.rollback("m", never, **desk.who())


def test_rollback_to_a_version_that_does_not_exist(desk: Desk) -> None:
    """An unknown version is not found."""
    desk.release()

    with pytest.raises(NotFound, match="has no version v7"):
        desk.ledger.rollback("m", 7, **desk.who())


def test_what_was_live_when(desk: Desk) -> None:
    """The ledger tells which version was live at any project time."""
    start = desk.now
    first = desk.release()
    live_since = desk.now
    desk.release()
    desk.ledger.rollback("m", **desk.who())

    assert desk.ledger.live_at("m", start) is None
    assert desk.ledger.live_at("m", live_since) == first.version
    assert [desk.ledger.live_at("m", live_since + timedelta(days=days)) for days in (1, 2, 3, 99)] == [1, 2, 1, 1]


def test_history_has_no_gap(desk: Desk) -> None:
    """Periods follow one another without a gap, and the last one is open."""
    desk.release()
    desk.release()
    desk.ledger.rollback("m", **desk.who())

    periods = desk.ledger.history("m")

    assert [(period.version, period.kind) for period in periods] == [(1, "release"), (2, "release"), (1, "rollback")]
    assert [period.until for period in periods] == [*(period.since for period in periods[1:]), None]


def test_a_run_proposes_once(desk: Desk) -> None:
    """A run that is worked again finds the release that it proposed."""
    desk.release()
    first = desk.propose(run=7)

    again = desk.ledger.propose("m", first.version, run=7, evaluation=None, **desk.who())

    assert again == first
    assert desk.states(first) == ["proposed"]


@pytest.mark.parametrize("verb", ["approve", "wait", "reject"])
def test_a_repeated_verb_changes_nothing(desk: Desk, verb: str) -> None:
    """A verb on a release that is in its state already writes no line."""
    release = getattr(desk.ledger, verb)(desk.propose().id, **desk.who())
    before = desk.ledger.events("m")

    assert getattr(desk.ledger, verb)(release.id, **desk.who()) == release
    assert desk.ledger.events("m") == before


@pytest.mark.parametrize("verb", ["propose", "approve", "wait", "reject"])
def test_a_lost_run_has_no_effect(desk: Desk, verb: str) -> None:
    """A fence that raises leaves the ledger as it was."""
    release = desk.propose()
    before = desk.ledger.events("m")

    def lost(_: sa.Connection) -> None:
        raise LostLease("another worker took over")

    with pytest.raises(LostLease):
        if verb == "propose":
            desk.propose(fence=lost)
        else:
            getattr(desk.ledger, verb)(release.id, fence=lost, **desk.who())
    assert desk.ledger.events("m") == before


def test_a_live_version_is_not_proposed(desk: Desk) -> None:
    """What is live already needs no release."""
    live = desk.release()

    with pytest.raises(Conflict, match="v1 is live already"):
        desk.ledger.propose("m", live.version, run=None, evaluation=None, **desk.who())


def test_deeds_are_in_the_audit_log(desk: Desk) -> None:
    """Approval, rejection and rollback tell who, when, why, and what was live before and after."""
    desk.release()
    desk.release()
    desk.ledger.reject(desk.propose().id, **desk.who())
    desk.ledger.rollback("m", **desk.who("errors"))

    hold, rollback, reject, approve = Audits(desk.database).list()[:4]
    assert [line.verb for line in (hold, rollback, reject, approve)] == ["hold", "rollback", "reject", "approve"]
    assert (rollback.actor, rollback.why, rollback.at) == ("ana", "errors", desk.now)
    assert [(line or {})["champion"] for line in (rollback.before, rollback.after)] == [2, 1]


def test_ledgers_do_not_touch(desk: Desk, train: Train) -> None:
    """A release of one model leaves the others' alone."""
    live = desk.release()
    other = train(desk.database, "other")
    proposed = desk.ledger.propose("other", other.version, run=None, evaluation=None, **desk.who())

    desk.release()
    desk.ledger.approve(proposed.id, **desk.who())

    assert desk.champion() == live.version + 1
    assert desk.models.get("other").champion == 1


def test_an_unknown_release(desk: Desk) -> None:
    """An id that no release has is not found."""
    with pytest.raises(NotFound, match="there is no release 9"):
        desk.ledger.approve(9, **desk.who())
