"""Serving budgets in the gate: what is too slow or too big is rejected, and what cannot be measured is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from perene.errors import LostLease, ServingError
from perene.pipelines.budgets import NAME, check_budgets, say_budget
from perene.pipelines.contests import CannotJudge
from perene.records.rehearsal import Budget, Paced, Rehearsal, Spread
from perene.records.release import ReleaseState
from perene.records.verdict import Decision

SLOW_ALONE = """
import time

def features(rows):
    if rows.height < 3:
        time.sleep(0.05)
    return rows.select(kilograms=pl.col("grams") / 1000)
"""
LINE = """
class Mean:
    def __init__(self, value):
        self.value = value

    def predict(self, x):
        return self.value + 0.9 * x["kilograms"].to_numpy()


def train(x, y, seed):
    return Mean(float(np.mean(y) - 0.9 * x["kilograms"].mean()))
"""
HEAVY = """
class Heavy(Mean):
    def __setstate__(self, state):
        self.__dict__ = state
        self.held = np.ones(300 * 1024 * 1024 // 8)

    def __getstate__(self):
        return {"value": self.value}


def train(x, y, seed):
    return Heavy(float(np.mean(y) - 0.9 * x["kilograms"].mean()))
"""
CRASHING = """
import os, sys

def features(rows):
    if "perene.server.rehearsal" in sys.modules and os.environ.get("OMP_WAIT_POLICY") == "passive" and rows.height < 3:
        os.abort()
    return rows.select(kilograms=pl.col("grams") / 1000)
"""


@pytest.fixture
def dialect() -> str:
    """SQLite alone: how a version serves does not depend on the database."""
    return "sqlite"


def model(**budgets: str) -> str:
    """The declaration of the model with these budgets."""
    told = ", ".join(f"{name}={value!r}" for name, value in budgets.items())
    return f"""
m = Model("parcels", label=Label("hours", float, **WAIT), train=train, **(terms | dict(features=features)), {told})
"""


def checks_of(app) -> dict[str, tuple[Decision, str]]:
    """What the gate said of the first version, by name."""
    evaluation = app.evaluations.for_version("parcels", 1)
    return {check.name: (check.decision, check.reason) for check in evaluation.verdict.checks}


def test_a_slow_candidate_is_rejected(open_app) -> None:
    """C9: features that take 50 ms do not keep a latency of 20 ms; the alert has numbers, stage and mend."""
    app = open_app(SLOW_ALONE + LINE + model(latency="20ms"))

    run = app.train("parcels", actor="test")

    decision, reason = checks_of(app)[NAME]
    (release,), (alert,) = app.releases.list("parcels"), app.alerts.list()
    assert (run.outcome, decision, release.state) == ("unfit", Decision.UNFIT, ReleaseState.REJECTED)
    assert "more than the budget of 20 ms (of it features " in reason
    assert app.models.champion("parcels") is None
    assert (alert.rule, alert.why) == ("candidate-unfit", f"{NAME}: {reason}")
    assert "perene check parcels --serving --version 1" in alert.mend


def test_a_candidate_within_its_budgets_is_released(open_app) -> None:
    """Budgets that hold are a check that passes, and the figures stand in it."""
    app = open_app(LINE + model(latency="5s", memory="4GiB"))

    run = app.train("parcels", actor="test")

    decision, reason = checks_of(app)[NAME]
    assert (run.outcome, decision) == ("released", Decision.PASS)
    assert "within the budget of 5 s; it takes" in reason
    assert reason.endswith("of memory, within the budget of 4 GiB")


def test_a_big_candidate_is_rejected(open_app) -> None:
    """C9: a model that holds 300 MiB once it is loaded does not keep a budget of 100 MiB."""
    app = open_app(LINE + HEAVY + model(memory="100MiB"))

    run = app.train("parcels", actor="test")

    decision, reason = checks_of(app)[NAME]
    assert (run.outcome, decision) == ("unfit", Decision.UNFIT)
    assert reason.startswith("it takes 3")
    assert reason.endswith("MiB of memory, more than the budget of 100 MiB")


def test_a_candidate_that_dies_while_it_is_measured_is_refused(open_app) -> None:
    """The gate fails closed: a crash ends the child process, and the candidate with it, and not the worker."""
    app = open_app(LINE + CRASHING + model(latency="5s"))

    run = app.train("parcels", actor="test")

    decision, reason = checks_of(app)[NAME]
    assert (run.state.value, run.outcome, decision) == ("succeeded", "refused", Decision.REFUSED)
    assert reason == "parcels v1 could not be rehearsed: its process died of signal 6 (Aborted)"


def test_a_candidate_that_does_not_answer_some_rows_is_refused(open_app) -> None:
    """The gate fails closed: it is told how many requests failed in a server, and why."""
    answering = 'gc.get_threshold()[0] == 50_000 and rows.height < 3 and rows["number"][0] % 3 == 0'
    failing = CRASHING.replace("rows.height < 3", answering).replace("os.abort()", 'raise ValueError("no")')
    app = open_app("import gc\n" + LINE + failing + model(latency="5s"))

    run = app.train("parcels", actor="test")

    decision, reason = checks_of(app)[NAME]
    assert (run.outcome, decision) == ("refused", Decision.REFUSED)
    assert reason.endswith(
        "of the replayed requests were not answered: parcels v1 failed on these rows: ValueError: no"
    )


def test_where_nothing_measures_a_budget_refuses(bench) -> None:
    """The gate fails closed: a declared budget that nobody measured is none that holds."""
    b = bench(LINE + model(latency="5s"))
    candidate = b.predictor(lambda x: 0.9 * x["kilograms"].to_numpy() + 0.6)

    verdict = b.judge(b.contest(candidate)).verdict

    assert verdict.decision is Decision.REFUSED
    assert verdict.reason == f"{NAME}: a budget is declared, and nothing here can measure it"


def test_without_a_budget_nothing_is_measured(bench) -> None:
    """A model that declares none has no such check."""
    b = bench()
    candidate = b.predictor(lambda x: 0.9 * x["kilograms"].to_numpy() + 0.6)

    assert NAME not in [check.name for check in b.judge(b.contest(candidate)).verdict.checks]


RANKED = """
def visits(since, until):
    rows = parcels(since, until)
    rows = rows.with_columns(
        sent_at=pl.col("sent_at").dt.truncate("4h"), late=pl.col("number") % 7 == 0,
        arrived_at=pl.col("sent_at").dt.truncate("4h") + timedelta(minutes=30),
    )
    return rows.filter(pl.col("sent_at").is_between(since, until, closed="left"))


m = Model("parcels", label=Label("late", bool, group="zone", **WAIT), train=train, latency="5s",
          **(terms | dict(source=visits)))


@m.post
def halved(p):
    return p / 2
"""


def test_of_a_ranking_a_request_is_a_group(open_app) -> None:
    """A ranking is asked group by group, as callers ask: its latency is that of one group."""
    app = open_app(LINE.replace("np.mean(y)", "np.mean(y.astype(float))") + RANKED)
    run = app.train("parcels", actor="test")

    (paced,) = app.check_serving("parcels").rehearsal.paced

    assert run.state.value == "succeeded", run.error
    assert checks_of(app)[NAME][0] is Decision.PASS
    assert 2 < paced.rows < 6  # a third of 8 rows, and the others
    assert "post halved" in paced.stages


# ── how it is decided ────────────────────────────────────────────────────────────────────────────────────────────────


def rehearsed(seconds: float = 0.001, *, memory: int = 2**20, **other: object) -> Rehearsal:
    """What a rehearsal found."""
    spread = Spread(mean_s=seconds, p50_s=seconds, p95_s=seconds, p99_s=seconds)
    paced = Paced(rows=1, requests=9, tries=5, whole=spread, stages={"model": spread}, disturbed=spread)
    found = Rehearsal(
        model="parcels", version=1, rows=9, load_s=0.1, bundle=10, loaded=memory, memory=memory, process=memory,
        detour="", paced=(paced,),
    )  # fmt: skip
    return replace(found, **other)  # type: ignore[arg-type]


@pytest.fixture
def budgeted(bench):
    """A model with both budgets."""
    return bench(LINE + model(latency="20ms", memory="1GiB")).model


def decided(model, *found: Rehearsal) -> Decision:
    """What is decided when rehearsals find this, one after another."""
    left = list(found)
    check = check_budgets(model, lambda: left.pop(0))
    assert check is not None
    assert left == []
    return check.decision


def test_a_broken_budget_is_measured_again(budgeted) -> None:
    """One bad measurement rejects nothing: machines are noisy. Two do; a budget that holds is measured once."""
    slow, big, fine = rehearsed(0.03), rehearsed(memory=2**31), rehearsed()

    assert decided(budgeted, fine) is Decision.PASS
    assert decided(budgeted, slow, fine) is Decision.PASS
    assert decided(budgeted, slow, big) is Decision.PASS  # the better figure of each counts
    assert decided(budgeted, slow, slow) is Decision.UNFIT
    assert decided(budgeted, big, big) is Decision.UNFIT


@pytest.mark.parametrize(("share", "fits"), [(1.0, True), (1.09, True), (1.11, False)])
def test_a_budget_has_a_tenth_of_slack(budgeted, share, fits) -> None:
    """Ten per cent more than the budget is still within what machines tell apart."""
    found = rehearsed(0.02 * share, memory=round(2**30 * share))

    assert (decided(budgeted, *([found] if fits else [found, found])) is Decision.PASS) is fits


def test_a_budget_is_said_as_it_is() -> None:
    """Within it, over it by less than a tenth, which still holds, or over it by more."""

    def said(found: float, *, holds: bool = True) -> str:
        return say_budget(Budget(name="latency", limit=0.02, found=found, holds=holds)).partition(" within ")[2]

    assert said(0.0123) == "12.3 ms, within the budget of 20 ms"
    assert said(0.021) == "21 ms, no tenth over the budget of 20 ms"
    assert said(0.0612, holds=False) == "61.2 ms, more than the budget of 20 ms"


def test_requests_that_fail_cannot_be_judged(budgeted) -> None:
    """Quick errors are not quick answers."""
    found = rehearsed(failed=2, failure="parcels v1 failed on these rows: KeyError")

    with pytest.raises(CannotJudge, match="2 of the replayed requests were not answered: parcels v1 failed"):
        check_budgets(budgeted, lambda: found)


def test_errors_of_the_measurement_cannot_be_judged(budgeted) -> None:
    """What cannot be measured is refused; but a worker that lost the run stops, and refuses nothing."""

    def fail() -> Rehearsal:
        raise ServingError("it could not be rehearsed", why="its process died", mend="look")

    def lose() -> Rehearsal:
        raise LostLease("another has it", mend="nothing")

    with pytest.raises(CannotJudge, match="its process died"):
        check_budgets(budgeted, fail)
    with pytest.raises(LostLease):
        check_budgets(budgeted, lose)


def test_what_is_too_slow_is_worse_than_what_is_inconclusive() -> None:
    """The worst check decides: rejected is rejected, whatever the test rows could not tell."""
    from perene.pipelines.validation import _SEVERITY

    order = {decision: place for place, decision in enumerate(_SEVERITY)}

    assert set(order) == set(Decision)
    assert order[Decision.UNFIT] > max(order[d] for d in (Decision.PASS, Decision.INCONCLUSIVE, Decision.REFUSED))
    assert np.argmax(list(order.values())) == order[Decision.WORSE]


def test_budgets_are_spans_and_sizes(budgeted) -> None:
    """They come out of the declaration as what they mean."""
    assert (budgeted.latency, budgeted.memory) == (timedelta(milliseconds=20), 2**30)
