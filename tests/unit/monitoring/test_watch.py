"""The alerts of models that grow old."""

from __future__ import annotations

from datetime import timedelta

import pytest

from perene.monitoring.watch import watch_freshness

SECOND = timedelta(seconds=1)


@pytest.fixture
def watched(bench, day):
    """The bench with a model that is ageing from day 17.25 and stale from day 20 on."""
    bench.declare(stale_after="20d", every="2d", owner="ops")
    bench.release(bench.train(day(0)), day(9))
    return bench


def watch(bench, now, **more):
    return watch_freshness([bench.model], bench, now=now, **more)


def firing(bench):
    return {alert.rule: alert for alert in bench.alerts.list(state="firing")}


def test_a_fresh_model_is_quiet(watched, day):
    """Below the time of warning nothing fires."""
    assert watch(watched, day(17.2)) == []
    assert firing(watched) == {}


def test_an_ageing_model_is_a_notice_and_a_stale_one_a_page(watched, day):
    """The notice comes when three quarters of what the hold-out leaves are over; at the limit comes the page."""
    (notice,) = watch(watched, day(17.25))
    (page,) = watch(watched, day(20))

    assert (notice.rule, notice.severity, notice.model) == ("model-ageing", "notice", "trip-late")
    assert (page.rule, page.severity) == ("model-stale", "page")
    assert list(firing(watched)) == ["model-stale"]
    assert "turns stale on 2013-03-21 00:00 UTC" in notice.what
    assert page.what == (
        "trip-late is stale: v1 has learnt nothing newer than 2013-03-01 00:00 UTC, 20 d of 20 d ago (owner: ops)"
    )


def test_a_turn_each_second_tells_once(watched, day):
    """While the state stays, an alert is counted at most once per period, however often it is looked."""
    turns = [day(20) + i * SECOND for i in range(100)]

    raised = [alert for now in turns for alert in watch(watched, now)]
    same_day = firing(watched)["model-stale"]
    again = watch(watched, day(22))

    assert len(raised) == 1
    assert (same_day.count, same_day.last_at) == (1, day(20))
    assert [alert.count for alert in again] == [2]


def test_how_often_can_be_said(watched, day):
    """A shorter period than the model's own tells more often."""
    watch(watched, day(20))

    assert len(watch(watched, day(20, 1), every=timedelta(hours=1))) == 1


def test_a_newer_version_resolves(watched, day):
    """A release that learnt from newer rows ends both alerts, with the reason in the audit log."""
    watch(watched, day(20))
    watched.release(watched.train(day(14)), day(21))

    assert watch(watched, day(21)) == []
    assert firing(watched) == {}
    assert [alert.state for alert in watched.alerts.list()] == ["resolved"]


def test_a_release_that_learnt_nothing_new_resolves_nothing(watched, day):
    """A version that was trained today on the same old rows leaves the alert firing."""
    watch(watched, day(20))
    watched.release(watched.train(day(0)), day(21))

    watch(watched, day(21))

    assert list(firing(watched)) == ["model-stale"]


def test_undecided_for_ever_is_alarmed_at_the_deadline(watched, day):
    """Candidates that are inconclusive night after night do not keep the alarm quiet, and are named as the cause."""
    for night in range(10, 20):
        watched.run(day(night), "inconclusive")
        watch(watched, day(night))

    (page,) = watch(watched, day(20))

    assert page.severity == "page"
    assert page.why.startswith("each of the last 10 runs was inconclusive")


def test_an_undecided_candidate_can_be_released_by_a_person(watched, day):
    """The next command is that which releases the proposed candidate."""
    told = {"actor": "perene", "why": "cannot tell", "at": day(19)}
    candidate = watched.train(day(10))
    proposed = watched.releases.propose("trip-late", candidate.version, run=None, evaluation=None, **told)
    watched.run(day(19), "inconclusive")

    (page,) = watch(watched, day(20))

    assert f"perene release approve {proposed.id} --why TEXT" in page.mend


def test_the_cause_is_the_first_that_is_known(watched, day):
    """A failed run is told with its error; a release that waits comes before it, and a hold before that."""
    run = watched.run(day(19), fails="the source gave no rows")
    (failed,) = watch(watched, day(20))
    told = {"actor": "perene", "why": "review", "at": day(21)}
    candidate = watched.train(day(1))
    proposed = watched.releases.propose("trip-late", candidate.version, run=None, evaluation=None, **told)
    watched.releases.wait(proposed.id, **told)
    (waiting,) = watch(watched, day(22))
    watched.models.hold("trip-late", actor="ana", why="feed is broken", at=day(23))
    (held,) = watch(watched, day(24))

    assert "failed: the source gave no rows" in failed.why
    assert failed.mend == f"perene run show {run}"
    assert waiting.why.startswith(f"release {proposed.id} (v2) waits for review since 2013-03-22")
    assert held.why == "automatic releases are on hold by ana: feed is broken"
    assert held.mend == "perene model resume trip-late"


def test_without_runs_the_mend_is_to_train(watched, day):
    """A model that nobody ran is told so."""
    (page,) = watch(watched, day(20))

    assert (page.why, page.mend) == ("no run has been made", "perene train trip-late")


def test_neither_untrained_nor_exempt_models_fire(bench, day):
    """A model of which nothing is live, and one that never goes stale, have no deadline."""
    never = bench.declare(name="never")
    exempt = bench.declare(name="exempt", stale_after=None)
    bench.release(bench.train(day(0)), day(1))

    assert watch_freshness([never, exempt], bench, now=day(900)) == []


def test_each_model_has_its_own_alerts(watched, day):
    """One model's alert neither silences nor resolves another's."""
    first = watched.model
    second = watched.declare(name="trip-other", stale_after="20d")
    watched.release(watched.train(day(10)), day(11))
    watch_freshness([first, second], watched, now=day(20))

    raised = watch_freshness([first, second], watched, now=day(28))

    assert [(alert.model, alert.rule) for alert in raised] == [
        ("trip-late", "model-stale"),
        ("trip-other", "model-ageing"),
    ]
