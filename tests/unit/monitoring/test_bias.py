"""Prediction bias."""

from __future__ import annotations

import numpy as np
import pytest

from perene.monitoring.bias import label_means
from perene.monitoring.periods import Period
from perene.monitoring.quality import measure_quality
from perene.statistics.comparisons import compare_rows


def bias_of(bench, day, *, as_of=60, means=None):
    period = Period(since=day(0), until=day(30))
    (found,) = measure_quality(bench.model, bench.predictions, [period], as_of=day(as_of), metrics=(), means=means)
    return found.bias


def test_it_is_the_mean_prediction_less_the_mean_label(bench, day):
    """Bias is mean(prediction) - mean(label) over rows with a label, its interval clustered by day."""
    draw = np.random.default_rng(1)
    at = [day(i // 10, i % 10) for i in range(200)]
    p, y = draw.uniform(size=200), draw.uniform(size=200) < 0.3
    bench.tell(bench.answer(at, p.tolist()), y.tolist())

    found = bias_of(bench, day)

    days = np.array([a.replace(tzinfo=None) for a in at], dtype="datetime64[D]")
    expected = compare_rows(days, p, y.astype(float), alpha=0.025)
    assert [found.observed.value, found.observed.lower, found.observed.upper] == pytest.approx(
        [expected.difference, expected.lower, expected.upper]
    )
    assert (found.mean_prediction, found.mean_label) == (pytest.approx(p.mean()), pytest.approx(y.mean()))


def test_days_that_differ_widen_the_interval(bench, day):
    """Rows of one day rise and fall together, so many rows a day make no narrow interval."""
    at = [day(i // 100, i % 100 / 5) for i in range(1000)]
    good_day = [i // 100 % 2 == 0 for i in range(1000)]
    bench.tell(bench.answer(at, [0.5] * 1000), good_day)

    found = bias_of(bench, day)

    assert found.observed.value == pytest.approx(0)
    assert found.observed.upper - found.observed.lower > 0.5  # an interval over rows has 0.06


def test_rows_that_are_not_mature_are_not_biased_yet(bench, day):
    """Labels that come early (of trips that end well) do not count before the others have had their time."""
    bench.tell(bench.answer([day(0), day(1)], [0.5, 0.5]), [True, True])
    early = bench.answer([day(29, 20), day(29, 21)], [0.5, 0.5])
    bench.tell(early, [False, False], known_at=day(29, 22))

    found = bias_of(bench, day, as_of=30)

    assert found.observed.value == pytest.approx(-0.5)
    assert found.observed.rows == 2


def test_against_training_needs_no_labels(bench, day):
    """Each answer is held against the label mean of the version that gave it; versions without one are left out."""
    first, second = bench.train(day(0), label_mean=0.2), bench.train(day(0), label_mean=0.6)
    unknown = bench.train(day(0))
    for version, p in ((first.version, 0.5), (second.version, 0.5), (unknown.version, 0.9), (77, 0.9)):
        bench.answer([day(1), day(2)], [p, p], version=version)

    found = bias_of(bench, day, means=label_means(bench.models, bench.model.name))

    assert found.observed is None
    assert found.against_training.value == pytest.approx((0.3 - 0.1) / 2)
    assert found.against_training.rows == 4


def test_numbers_have_a_bias_too(bench, day):
    """A regression's bias is in the label's unit."""
    bench.declare(name="trip-minutes", kind=float)
    bench.tell(bench.answer([day(0), day(1)], [10.0, 20.0]), [12.0, 12.0])

    assert bias_of(bench, day).observed.value == pytest.approx(3.0)
