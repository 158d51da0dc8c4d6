"""Built-in metrics of rankings: against scikit-learn, and against every order that equal scores allow."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, ndcg_score

from perene import Label, Model, Row, gate
from perene.definition.metrics import built_in_metric
from perene.definition.rank_metrics import average_precision, ndcg, reciprocal_rank

Group = list[tuple[int, int]]  # label and score of each row
METRICS = (ndcg, average_precision, reciprocal_rank)
GROUPS = st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=7), min_size=1, max_size=4)  # fmt: skip # noqa: E501


def columns(groups: list[Group], seed: int = 0) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Labels, scores and group numbers, the rows in any order."""
    rows = [(label, score, number) for number, group in enumerate(groups) for label, score in group]
    y, p, numbers = np.array(rows, dtype=np.float64)[np.random.default_rng(seed).permutation(len(rows))].T
    return y, p, numbers.astype(np.int64)


def arrays(group: Group) -> tuple[NDArray[Any], NDArray[Any]]:
    y, p = np.array(group, dtype=np.float64).T
    return y, p


@settings(deadline=None)
@given(GROUPS, st.sampled_from([None, 1, 3]), st.integers(0, 99))
def test_ndcg_is_that_of_scikit_learn(groups: list[Group], k: int | None, seed: int) -> None:
    """Group by group, ties averaged; a group without a relevant row scores 0, one row alone 1."""
    found = ndcg(*columns(groups, seed), k=k)

    for group, value in zip(groups, found, strict=True):
        y, p = arrays(group)
        wanted = ndcg_score([y], [p], k=k) if len(group) > 1 else float(y[0] > 0)
        assert value == pytest.approx(wanted, abs=1e-12)


@settings(deadline=None)
@given(GROUPS, st.integers(0, 99))
def test_average_precision_is_that_of_scikit_learn(groups: list[Group], seed: int) -> None:
    """Group by group; relevant is a label above 0."""
    found = average_precision(*columns(groups, seed))

    for group, value in zip(groups, found, strict=True):
        y, p = arrays(group)
        wanted = average_precision_score(y > 0, p) if y.any() else 0.0
        assert value == pytest.approx(wanted, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2)), min_size=1, max_size=5), max_size=3))
def test_reciprocal_rank_is_the_mean_over_all_orders_of_equal_scores(groups: list[Group]) -> None:
    """By trying every one of them."""
    if not groups:
        return
    found = reciprocal_rank(*columns(groups))

    for group, value in zip(groups, found, strict=True):
        y, p = arrays(group)
        orders = [sorted(order, key=lambda place: -p[place]) for order in permutations(range(len(y)))]
        firsts = [next((1 / rank for rank, place in enumerate(order, start=1) if y[place]), 0.0) for order in orders]
        assert value == pytest.approx(np.mean(firsts), abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_a_perfect_order_scores_one(metric) -> None:
    """Whatever the scale of the scores."""
    y, groups = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0, 0, 1, 1])

    assert metric(y, 1000 * y - 5, groups).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_group_with_a_score_that_is_no_number_has_no_value(metric, bad) -> None:
    """So that no candidate wins by it; the others have theirs."""
    y, groups = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0, 0, 1, 1])

    found = metric(y, np.array([bad, 1.0, 0.0, 1.0]), groups)

    assert np.isnan(found[0])
    assert found[1] == 1.0


@pytest.mark.parametrize("metric", METRICS)
def test_a_label_below_zero_has_no_value(metric) -> None:
    """It is no relevance."""
    assert np.isnan(metric(np.array([-1.0, 1.0]), np.array([1.0, 2.0]), np.array([0, 0]))).all()


@pytest.mark.parametrize("metric", METRICS)
def test_of_no_rows_there_is_no_group(metric) -> None:
    """And no error."""
    assert metric(np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64)).tolist() == []


def test_of_the_first_k_any_k_can_be_named() -> None:
    """As ndcg@3, of a ranking only."""
    ranked = Label("watched", bool, group="visit")

    metric = built_in_metric(ranked, "ndcg@1")

    assert metric is not None
    assert (metric.name, metric.better, metric.per) == ("ndcg@1", "higher", "group")
    found = metric(y=np.array([True, False]), p=np.array([1.0, 2.0]), groups=np.array([0, 0]))
    assert found.tolist() == [0.0]
    assert built_in_metric(ranked, "ndcg@0") is None
    assert built_in_metric(Label("watched", bool), "ndcg@3") is None


class Shown(Row):
    """A video."""

    visit: str


def said(metric: Any, label: Label, **more: Any) -> list[str]:
    model = Model(
        "m", row=Shown, key="visit", at="visit", label=label, train_on="20d", test_on="10d",
        features=lambda rows: rows, train=lambda x, y: None, metric=metric, **more,
    )  # fmt: skip
    return [mistake.what for mistake in model.mistakes if "instant" not in mistake.what]


def test_a_metric_per_group_needs_groups() -> None:
    """And is not one of all rows too; an unknown per is named."""

    def first(y: Any, p: Any) -> float:
        return 0.0

    ranked, single = Label("watched", bool, group="visit"), Label("watched", bool)

    assert said([(first, {"per": "group"})], ranked) == []
    assert said([(first, {"per": "group"})], single) == ["metric first is per group, but the model ranks nothing"]
    assert "it is one of them" in said([(first, {"per": "group", "whole": True})], ranked)[0]
    assert "per='day' is not one of row, group" in said([(first, {"per": "day"})], ranked)[0]


def test_a_gate_may_name_the_ranks_that_count() -> None:
    """A metric that there is not is a mistake, with those that there are."""
    ranked = Label("watched", bool, group="visit")

    assert said((), ranked, gate=gate(metric="ndcg@3")) == []
    assert "is not a metric of this model" in said((), ranked, gate=gate(metric="ndcg@"))[0]
