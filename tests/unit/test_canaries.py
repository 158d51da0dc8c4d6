"""Releases that go live by steps: what the ledger says, and what servers follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from perene.definition.canary import read_canary
from perene.errors import Conflict, NotAllowed
from perene.records.model import ModelVersion, RegisteredModel
from perene.records.release import GATE, WATCH, Course, Release, ReleaseState
from perene.repositories.audits import Audits
from perene.repositories.models import Models
from perene.repositories.releases import Releases
from perene.repositories.servings import Servings
from perene.storage.database import Database

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STEPS = Course(steps=read_canary("10% 1h, 50% 2h"), watch=timedelta(hours=6))


class Desk:
    """The ledger of one model, with a day between any two deeds."""

    def __init__(self, database: Database, train: Callable[..., ModelVersion]) -> None:
        self.database, self.ledger, self.models = database, Releases(database), Models(database)
        self.servings = Servings(database)
        self._train, self.now = train, NOW

    def who(self, actor: str = "ana") -> dict[str, object]:
        self.now += timedelta(days=1)
        return {"actor": actor, "why": "because", "at": self.now}

    def propose(self) -> Release:
        return self.ledger.propose("m", self._train(self.database).version, run=None, evaluation=None, **self.who())

    def live(self) -> Release:
        return self.ledger.approve(self.propose().id, **self.who())

    def rolling(self, actor: str = "ana", *, automatic: bool = False) -> Release:
        return self.ledger.approve(self.propose().id, **self.who(actor), course=STEPS, automatic=automatic)

    def step(self) -> Release:
        (rollout,) = self.ledger.rollouts("m")
        return self.ledger.step_up(rollout, **self.who(WATCH), watch=STEPS.watch)

    def states(self, release: Release) -> list[str]:
        return [event.state.value for event in self.ledger.events("m", release=release.id)]

    @property
    def model(self) -> RegisteredModel:
        return self.models.get("m")


@pytest.fixture
def desk(database: Database, train: Callable[..., ModelVersion]) -> Desk:
    """A ledger with a live version."""
    made = Desk(database, train)
    made.live()
    return made


def test_a_release_goes_live_step_by_step(desk) -> None:
    """Each step is a line of the ledger, and servers get its share; after the last it is live, as its approver's."""
    release = desk.rolling()
    shares = [(desk.model.champion, desk.model.canary, desk.model.canary_share)]
    desk.step()
    shares.append((desk.model.champion, desk.model.canary, desk.model.canary_share))
    live = desk.step()

    assert shares == [(1, 2, 0.1), (1, 2, 0.5)]
    assert (desk.model.champion, desk.model.canary, desk.model.canary_share) == (2, None, 0.0)
    assert desk.states(release) == ["proposed", "approved", "rolling out", "rolling out", "live"]
    assert (live.state, live.canary) == (ReleaseState.LIVE, STEPS.steps)
    assert [(p.version, p.actor) for p in desk.ledger.history("m")] == [(1, "ana"), (2, "ana")]
    assert [line.verb for line in Audits(desk.database).list(about=f"release {release.id}")] == ["go live", "approve"]


def test_two_schedulers_make_one_step(desk) -> None:
    """A step that another took already changes nothing."""
    release = desk.rolling()
    (seen,) = desk.ledger.rollouts("m")
    desk.ledger.step_up(seen, **desk.who(WATCH))
    again = desk.ledger.step_up(seen, **desk.who(WATCH))

    assert (again.state, desk.model.canary_share) == (ReleaseState.ROLLING_OUT, 0.5)
    assert desk.states(release).count("rolling out") == 2


@pytest.mark.parametrize("end", ["reject", "undo", "rollback"])
def test_a_canary_is_taken_back_at_any_step(desk, end) -> None:
    """By a person or by the watch, the champion answers every key again; a rollback also holds the model."""
    release = desk.rolling()
    desk.step()
    done = desk.ledger.rollback("m", **desk.who()) if end == "rollback" else getattr(desk.ledger, end)(
        release.id, **desk.who()
    )  # fmt: skip

    assert done.state is (ReleaseState.REJECTED if end == "reject" else ReleaseState.ROLLED_BACK)
    assert (desk.model.champion, desk.model.canary, desk.model.canary_share) == (1, None, 0.0)
    assert (desk.model.held_at is not None) is (end == "rollback")
    assert desk.ledger.rollouts() == []
    with pytest.raises(NotAllowed):
        desk.ledger.approve(release.id, **desk.who())


def test_a_rollback_to_a_version_goes_there_and_closes_the_canary(desk) -> None:
    """One that names its version is about what is live."""
    desk.live()
    release = desk.rolling()
    desk.ledger.rollback("m", 1, **desk.who())

    assert (desk.model.champion, desk.model.canary) == (1, None)
    assert desk.states(release)[-1] == "superseded"


def test_approving_again_makes_it_live_now(desk) -> None:
    """A person need not wait for the steps."""
    release = desk.rolling()

    assert desk.ledger.approve(release.id, **desk.who("bob")).state is ReleaseState.LIVE
    assert (desk.model.champion, desk.model.canary) == (2, None)
    assert desk.ledger.history("m")[-1].actor == "bob"


def test_asking_for_its_steps_again_changes_nothing(desk) -> None:
    """The same command twice does not make it live: only who asks for no steps wants all keys."""
    release, asked = desk.rolling(), replace(STEPS, is_asked=True)
    before = desk.states(release)

    same = desk.ledger.approve(release.id, **desk.who("bob"), course=asked)
    assert (same.state, desk.states(release), desk.model.canary_share) == (ReleaseState.ROLLING_OUT, before, 0.1)

    none = replace(asked, steps=())
    assert desk.ledger.approve(release.id, **desk.who("bob"), course=none).state is ReleaseState.LIVE


def test_what_passes_meanwhile_waits(desk) -> None:
    """The gate's next candidate does not push a canary aside; a person's does, and what goes live closes what waits."""
    first = desk.rolling(GATE, automatic=True)
    second = desk.propose()
    with pytest.raises(NotAllowed) as refused:
        desk.ledger.approve(second.id, **desk.who(GATE), automatic=True, course=STEPS)
    desk.ledger.wait(second.id, **desk.who(GATE))
    third = desk.rolling("bob")

    assert refused.value.code == "rolling-out"
    assert desk.states(first)[-1] == "superseded"
    assert (desk.model.canary, desk.model.canary_share) == (4, 0.1)
    desk.step(), desk.step()
    assert desk.states(third)[-1] == "live"
    assert desk.states(second)[-1] == "superseded"


def test_a_first_version_needs_no_canary(database, train) -> None:
    """There is nobody who could answer the other keys, and nothing to compare with."""
    desk = Desk(database, train)

    assert desk.rolling().state is ReleaseState.LIVE
    assert (desk.model.former, desk.model.watched_until) == (None, None)


def test_a_fresh_release_is_watched_beside_the_one_before(desk) -> None:
    """From when it is live, by steps or at once; a rollback is not watched; a late end of a watch ends no other."""
    at_once = desk.ledger.approve(desk.propose().id, **desk.who(), course=Course(watch=timedelta(hours=6)))
    seen = desk.model.former, desk.model.watched_until
    desk.ledger.end_watch("m", live=1)
    kept = desk.model.former
    desk.ledger.end_watch("m", live=at_once.version)
    ended = desk.model.former
    desk.rolling(), desk.step()
    before = desk.model.former
    desk.step()
    by_steps = desk.model.former
    desk.ledger.rollback("m", **desk.who())

    assert seen == (1, desk.now - timedelta(days=5) + timedelta(hours=6))
    assert (kept, ended, before, by_steps, desk.model.former) == (1, None, None, 2, None)


def test_a_rollback_is_of_the_version_that_it_is_meant_for(desk) -> None:
    """The watch that was slower than a person undoes nothing of theirs."""
    desk.live()
    desk.live()

    with pytest.raises(Conflict, match="not live any more"):
        desk.ledger.rollback("m", **desk.who(WATCH), live=2)


def test_counts_begin_anew_with_a_release(desk) -> None:
    """What a version did before it is tried again counts neither for nor against it; all processes' counts meet."""
    desk.servings.add({("m", 2, "canary"): {"requests": 3.0, "errors": 2.0}, ("m", 1, "champion"): {"requests": 5.0}})
    desk.servings.add({("m", 1, "champion"): {"requests": 1.0}})
    both = desk.servings.get("m", 1, "champion").requests
    before = desk.servings.get("m", 2, "canary").errors
    desk.rolling()

    assert (before, desk.servings.get("m", 2, "canary").errors) == (2, 0)
    assert (both, desk.servings.get("m", 1, "champion").requests) == (6, 0)  # of the same time as the canary's
    desk.servings.add({("m", 2, "champion"): {"errors": 7.0}})
    desk.step(), desk.step()
    assert desk.servings.get("m", 2, "champion").errors == 0


def test_a_shadow_is_set_and_taken_away(desk) -> None:
    """With who and why; not what is live, nor what there is not; one that goes live is none any more."""
    waiting = desk.propose()
    desk.models.set_shadow("m", 2, **desk.who())
    seen = desk.model.shadow, desk.model.shadow_since
    with pytest.raises(Conflict, match="live"):
        desk.models.set_shadow("m", 1, **desk.who())
    desk.ledger.approve(waiting.id, **desk.who())

    assert seen == (2, desk.now - timedelta(days=2))
    assert (desk.model.champion, desk.model.shadow) == (2, None)
    assert [line.after for line in Audits(desk.database).list(about="model m") if line.verb == "shadow"] == [
        {"shadow": 2}
    ]
