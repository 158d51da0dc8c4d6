"""How each model does."""

from __future__ import annotations

from datetime import timedelta

import pytest

from perene.monitoring.status import status_of, statuses
from perene.records.status import FreshnessState, HealthState, Standing


def of(bench, now, **more):
    return status_of(bench.model, bench, now=now, **more)


def live(bench, day, *, through=0, at=9, metric="log_loss"):
    """A model with a live version, validated."""
    version = bench.train(day(through), label_mean=0.4)
    bench.validate(version, 0.5, metric=metric)
    bench.release(version, day(at))
    return version


def serve(bench, *versions):
    for i, version in enumerate(versions):
        serves = {} if version is None else {bench.model.name: version}
        bench.servers.beat(f"s{i}", address=f"127.0.0.1:{8000 + i}", serves=serves)


def test_it_says_what_is_live_and_how_good(bench, day):
    """Live version, since when, its validated score, what its answers came to, bias, coverage, run and due time."""
    bench.declare(owner="ops")
    version = live(bench, day)
    bench.run(day(9), "released")
    ids = bench.answer([day(2), *[day(10 + i) for i in range(8)]], [0.0, *[0.9] * 8])
    bench.tell(ids[:-2], [True] * 7)

    found = of(bench, day(18), next_due=day(19))

    assert (found.model, found.owner, found.live, found.since) == ("trip-late", "ops", version.version, day(9))
    assert (found.metric, found.better, found.validated) == ("log_loss", "lower", 0.5)
    assert found.live_score.value == pytest.approx(0.105, abs=1e-3)
    assert (found.live_score.rows, found.coverage) == (6, pytest.approx(6 / 7))
    assert found.label_lag == timedelta(hours=1)
    assert found.bias.observed.value == pytest.approx(-0.1)
    assert found.bias.against_training.value == pytest.approx(0.5)
    assert (found.next_due, found.last_outcome, found.waiting, found.held_why) == (day(19), "released", 0, None)
    assert (found.health, found.reasons, found.standing) == (HealthState.HEALTHY, (), Standing.IN_STEP)


def test_a_model_of_which_nothing_is_live(bench, day):
    """Before the first release freshness and health are unknown, and nothing is measured."""
    found = of(bench, day(1))

    assert (found.live, found.since, found.live_score, found.validated) == (None, None, None, None)
    assert (found.freshness.state, found.health) == (FreshnessState.UNKNOWN, HealthState.UNKNOWN)
    assert (found.standing, found.reasons) == (Standing.NOTHING_LIVE, ("no version is live",))


def test_the_first_run_is_progress(bench, day):
    """A model whose first run works is on its way, not unknown."""
    id = bench.run(day(0), None)

    found = of(bench, day(0))

    assert (found.health, found.reasons) == (HealthState.PROGRESSING, (f"run {id} works",))


def test_a_failed_run_degrades_until_one_ends_well(bench, day):
    """The last run that ended counts: a failed one degrades with its error, a later good one heals."""
    live(bench, day)
    bench.run(day(9), fails="the source gave no rows")

    failed = of(bench, day(9, 1))
    bench.run(day(10), "inconclusive")
    healed = of(bench, day(10, 1))

    assert (failed.health, failed.last_outcome) == (HealthState.DEGRADED, "failed")
    assert "the source gave no rows" in failed.reasons[0]
    assert (healed.health, healed.last_outcome) == (HealthState.HEALTHY, "inconclusive")


def test_pages_degrade_but_notices_and_those_of_age_do_not(bench, day):
    """A firing page degrades health and is a reason; that a model is old is told by its freshness alone, and that a
    candidate was worse says nothing against the live version."""
    live(bench, day)
    bench.alerts.raise_(bench.model.name, "model-stale", severity="page", what="old", at=day(9))
    aged = of(bench, day(9, 1))
    bench.alerts.raise_(bench.model.name, "candidate-worse", severity="notice", what="v2 is worse", at=day(9))
    worse = of(bench, day(9, 1))
    bench.alerts.raise_(bench.model.name, "load-failed", severity="page", what="a server cannot load v2", at=day(9))
    broken = of(bench, day(9, 1))

    assert (aged.health, aged.reasons) == (HealthState.HEALTHY, ())
    assert (worse.health, worse.reasons) == (HealthState.HEALTHY, ())
    assert (broken.health, broken.reasons) == (HealthState.DEGRADED, ("a server cannot load v2",))


def test_a_hold_suspends_and_says_who_and_why(bench, day):
    """A model on hold is suspended, with the person and the reason; something broken is worse."""
    live(bench, day)
    bench.models.hold(bench.model.name, actor="ana", why="feed is broken", at=day(9))

    held = of(bench, day(10))
    bench.run(day(10), fails="no rows")
    broken = of(bench, day(10, 1))

    assert (held.health, held.reasons) == (HealthState.SUSPENDED, ("on hold by ana: feed is broken",))
    assert (held.held_why, held.standing) == ("feed is broken", Standing.HELD)
    assert broken.health is HealthState.DEGRADED
    assert broken.reasons[-1] == held.reasons[0]


@pytest.mark.parametrize("other", [7, None])
def test_servers_that_run_another_version_are_out_of_step(bench, day, other):
    """Just after a release servers roll out; minutes later, one that runs another version or none is out of step."""
    version = live(bench, day)
    serve(bench, version.version, version.version, other)

    soon, later = of(bench, day(9) + timedelta(minutes=2)), of(bench, day(10))

    assert (soon.standing, soon.health) == (Standing.ROLLING_OUT, HealthState.PROGRESSING)
    assert (later.standing, later.health) == (Standing.OUT_OF_STEP, HealthState.DEGRADED)
    assert (later.servers, later.servers_in_step) == (3, 2)
    assert later.reasons == (f"1 of 3 servers do not run v{version.version}",)


def test_a_release_that_waits_is_counted(bench, day):
    """What waits for a person is counted, and is the model's standing."""
    live(bench, day)
    told = {"actor": "perene", "why": "review", "at": day(10)}
    next_version = bench.train(day(1))
    proposed = bench.releases.propose(bench.model.name, next_version.version, run=None, evaluation=None, **told)
    bench.releases.wait(proposed.id, **told)

    found = of(bench, day(11))

    assert (found.waiting, found.standing, found.health) == (1, Standing.WAITING, HealthState.HEALTHY)


def test_a_version_judged_by_another_metric_keeps_it(bench, day):
    """The live score is by the metric that the version was validated by; one that is gone gives way to the gate's."""
    first = bench.train(day(0))
    bench.validate(first, 0.8, metric="auc")
    bench.release(first, day(9))
    by_auc = of(bench, day(10))
    second = bench.train(day(0))
    bench.validate(second, 3.0, metric="profit")
    bench.release(second, day(10))
    by_gate = of(bench, day(11))

    assert (by_auc.metric, by_auc.better, by_auc.validated) == ("auc", "higher", 0.8)
    assert (by_gate.metric, by_gate.validated) == ("log_loss", None)


def test_a_metric_that_fails_is_a_reason_not_an_end(bench, day):
    """A model whose metric raises still has a status, degraded, that says so."""

    def broken(y, p):
        raise ZeroDivisionError

    bench.declare(metric=broken)
    live(bench, day, metric="broken")
    bench.tell(bench.answer([day(10)], [0.9]), [True])

    found = of(bench, day(15))

    assert found.live_score is None
    assert found.health is HealthState.DEGRADED
    assert "broken" in found.reasons[0]


def test_who_wants_no_numbers_reads_no_logs(bench, day):
    """Without measuring the logs are not read; all else is there."""
    live(bench, day)
    bench.tell(bench.answer([day(10)], [0.9]), [True])

    found = of(bench, day(15), measured=False)

    assert (found.live_score, found.bias, found.coverage, found.validated) == (None, None, None, 0.5)


def test_the_worst_comes_first(bench, day):
    """Stale before ageing before degraded before never trained before fresh; equals by name."""
    through = {"stale": 0, "ageing": 22, "broken": 36, "b-fresh": 36, "a-fresh": 36}
    models = [bench.declare(name=name, stale_after="20d") for name in ("never", *through)]
    for model in models[1:]:
        bench.model = model
        bench.release(bench.train(day(through[model.name])), day(39))
    bench.alerts.raise_("broken", "load-failed", severity="page", what="a server cannot load it", at=day(39))

    found = statuses(models, bench, now=day(40), next_due={"stale": day(41)})

    assert [status.model for status in found] == ["stale", "ageing", "broken", "never", "a-fresh", "b-fresh"]
    assert [status.next_due for status in found][:2] == [day(41), None]
