"""How a shadow compares with what was answered, and which readers see it."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from perene.monitoring.rivals import judge_shadow, rivals_of
from perene.records.roles import shadow_id
from perene.storage.envelope import INSTANT


@pytest.fixture
def answered(bench, day) -> list[str]:
    """Ten days of answers by v1 that are 2 off, about one rider; v2 as a shadow beside them is right."""
    bench.declare("trip-minutes", float)
    bench.release(bench.train(day(-2)), day(0))
    bench.train(day(-1))
    bench.models.set_shadow(bench.model.name, 2, actor="ana", why="", at=day(1))
    rng, ids = np.random.default_rng(4), []
    for n in range(1, 11):
        at = [day(n, hours) for hours in range(20)]
        truth = rng.normal(10, 3, 20)
        mine = bench.answer(at, (truth + 2 + rng.normal(0, 0.1, 20)).tolist())
        shadows = [shadow_id(2, id) for id in mine]
        bench.answer(at, (truth + rng.normal(0, 0.1, 20)).tolist(), role="shadow", version=2, ids=shadows)
        bench.tell(mine, truth.tolist())
        ids += mine
    return ids


def test_a_shadow_gets_the_truth_of_the_answer_beside_it(bench, day, answered) -> None:
    """Ground truth names the answer; the shadow is compared with it row by row, and found better."""
    verdict = judge_shadow(bench.model, bench.predictions, 2, since=day(1), now=day(20))

    assert (verdict.decision, verdict.rows, verdict.days) == ("pass", 200, 10)
    assert verdict.upper is not None and verdict.upper < 0
    assert verdict.candidate_score < verdict.champion_score


def test_truth_by_key_reaches_shadows_too(bench, day) -> None:
    """What is said of a thing and a time is said of every prediction of it."""
    bench.declare("trip-minutes", float)
    (mine,) = bench.answer([day(1)], [12.0])
    bench.answer([day(1)], [10.0], role="shadow", version=2, ids=[shadow_id(2, mine)])
    at = pl.Series([day(1)], dtype=INSTANT)
    told = pl.DataFrame({"key": ['["r"]'], "event_at": at, "label": [10.0], "known_at": at, "day": at.dt.date()})
    bench.truths.append(bench.model, told.with_columns(retracted=pl.lit(value=False), source=pl.lit("t")), "t")

    lines = bench.predictions.with_truth(bench.model, None, None, day(9), shadow=2).collect()

    assert lines.select("raw", "label").rows() == [(10.0, 10.0)]


def test_readers_of_the_log_see_answers_only(bench, day, answered) -> None:
    """A shadow's lines are no answers, whether with truth or without; they are read by its version alone."""
    log, model = bench.predictions, bench.model
    seen = [log.scan(model).collect(), log.with_truth(model, None, None, day(20)).collect()]

    assert [set(lines["prediction_id"]) for lines in seen] == [set(answered)] * 2
    assert log.scan(model, shadow=2).collect().height == len(answered)
    assert log.scan(model, shadow=3).collect().is_empty()


def test_the_status_of_a_shadow_says_what_was_counted_and_how_it_compares(bench, day, answered) -> None:
    """Its role, since when, what it was asked, what it could not keep up with, and the gate's word."""
    bench.count(2, "shadow", requests=9.0, dropped=4.0)
    (rival,) = rivals_of(bench.model, bench.models.get(bench.model.name), bench, now=day(20))

    assert (rival.role, rival.version, rival.against, rival.since) == ("shadow", 2, 1, day(1))
    assert (rival.counts.requests, rival.counts.dropped) == (9, 4)
    assert rival.verdict is not None and rival.verdict.decision == "pass"


def test_without_labels_nothing_is_said(bench, day) -> None:
    """No truth, or a wait that is not over, is no verdict; nor does it fail."""
    bench.declare("trip-minutes", float, wait="10d")
    (mine,) = bench.answer([day(1)], [12.0])
    bench.answer([day(1)], [10.0], role="shadow", version=2, ids=[shadow_id(2, mine)])
    bench.tell([mine], [11.0])
    early, late = (
        judge_shadow(bench.model, bench.predictions, 2, since=day(0), now=day(1) + timedelta(days=days))
        for days in (9, 11)
    )

    assert (early.decision, early.reason) == ("refused", "no answer has its ground truth yet")
    assert late.rows == 1
    assert "1 day of rows" in late.reason
