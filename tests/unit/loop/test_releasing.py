"""Releasing: what becomes of each verdict, and who is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perene.errors import NotAllowed
from perene.pipelines.releasing import release
from perene.records.release import ReleaseState
from perene.records.verdict import Decision, Evaluation, Verdict

MODEL = """
def train(x, y):
    return None

m = Model("parcels", label=Label("hours", float, **WAIT), train=train, {more}**terms)
"""


def verdict(decision: Decision, **other: object) -> Verdict:
    usual = Verdict(
        decision=decision, reason=f"it is {decision}", metric="squared_error", against="champion", candidate_score=1.0,
        champion_score=1.0, difference=0.0, lower=-0.1, upper=0.1, margin=0.05, rows=100, days=10,
    )  # fmt: skip
    return replace(usual, **other)  # type: ignore[arg-type]


def approve(b, release: int, *, why: str) -> None:
    """A person approves; the versions of these tests have no bundle that could be loaded."""
    b.app.releases.approve(release, actor="ana", why=why, at=b.app.time.now())


@pytest.fixture
def act(bench):
    """Release a new version of a model on a verdict; gives the bench, what came of it, and does it again when asked."""

    def make(more: str = ""):
        b = bench(MODEL.format(more=more))

        def act_on(said: Verdict):
            version = b.add_version(len(b.app.models.versions("parcels")) + 1)
            evaluation = b.app.evaluations.add(
                Evaluation(
                    id=0, model="parcels", run=None, created_at=b.app.time.now(), candidate=version.version,
                    champion=b.app.models.get("parcels").champion, dataset=1, verdict=said, by_day={}, slices={},
                )
            )  # fmt: skip
            return release(b.model, evaluation, releases=b.app.releases, alerts=b.app.alerts, now=b.app.time.now())

        return b, act_on

    return make


def test_a_pass_is_released(act) -> None:
    """It is live, and the ledger says why."""
    b, act_on = act()

    done = act_on(verdict(Decision.PASS))

    assert (done.outcome, done.release.state) == ("released", ReleaseState.LIVE)
    assert b.app.models.get("parcels").champion == 1
    assert b.app.releases.events("parcels")[-1].why == "it is pass"


def test_a_worse_candidate_is_rejected_with_an_alert(act) -> None:
    """V6: the champion stays, and somebody is told; the next pass takes the alert back."""
    b, act_on = act()
    act_on(verdict(Decision.PASS))

    done = act_on(verdict(Decision.WORSE))
    alerts = b.app.alerts.list(state="firing")
    act_on(verdict(Decision.PASS))

    assert (done.outcome, done.release.state) == ("worse", ReleaseState.REJECTED)
    assert [alert.rule for alert in alerts] == ["candidate-worse"]
    assert "v2 is worse than what is live" in alerts[0].what
    assert b.app.alerts.list(state="firing") == []
    assert b.app.models.get("parcels").champion == 3


def test_an_unfit_candidate_is_rejected_with_an_alert(act) -> None:
    """C9: what is too slow or too big is not served; somebody is told, and the next pass takes the alert back."""
    b, act_on = act()
    act_on(verdict(Decision.PASS))

    done = act_on(verdict(Decision.UNFIT))
    (alert,) = b.app.alerts.list(state="firing")
    act_on(verdict(Decision.PASS))

    assert (done.outcome, done.release.state) == ("unfit", ReleaseState.REJECTED)
    assert (alert.rule, alert.why) == ("candidate-unfit", "it is unfit")
    assert "v2 is too slow or too big" in alert.what
    assert "perene check parcels --serving --version 2" in alert.mend
    assert b.app.alerts.list(state="firing") == []


def test_an_inconclusive_candidate_stands_and_nobody_is_paged(act) -> None:
    """The champion stays; a person may approve it; the next release supersedes it."""
    b, act_on = act()
    act_on(verdict(Decision.PASS))

    done = act_on(verdict(Decision.INCONCLUSIVE, days_needed=30))

    assert (done.outcome, done.release.state) == ("inconclusive", ReleaseState.PROPOSED)
    assert b.app.models.get("parcels").champion == 1
    assert b.app.alerts.list(state="firing") == []
    act_on(verdict(Decision.PASS))
    assert b.app.releases.get(done.release.id).state is ReleaseState.SUPERSEDED


def test_a_refused_candidate_goes_live_only_by_a_person(act) -> None:
    """Law 6: no release without an audited override, and an alert that says why."""
    b, act_on = act()
    act_on(verdict(Decision.PASS))

    done = act_on(verdict(Decision.REFUSED))
    alerts = b.app.alerts.list(state="firing")
    approve(b, done.release.id, why="I looked at it")

    assert done.outcome == "refused"
    assert [alert.rule for alert in alerts] == ["gate-refused"]
    assert b.app.models.get("parcels").champion == 2
    line = b.app.audits.list(about=f"release {done.release.id}")[0]
    assert (line.verb, line.actor, line.why) == ("approve", "ana", "I looked at it")


def test_review_leaves_it_to_a_person(act) -> None:
    """release="review": a pass waits, and goes live when it is approved."""
    b, act_on = act('release="review", ')

    done = act_on(verdict(Decision.PASS))
    waiting = b.app.models.get("parcels").champion
    approve(b, done.release.id, why="good")

    assert (done.outcome, done.release.state, waiting) == ("waiting", ReleaseState.WAITING, None)
    assert b.app.models.get("parcels").champion == 1


def test_an_approval_is_void_when_something_else_went_live(act) -> None:
    """It was judged against another champion: approving it now is refused."""
    b, act_on = act('release="review", ')
    first, second = act_on(verdict(Decision.PASS)), act_on(verdict(Decision.INCONCLUSIVE))
    approve(b, first.release.id, why="good")

    with pytest.raises(NotAllowed, match="cannot become approved"):
        approve(b, second.release.id, why="this too")


def test_the_deadline_releases_and_the_ledger_says_so(act) -> None:
    """A candidate that passed only because the champion is stale is marked in the ledger."""
    b, act_on = act()

    done = act_on(verdict(Decision.PASS, released_on_deadline=True))

    assert done.outcome == "released"
    assert b.app.releases.events("parcels")[-1].why.startswith("released on the deadline:")


def test_on_deadline_review_asks_a_person(act) -> None:
    """gate(on_deadline="review") waits instead; a plain pass is still released."""
    _, act_on = act('gate=gate(on_deadline="review"), ')

    late = act_on(verdict(Decision.PASS, released_on_deadline=True))
    plain = act_on(verdict(Decision.PASS))

    assert (late.outcome, plain.outcome) == ("waiting", "released")


def test_a_hold_makes_a_pass_wait(act) -> None:
    """While a person holds the model nothing is released by itself; resumed, the next one is."""
    b, act_on = act()
    act_on(verdict(Decision.PASS))
    b.app.hold("parcels", actor="ana", why="the feed is broken")

    held = act_on(verdict(Decision.PASS))
    b.app.resume("parcels", actor="ana")
    after = act_on(verdict(Decision.PASS))

    assert (held.outcome, held.release.state) == ("held", ReleaseState.WAITING)
    assert (after.outcome, b.app.models.get("parcels").champion) == ("released", 3)
    assert b.app.releases.get(held.release.id).state is ReleaseState.SUPERSEDED


def test_a_worse_first_model_is_told_as_such(act) -> None:
    """Without a champion the alert speaks of the constant prediction."""
    b, act_on = act()

    act_on(verdict(Decision.WORSE, against="baseline"))

    assert "worse than a constant prediction" in b.app.alerts.list(state="firing")[0].what
