"""Intervals over days: each formula against one written by hand, and what no formula may do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from perene.statistics.comparisons import Comparison, compare_rows, compare_whole
from perene.statistics.intervals import day_sums, half_width, jackknife, sums_by

START = np.datetime64("2026-03-01")


def uneven(*, days: int = 12, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Days of 1 to 40 rows, each with a level of its own: day and value of each row, rows shuffled."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 41, days)
    index = np.repeat(np.arange(days), counts)
    values = rng.normal(0, 1, days)[index] + rng.normal(0, 2, len(index))
    order = rng.permutation(len(index))
    return START + index[order], values[order]


def mean_interval(day: np.ndarray, values: np.ndarray) -> Comparison:
    """The interval of a mean: of its difference to nothing."""
    return compare_rows(day, values, np.zeros_like(values))


def day_error_by_hand(day: np.ndarray, values: np.ndarray) -> float:
    """The standard error with days as clusters: sqrt(G/(G - 1)·Σ r²) / N with r = S - θ·n."""
    theta = sum(values) / len(values)
    groups = sorted(set(day.tolist()))
    residuals = [sum(v - theta for d, v in zip(day.tolist(), values, strict=True) if d == g) for g in groups]
    return math.sqrt(len(groups) / (len(groups) - 1) * sum(r * r for r in residuals)) / len(values)


def cosine_error_by_hand(day: np.ndarray, values: np.ndarray) -> tuple[float, int]:
    """The standard error of equal-weighted cosines and its degrees of freedom, with loops."""
    theta = sum(values) / len(values)
    groups = sorted(set(day.tolist()))
    days, per_day = len(groups), len(values) / len(groups)
    residuals = [sum(v - theta for d, v in zip(day.tolist(), values, strict=True) if d == g) / per_day for g in groups]
    count = max(4, math.floor(0.4 * days ** (2 / 3)))
    squares = []
    for k in range(1, count + 1):
        terms = (r * math.cos(math.pi * k * (j - 0.5) / days) for j, r in enumerate(residuals, start=1))
        squares.append((math.sqrt(2 / days) * sum(terms)) ** 2)
    return math.sqrt(sum(squares) / count / days), count


@pytest.mark.parametrize("days", [7, 14, 60])
def test_half_width_is_the_larger_of_two(days):
    """The half-width is the larger of t·SE over days and t·SE over cosines, each as written by hand."""
    day, values = uneven(days=days)
    by_day, (by_cosines, freedom) = day_error_by_hand(day, values), cosine_error_by_hand(day, values)
    by_hand = max(stats.t.ppf(0.95, days - 1) * by_day, stats.t.ppf(0.95, freedom) * by_cosines)

    interval = mean_interval(day, values)

    assert interval.upper - interval.difference == pytest.approx(by_hand, rel=1e-12)
    assert interval.difference - interval.lower == pytest.approx(by_hand, rel=1e-12)


def test_both_standard_errors_are_kept():
    """The half-width keeps the two standard errors that it was chosen from."""
    day, values = uneven()
    sums = day_sums(day, values)
    deviations = (sums.sums[0] - values.mean() * sums.rows) / sums.rows.mean()

    width = half_width(deviations)

    assert width.se_day == pytest.approx(day_error_by_hand(day, values), rel=1e-12)
    assert width.se_ewc == pytest.approx(cosine_error_by_hand(day, values)[0], rel=1e-12)


@pytest.mark.parametrize(("slow", "winner"), [(True, "se_ewc"), (False, "se_day")])
def test_days_that_resemble_one_another_widen(slow, winner):
    """The cosines see a slow drift that the day jackknife takes for noise; of days that alternate, it decides."""
    drift = np.linspace(-1, 1, 28)
    deviations = drift if slow else np.where(np.arange(28) % 2, 1.0, -1.0)

    width = half_width(deviations)

    assert max(("se_day", "se_ewc"), key=lambda name: float(getattr(width, name))) == winner


def test_few_cosines_are_never_below_four():
    """With few days there are four cosines, and never as many as days."""
    counts = {days: cosine_freedom(days) for days in (2, 3, 4, 5, 7, 28, 56, 365)}

    assert counts == {2: 1, 3: 2, 4: 3, 5: 4, 7: 4, 28: 4, 56: 5, 365: 20}


def cosine_freedom(days: int) -> int:
    """How many cosines there are, read off the quantile: of deviations that are the first cosine, they decide."""
    width = half_width(np.cos(np.pi * (np.arange(1, days + 1) - 0.5) / days))
    ratio = float(width.value / width.se_ewc)
    return min(range(1, days), key=lambda freedom: abs(stats.t.ppf(0.95, freedom) - ratio))


def test_mean_is_over_rows_and_not_over_days():
    """A day with more rows weighs more: the mean of day means is another number."""
    day = START + np.array([0] * 9 + [1])
    values = np.array([0.0] * 9 + [1.0])

    interval = mean_interval(day, values)

    assert interval.difference == pytest.approx(0.1)
    assert (interval.days, interval.rows) == (2, 10)


def test_row_order_is_of_no_account():
    """The same rows in another order give the same interval."""
    day, values = uneven()
    back = mean_interval(day[::-1], values[::-1])

    interval = mean_interval(day, values)

    assert (back.difference, back.lower, back.upper) == pytest.approx(
        (interval.difference, interval.lower, interval.upper)
    )


def test_instants_are_cut_to_their_day():
    """Two instants of one UTC day are one cluster; a second before midnight and midnight are two."""
    instants = np.array(["2026-03-01T00:00:00", "2026-03-01T23:59:59", "2026-03-02T00:00:00"], dtype="datetime64[us]")

    sums = day_sums(instants, np.array([1.0, 2.0, 4.0]))

    assert sums.groups.tolist() == np.array(["2026-03-01", "2026-03-02"], dtype="datetime64[D]").tolist()
    assert (sums.rows.tolist(), sums.sums[0].tolist()) == ([2, 1], [3, 4])


def test_groups_come_in_order():
    """Groups are ascending whatever the order of the rows, with rows and every value summed."""
    sums = sums_by(np.array(["b", "a", "b"]), np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 30.0]))

    assert sums.groups.tolist() == ["a", "b"]
    assert [sums.rows.tolist(), *(part.tolist() for part in sums.sums)] == [[1, 2], [2, 4], [20, 40]]


def test_jackknife_is_brute_force_without_each_day():
    """A metric's interval is that of its pseudo-values G·θ - (G - 1)·θ without day j, each computed apart."""
    day, values = uneven()
    groups = np.unique(day)
    theta = np.median(values)
    without = np.array([np.median(values[day != group]) for group in groups])
    pseudo = len(groups) * theta - (len(groups) - 1) * without
    error = math.sqrt((len(groups) - 1) / len(groups) * sum((without - without.mean()) ** 2))

    estimate, deviations = jackknife(day, lambda rows: float(np.median(values[rows])))

    assert estimate == theta
    assert deviations == pytest.approx(pseudo - pseudo.mean())
    assert half_width(deviations).se_day == pytest.approx(error, rel=1e-12)


def test_mean_through_the_jackknife_is_the_mean():
    """With days of equal size the jackknife of a mean is the mean's own interval."""
    day, values = np.repeat(START + np.arange(10), 7), np.random.default_rng(2).normal(size=70)

    whole = compare_whole(day, lambda rows: float(values[rows].mean()), lambda rows: 0.0)

    own = mean_interval(day, values)
    assert (whole.difference, whole.lower, whole.upper) == pytest.approx(
        (own.difference, own.lower, own.upper), rel=1e-12
    )
    assert (whole.days, whole.rows) == (10, 70)


@given(seed=st.integers(0, 2**32 - 1), days=st.integers(2, 40))
def test_many_histories_at_once_are_each_alone(seed, days):
    """Leading axes are histories: computed together they are what each gives alone."""
    many = np.random.default_rng(seed).standard_t(3, (2, 3, days))
    alone = [[float(half_width(history).value) for history in row] for row in many]

    together = half_width(many)

    assert together.value.shape == together.se_day.shape == together.se_ewc.shape == (2, 3)
    assert together.value == pytest.approx(np.array(alone), rel=1e-12)


@given(scale=st.floats(1e-6, 1e6), shift=st.floats(-1e3, 1e3))
def test_interval_follows_the_unit(scale, shift):
    """Another unit scales the half-width, another zero leaves it."""
    day, values = uneven()
    plain = mean_interval(day, values)

    moved = mean_interval(day, scale * values + shift)

    assert moved.upper - moved.lower == pytest.approx(scale * (plain.upper - plain.lower), rel=1e-6, abs=1e-9)
    assert moved.difference == pytest.approx(scale * plain.difference + shift, rel=1e-6, abs=1e-9)


def test_one_day_bounds_nothing():
    """A single day has an estimate and infinite bounds."""
    day, values = np.repeat(START, 3), np.array([1.0, 2.0, 3.0])
    by_mean = mean_interval(day, values)
    by_jackknife = compare_whole(day, lambda rows: float(values[rows].mean()), lambda rows: 0.0)

    assert (by_mean.difference, by_mean.lower, by_mean.upper) == (2, -math.inf, math.inf)
    assert (by_jackknife.difference, by_jackknife.lower, by_jackknife.upper) == (2, -math.inf, math.inf)


def test_two_days_bound_something():
    """Two days have finite bounds, with one degree of freedom."""
    interval = mean_interval(START + np.arange(2), np.array([0.0, 1.0]))

    assert interval.upper - interval.difference >= stats.t.ppf(0.95, 1) * 0.5
    assert math.isfinite(interval.upper)


def test_no_rows_have_no_mean():
    """No rows give no number, infinite doubt and no crash."""
    interval = mean_interval(np.array([], dtype="datetime64[D]"), np.array([]))

    assert math.isnan(interval.difference)
    assert (interval.days, interval.rows) == (0, 0)


def test_equal_days_leave_no_doubt():
    """Days that are all equal have an interval of no width."""
    interval = mean_interval(np.repeat(START + np.arange(8), 4), np.full(32, 0.25))

    assert (interval.difference, interval.lower, interval.upper) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_stays_none(bad):
    """One row that is no number leaves no finite bound, so that nobody can mistake the interval for a fact."""
    day, values = uneven()
    values[3] = bad

    interval = mean_interval(day, values)

    assert not math.isfinite(interval.difference)
    assert not (math.isfinite(interval.lower) or math.isfinite(interval.upper))
