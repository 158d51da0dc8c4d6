"""Candidate against champion: differences, their bounds and their direction."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from perene.statistics.comparisons import compare, compare_rows, compare_whole, p_worse
from perene.statistics.scores import auc

START = np.datetime64("2026-03-01")


def losses(*, days: int = 14, seed: int = 3, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Day, candidate's loss and champion's loss of each row; days of unequal size share a difference of their own."""
    rng = np.random.default_rng(seed)
    index = np.repeat(np.arange(days), rng.integers(5, 60, days))
    champion = rng.exponential(0.5, len(index))
    candidate = champion + shift + rng.normal(0, 0.05, days)[index] + rng.normal(0, 0.2, len(index))
    return START + index, candidate, champion


def test_difference_is_the_interval_of_paired_rows():
    """The comparison of two models is the one-sided interval of their difference row by row."""
    day, candidate, champion = losses()
    paired = compare_rows(day, candidate - champion, np.zeros_like(champion))

    found = compare_rows(day, candidate, champion)

    assert (found.difference, found.lower, found.upper) == pytest.approx(
        (paired.difference, paired.lower, paired.upper)
    )
    assert (found.candidate_score, found.champion_score) == pytest.approx((candidate.mean(), champion.mean()))
    assert (found.rows, found.days) == (len(day), 14)


def test_pairing_takes_out_what_both_share():
    """What a day does to both models alike is no doubt about their difference."""
    day, candidate, champion = losses()
    weather = 10.0 * ((day - START).astype(int) % 5)

    found = compare_rows(day, candidate + weather, champion + weather)

    assert found.half_width == pytest.approx(compare_rows(day, candidate, champion).half_width, rel=1e-6)


def test_direction_is_turned_so_that_lower_is_better():
    """Of a metric whose higher values are better, a candidate with more of it has a negative difference."""
    day, candidate, champion = losses(shift=0.3)

    key = np.arange(len(day)) % 3

    lower, higher = (compare_rows(day, candidate, champion, key=key, better=better) for better in ("lower", "higher"))

    assert (higher.difference, higher.lower, higher.upper) == (-lower.difference, -lower.upper, -lower.lower)
    assert lower.lower > 0 > higher.upper
    assert higher.se_key == lower.se_key
    assert (higher.candidate_score, higher.better) == (lower.candidate_score, "higher")


def test_alpha_is_each_bounds_own():
    """A bound is the t quantile of one tail: at 1 % it is wider by the quantiles' ratio, where days decide."""
    gap = np.where(np.arange(12) % 2, 1.0, -1.0)
    rows, champion = np.full(12, 10.0), np.full(12, 5.0)

    ratio = (
        compare(rows, champion + gap, champion, alpha=0.01).half_width
        / compare(rows, champion + gap, champion, alpha=0.05).half_width
    )

    assert ratio == pytest.approx(stats.t.ppf(0.99, 11) / stats.t.ppf(0.95, 11))


def test_many_histories_at_once_are_each_alone():
    """The core on leading axes gives what it gives for each history alone, keys included."""
    rng = np.random.default_rng(5)
    shape = (4, 2, 9)
    rows = rng.integers(1, 50, shape).astype(float)
    candidate, champion = rng.normal(10, 3, shape), rng.normal(10, 3, shape)
    keys = (rows[..., :5] + rows[..., 4:], candidate[..., :5], champion[..., :5])

    together = compare(rows, candidate, champion, by_key=keys)

    assert together.se_key is not None
    for at in np.ndindex(4, 2):
        alone = compare(rows[at], candidate[at], champion[at], by_key=tuple(part[at] for part in keys))
        for name in ("difference", "lower", "upper", "half_width", "se_day", "se_ewc", "se_key", "champion_score"):
            assert float(getattr(together, name)[at]) == pytest.approx(float(getattr(alone, name)), rel=1e-12)


def test_keys_that_repeat_widen():
    """Where a few things make the whole difference, the interval over things is the larger one and is taken."""
    rng = np.random.default_rng(6)
    key = np.tile(np.arange(4), 30)
    day = START + np.repeat(np.arange(30), 4)
    candidate, champion = np.array([0.0, 0.5, 1.0, 1.5])[key] + rng.normal(0, 0.01, 120), np.zeros(120)
    level = candidate.mean()
    sums = [float((candidate[key == k] - level).sum()) for k in range(4)]
    by_hand = math.sqrt(4 / 3 * sum(s * s for s in sums)) / 120

    found = compare_rows(day, candidate, champion, key=key)

    assert found.se_key == pytest.approx(by_hand, rel=1e-12)
    assert found.half_width == pytest.approx(stats.t.ppf(0.95, 3) * by_hand, rel=1e-12)
    assert found.half_width > compare_rows(day, candidate, champion).half_width


@pytest.mark.parametrize("seed", range(5))
def test_keys_never_narrow(seed):
    """Keys can only widen the interval, and never move the difference."""
    day, candidate, champion = losses(seed=seed)
    key = np.random.default_rng(seed).integers(0, 40, len(day))
    without = compare_rows(day, candidate, champion)

    found = compare_rows(day, candidate, champion, key=key)

    assert found.half_width >= without.half_width
    assert found.difference == without.difference


@pytest.mark.parametrize("key", ["each its own", "all the same"])
def test_keys_that_cluster_nothing_change_nothing(key):
    """Keys that never repeat, or a single one, are no clusters."""
    day, candidate, champion = losses()
    keys = np.arange(len(day)) if key == "each its own" else np.zeros(len(day))

    found = compare_rows(day, candidate, champion, key=keys)

    assert found.se_key is None
    assert found.half_width == compare_rows(day, candidate, champion).half_width


def test_whole_metrics_go_through_the_jackknife():
    """An AUC's difference and error are those of leaving out each day by brute force, with scikit-learn's AUC."""
    rng = np.random.default_rng(7)
    day = START + np.repeat(np.arange(10), rng.integers(30, 60, 10))
    y = rng.random(len(day)) < 0.3
    candidate, champion = (y * skill + rng.normal(size=len(day)) for skill in (1.0, 0.7))

    def gap(rows: np.ndarray) -> float:
        return float(roc_auc_score(y[rows], champion[rows]) - roc_auc_score(y[rows], candidate[rows]))

    without = np.array([gap(day != one) for one in np.unique(day)])

    found = compare_whole(
        day, lambda rows: auc(y[rows], candidate[rows]), lambda rows: auc(y[rows], champion[rows]), better="higher"
    )

    assert found.difference == pytest.approx(gap(np.ones(len(day), dtype=bool)))
    assert found.se_day == pytest.approx(math.sqrt(9 / 10 * sum((without - without.mean()) ** 2)))
    assert (found.days, found.rows, found.se_key) == (10, len(day), None)
    assert found.candidate_score == pytest.approx(roc_auc_score(y, candidate))


def test_whole_and_per_row_agree_on_a_mean():
    """A mean taken as a whole metric gives what its rows give, where days have equal sizes."""
    rng = np.random.default_rng(8)
    day = START + np.repeat(np.arange(9), 20)
    candidate, champion = rng.normal(size=(2, 180))

    whole = compare_whole(day, lambda rows: candidate[rows].mean(), lambda rows: champion[rows].mean(), alpha=0.01)

    rows = compare_rows(day, candidate, champion, alpha=0.01)
    assert (whole.difference, whole.lower, whole.upper) == pytest.approx((rows.difference, rows.lower, rows.upper))


def test_one_class_on_a_day_is_no_obstacle():
    """A day with one class only has no AUC of its own, which the jackknife never asks for."""
    y = np.array([True, True, *[True, False] * 4])
    day = START + np.repeat(np.arange(5), 2)
    p = np.linspace(0, 1, 10)

    found = compare_whole(day, lambda rows: auc(y[rows], p[rows]), lambda rows: auc(y[rows], -p[rows]))

    assert math.isfinite(found.difference)
    assert math.isfinite(found.half_width)


def test_a_class_that_one_day_holds_alone_leaves_no_bounds():
    """Without the only day that has the rarer class there is no AUC, so there are no bounds."""
    y = np.array([True, False, *[False] * 6])
    day = START + np.repeat(np.arange(4), 2)
    p = np.linspace(0, 1, 8)

    found = compare_whole(day, lambda rows: auc(y[rows], p[rows]), lambda rows: auc(y[rows], -p[rows]))

    assert math.isfinite(found.difference)
    assert not math.isfinite(found.half_width)


@pytest.mark.parametrize(("days", "finite"), [(1, False), (2, True), (14, True)])
def test_identical_models_do_not_differ(days, finite):
    """A model against itself differs by nothing, with no doubt from two days on."""
    day, _, champion = losses(days=days)

    found = compare_rows(day, champion, champion)

    assert found.difference == 0
    assert found.half_width == (0 if finite else math.inf)


def test_no_rows_have_no_difference():
    """No rows give a comparison of no days without a number in it."""
    nothing = np.array([])

    found = compare_rows(nothing.astype("datetime64[D]"), nothing, nothing, key=nothing)

    assert (found.rows, found.days) == (0, 0)
    assert math.isnan(found.difference)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("who", [0, 1])
def test_one_bad_row_leaves_no_difference(bad, who):
    """A single row that is no number, of either model, leaves no finite difference and no finite bound."""
    day, *both = losses()
    both[who][7] = bad

    found = compare_rows(day, both[0], both[1])

    assert not any(math.isfinite(float(value)) for value in (found.difference, found.lower, found.upper))


def test_rows_share_the_doubt_of_their_day():
    """Copying every row leaves the doubt as it was: more rows of the same days are no more evidence."""
    day, candidate, champion = losses()
    once = compare_rows(day, candidate, champion)

    found = compare_rows(np.repeat(day, 50), np.repeat(candidate, 50), np.repeat(champion, 50))

    assert found.half_width == pytest.approx(once.half_width)


def test_keys_widen_a_metric_of_all_rows_as_they_widen_a_mean():
    """Up to 50 keys, each left out in turn: of a mean, over keys of equal size, that is its own error."""
    rng = np.random.default_rng(4)
    key, day = np.tile(np.arange(40), 14), START + np.repeat(np.arange(14), 40)
    candidate, champion = 0.5 + rng.normal(0, 0.3, 40)[key], np.full(560, 0.5)

    whole = compare_whole(
        day, lambda rows: float(candidate[rows].mean()), lambda rows: float(champion[rows].mean()), key=key
    )

    own = compare_rows(day, candidate, champion, key=key)
    assert (whole.keys, own.keys) == (40, 40)
    assert float(whole.se_key) == pytest.approx(float(own.se_key))
    assert float(whole.half_width) == pytest.approx(float(own.half_width))
    assert float(own.half_width) > float(compare_rows(day, candidate, champion).half_width)


@pytest.mark.parametrize("seed", range(40))
def test_a_p_value_is_below_alpha_where_the_lower_bound_is_above_0(seed):
    """The test for harm and the interval are one: over days, over cosines and over keys."""
    rng = np.random.default_rng(seed)
    key, day = np.tile(np.arange(20), 14), START + np.repeat(np.arange(14), 20)
    gap = 0.05 + rng.normal(0, 0.02 * (seed % 5), 14).repeat(20) + rng.normal(0, 0.04 * (seed % 3), 20)[key]

    found = compare_rows(day, 0.5 + gap, np.full(280, 0.5), key=key)

    assert (float(p_worse(found)) < found.alpha) == (float(found.lower) > 0)
