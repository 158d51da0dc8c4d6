"""The built-in metrics: one value per row, checked against their definitions."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss

from perene import Label
from perene.definition.metrics import absolute_error, built_in, log_loss, squared_error

CLASSES = ("lost", "late", "came")
quick = settings(deadline=None)
probabilities = st.floats(1e-9, 1 - 1e-9)


@given(st.lists(st.tuples(st.booleans(), probabilities), min_size=1, max_size=20))
@quick
def test_log_loss_is_minus_the_logarithm_of_what_happened(pairs) -> None:
    """Of each row; its mean is scikit-learn's."""
    y, p = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])

    losses = log_loss(y, p)

    assert losses.tolist() == pytest.approx([-math.log(b if a else 1 - b) for a, b in pairs], rel=1e-12)
    assert losses.mean() == pytest.approx(sklearn_log_loss(y, p, labels=[False, True]), rel=1e-9)


@given(st.lists(st.tuples(st.sampled_from(CLASSES), st.tuples(*[st.integers(1, 9)] * 3)), min_size=1, max_size=20))
@quick
def test_log_loss_of_classes_is_that_of_the_class_that_came(pairs) -> None:
    """Columns are in the label's order; its mean is scikit-learn's."""
    y = np.array([name for name, _ in pairs], dtype=object)
    p = np.array([np.array(weights) / sum(weights) for _, weights in pairs])

    losses = log_loss(y, p, classes=CLASSES)

    assert losses.tolist() == pytest.approx(
        [-math.log(p[n, CLASSES.index(name)]) for n, (name, _) in enumerate(pairs)], rel=1e-12
    )
    in_order = np.argsort(CLASSES)
    assert losses.mean() == pytest.approx(sklearn_log_loss(y, p[:, in_order], labels=sorted(CLASSES)), rel=1e-9)


def test_two_classes_lose_as_true_and_false_do() -> None:
    """Whether the task is called binary or not."""
    p = np.array([0.2, 0.7, 0.7])

    as_flags = log_loss(np.array([True, True, False]), p)
    as_names = log_loss(np.array(["a", "a", "b"]), np.column_stack([p, 1 - p]), classes=("a", "b"))

    assert as_flags.tolist() == pytest.approx(as_names.tolist())


def test_a_certainty_that_was_wrong_costs_much_but_not_infinitely() -> None:
    """A probability of zero that came true costs as one of 1e-15; a right certainty costs nothing."""
    wrong, right = log_loss(np.array([True, False]), np.array([0.0, 0.0]))

    assert wrong == pytest.approx(-math.log(1e-15))
    assert right == 0.0
    assert log_loss(np.array(["a"]), np.array([[0.0, 1.0]]), classes=("a", "b"))[0] == pytest.approx(wrong)


def test_what_cannot_be_scored_is_nan() -> None:
    """A prediction that is NaN, or a label that is none of the classes: the gate refuses, it does not guess."""
    assert math.isnan(log_loss(np.array([True]), np.array([math.nan]))[0])
    found = log_loss(np.array(["lost", "stolen", "late"], dtype=object), np.full((3, 3), 1 / 3), classes=CLASSES)
    assert np.isnan(found).tolist() == [False, True, False]
    assert np.isnan(squared_error(np.array([1.0, math.nan]), np.array([math.nan, 1.0]))).all()


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), max_size=20))
@quick
def test_errors_are_of_each_row(pairs) -> None:
    """The difference's square and its size."""
    y, p = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])

    assert squared_error(y, p).tolist() == pytest.approx([(b - a) ** 2 for a, b in pairs], rel=1e-12)
    assert absolute_error(y, p).tolist() == [abs(b - a) for a, b in pairs]


def test_the_squared_error_of_a_probability_is_brier_score() -> None:
    """True counts as one."""
    assert squared_error(np.array([True, False]), np.array([0.75, 0.5])).tolist() == [0.0625, 0.25]


@pytest.mark.parametrize(
    ("label", "names"),
    [
        (Label("hours", float), ["squared_error", "absolute_error"]),
        (Label("late", bool), ["log_loss", "squared_error"]),
        (Label("fate", Literal["lost", "came"]), ["log_loss"]),
        (Label("grade", float, group="visit"), ["ndcg", "average_precision", "reciprocal_rank"]),
    ],
)
def test_each_task_has_its_metrics(label, names) -> None:
    """The first is the default."""
    assert list(built_in(label)) == names


def test_the_metric_of_classes_knows_their_order() -> None:
    """built_in gives it with the label's classes."""
    metric = built_in(Label("fate", Literal["lost", "late", "came"]))["log_loss"]

    assert metric(y=np.array(["late"]), p=np.array([[0.0, 1.0, 0.0]])).tolist() == [0.0]


@pytest.mark.parametrize("metric", [log_loss, squared_error, absolute_error])
def test_no_rows_give_no_values(metric) -> None:
    """An empty array, not an error and not zero."""
    assert metric(np.array([]), np.array([])).tolist() == []
