"""The quality of rankings: groups are what is counted, whenever and in whichever parts they are read."""

from __future__ import annotations

import numpy as np
import pytest

from perene.definition.label import Label
from perene.definition.rank_metrics import ndcg, reciprocal_rank
from perene.monitoring import answers
from perene.monitoring.periods import Period
from perene.monitoring.quality import measure_quality
from perene.statistics.comparisons import compare_rows


def share_found(y, p, groups):
    """The share of groups whose best is true: of all groups together."""
    best = [np.flatnonzero(groups == g)[np.argmax(p[groups == g])] for g in np.unique(groups)]
    return float(np.mean(y[best]))


@pytest.fixture
def ranked(bench):
    """A bench whose model ranks, with a metric of all groups together."""
    bench.declare(
        label=Label("late", bool, group="rider", known_at="ended", wait="24h"),
        metric=[(share_found, {"better": "higher", "whole": True})], examples="log",
    )  # fmt: skip
    return bench


def month_of(bench, day, *, a_day=3, days=28, size=5):
    """Groups of five answers, three a day; of every fifth answer nothing is said."""
    draw = np.random.default_rng(0)
    count = a_day * days * size
    groups = np.repeat(np.arange(a_day * days), size)
    at = [day(g // a_day, 1 + g % a_day) for g in groups.tolist()]
    p, y = draw.uniform(size=count), draw.uniform(size=count) < 0.4
    ids = bench.answer(at, p.tolist(), miles=(1 - p).tolist(), groups=[f"g{g}" for g in groups])
    said = np.arange(count) % size != 0
    bench.tell([i for i, is_said in zip(ids, said, strict=True) if is_said], y[said].tolist())
    return np.array([a.replace(tzinfo=None) for a in at], dtype="datetime64[us]")[said], y[said], p[said], groups[said]


def test_metrics_are_those_of_all_groups_with_their_interval(ranked, day) -> None:
    """A group is what was answered together; of it count the rows of which the truth is known."""
    at, y, p, groups = month_of(ranked, day)

    (found,) = measure_quality(ranked.model, ranked.predictions, [Period(since=day(0), until=day(28))], as_of=day(60))

    for name, metric in (("ndcg", ndcg), ("reciprocal_rank", reciprocal_rank)):
        values = metric(y, p, groups)
        expected = compare_rows(at[::4], values, np.zeros(len(values)), alpha=0.025)
        live = found.metric(name).live
        assert [live.value, live.lower, live.upper] == pytest.approx(
            [float(number) for number in (expected.difference, expected.lower, expected.upper)]
        )
        assert (live.rows, live.days) == (84, 28)
    assert found.metric("share_found").live.value == pytest.approx(share_found(y, p, groups))
    assert (found.answered, found.labelled, found.bias) == (420, 336, None)


def test_reading_in_small_parts_changes_nothing(ranked, day, monkeypatch) -> None:
    """Periods that overlap give the same whether many days are read at once or one; another version is scored too."""
    month_of(ranked, day)
    weeks = [Period(since=day(7 * n), until=day(7 * n + 7)) for n in range(4)]
    periods = [*weeks, Period(since=day(3, 2), until=day(19, 3))]
    other = ranked.predictor(lambda x: x["miles"].to_numpy())

    at_once = measure_quality(ranked.model, ranked.predictions, periods, as_of=day(60), rescore=other)
    monkeypatch.setattr(answers, "AT_ONCE", 1)
    in_parts = measure_quality(ranked.model, ranked.predictions, periods, as_of=day(60), rescore=other)

    for once, parts in zip(at_once, in_parts, strict=True):
        for metric in once.metrics:
            again = parts.metric(metric.name)
            for one in ("live", "rescored", "difference"):
                mine, theirs = getattr(metric, one), getattr(again, one)
                assert [mine.value, mine.lower, mine.upper, mine.rows] == pytest.approx(
                    [theirs.value, theirs.lower, theirs.upper, theirs.rows]
                )
    assert sum(quality.metric("ndcg").live.rows for quality in at_once[:-1]) == 84
    assert at_once[-1].metric("ndcg").live.rows == 2 + 15 * 3 + 2
