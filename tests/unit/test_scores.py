"""Scores of all rows, and the constant that a model must beat."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import roc_auc_score

from perene.definition.label import Task
from perene.statistics.scores import Constant, auc, constant_predictor


@given(
    y=arrays.arrays(np.bool_, 60),
    p=arrays.arrays(np.float64, 60, elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]) | st.floats(0, 1)),
)
def test_auc_is_sklearns(y, p):
    """The AUC is scikit-learn's, ties among predictions included; its sums of half ranks have no rounding."""
    y[0], y[1] = True, False

    assert auc(y, p) == pytest.approx(roc_auc_score(y, p), abs=1e-12)


def test_auc_counts_pairs():
    """The AUC is the share of pairs that are ranked rightly, ties counting half."""
    y = np.array([1, 0, 1, 0, 0])
    p = np.array([0.9, 0.9, 0.4, 0.1, 0.6])
    pairs = [(p[i] > p[j]) + 0.5 * (p[i] == p[j]) for i in np.flatnonzero(y) for j in np.flatnonzero(1 - y)]

    assert auc(y, p) == sum(pairs) / len(pairs)


@pytest.mark.parametrize(
    ("y", "p"),
    [([], []), ([True, True], [0.1, 0.2]), ([False, False], [0.1, 0.2]), ([True, False], [0.1, math.nan])],
    ids=["no rows", "only true", "only false", "NaN"],
)
def test_auc_is_not_a_number_where_it_has_no_meaning(y, p):
    """Without two classes, or with a prediction that is no number, there is no AUC: never a 0.5 that passes for one."""
    assert math.isnan(auc(np.array(y, dtype=bool), np.array(p)))


def test_constant_of_a_binary_label_is_the_share_of_true():
    """A binary label's constant is its share of true, whatever the metric."""
    constant = constant_predictor(np.array([True, False, False, True, True]), Task.BINARY, score=lambda _: 0.0)

    assert (constant.name, float(constant.value)) == ("mean", 0.6)


def test_constant_of_classes_is_their_frequencies():
    """A multiclass label's constant has the classes' frequencies in their declared order, absent ones too."""
    y = np.array(["low", "high", "low", "low"])

    constant = constant_predictor(y, Task.MULTICLASS, score=lambda _: 0.0, classes=("low", "high", "none"))

    assert (constant.name, constant.value.tolist()) == ("frequencies", [0.75, 0.25, 0.0])


@pytest.mark.parametrize(("power", "best", "value"), [(1, "median", 2.0), (2, "mean", 22.0)])
def test_constant_of_a_number_is_what_the_metric_likes(power, best, value):
    """A number's constant is the mean or the median, whichever the gate's metric prefers on the training rows."""
    y = np.array([1.0, 2.0, 2.0, 5.0, 100.0])

    constant = constant_predictor(
        y, Task.REGRESSION, score=lambda it: float((np.abs(y - it.predict(len(y))) ** power).mean())
    )

    assert (constant.name, float(constant.value)) == (best, value)


def test_relevance_has_a_mean():
    """A label that is ranked by gets its mean."""
    assert constant_predictor(np.array([0.0, 0.0, 6.0]), Task.RANKING, score=lambda it: float(it.value)).value == 2


@pytest.mark.parametrize(("value", "shape"), [(np.array(0.5), (3,)), (np.array([0.2, 0.8]), (3, 2))])
def test_constant_predicts_every_row(value, shape):
    """A constant's predictions have the shape that a model's would have, and may be written to."""
    predictions = Constant(name="any", value=value).predict(3)
    predictions[0] = 0

    assert predictions.shape == shape
    assert predictions[1].tolist() == value.tolist()
