"""What takes a new version back: how rarely it does so without a cause, and that it does with one."""

from __future__ import annotations

import numpy as np
import pytest

from perene.statistics.guards import LEAST_PAIRS, fails_more, is_slower, jumps, misses_budget

LOOKS = np.unique(np.geomspace(10, 20_000, 40).astype(int))  # requests seen at each look
RELEASES = 300
RATES = [0.0, 0.001, 0.01, 0.05, 0.3]
CASES = [(before, rate) for before in (0, 200, 20_000) for rate in RATES if before or rate <= 0.01]


def sums(values: np.ndarray) -> tuple[float, float, float]:
    """Number, sum and sum of squares."""
    return float(len(values)), float(values.sum()), float(values @ values)


@pytest.mark.parametrize(("before", "rate"), CASES)
def test_a_version_that_fails_as_before_is_taken_back_less_than_once_in_a_hundred_releases(before, rate) -> None:
    """300 releases, each looked at 40 times on its way to 20,000 requests; without a past where errors are rare."""
    rng = np.random.default_rng(7)
    wrong = 0
    for _ in range(RELEASES):
        failed = np.cumsum(rng.random(LOOKS[-1]) < rate)[LOOKS - 1]
        bad_before = rng.binomial(before, rate)
        wrong += any(fails_more(bad, n, bad_before, before) for bad, n in zip(failed, LOOKS, strict=True))

    assert wrong / RELEASES < 0.01


@pytest.mark.parametrize(("rate", "until"), [(1.0, 10), (0.2, 100), (0.05, 500)])
def test_a_version_that_fails_is_taken_back_soon(rate, until) -> None:
    """After 10 requests where all fail, 100 where a fifth does, 500 where a twentieth does; almost always."""
    rng = np.random.default_rng(8)

    found = np.mean([fails_more(rng.binomial(until, rate), until, 2, 20_000) for _ in range(RELEASES)])

    assert found > 0.95


def test_few_more_failures_do_not_matter() -> None:
    """A share that is surely higher, but by less than one of a hundred, is no reason."""
    assert not fails_more(9_000, 1_000_000, 0, 1_000_000)
    assert fails_more(20_000, 1_000_000, 0, 1_000_000)


def test_slow_answers_count_against_the_budget_and_the_past() -> None:
    """More than 5 of 100 must be late, surely, and surely more than before: a machine that is busy is no version's."""
    assert misses_budget(80, 400, 4, 400)
    assert not misses_budget(19, 400, 0, 400)
    assert not misses_budget(80, 400, 78, 400)
    assert not misses_budget(3, 4, 0, 400)


def test_twice_as_slow_counts_and_a_little_slower_does_not() -> None:
    """Both a factor and milliseconds must be surely there."""
    rng = np.random.default_rng(9)
    usual, late = rng.gamma(4, 0.002, 400), rng.gamma(4, 0.008, 400)

    assert is_slower(sums(late), sums(usual))
    assert not is_slower(sums(usual * 1.5), sums(usual))
    assert not is_slower(sums(late / 100), sums(usual / 100))  # four times as slow, and a fraction of a millisecond


def test_two_versions_that_disagree_alike_are_not_taken_for_a_jump() -> None:
    """Less than one release in 200 is taken back for a true shift of half a standard deviation and much noise."""
    rng = np.random.default_rng(10)
    wrong = 0
    for _ in range(RELEASES):
        other = rng.gamma(2, 5, 2_000)
        gap = other.std() * (0.5 + rng.normal(size=2_000))
        looks = [(n, float(gap[:n].sum()), float(gap[:n] @ gap[:n]), *sums(other[:n])[1:]) for n in LOOKS if n <= 2_000]
        wrong += any(jumps(*look) for look in looks)

    assert wrong / RELEASES < 0.005


@pytest.mark.parametrize("change", ["seconds for minutes", "one answer for all", "upside down"])
def test_faults_of_answers_are_seen_from_the_first_rows(change) -> None:
    """Units, a constant and a wrong sign are seen on the least number of pairs."""
    other = np.random.default_rng(11).gamma(4, 5, LEAST_PAIRS)
    mine = {"seconds for minutes": other * 60, "one answer for all": other * 0, "upside down": -other}[change]
    gap = mine - other

    assert jumps(len(gap), gap.sum(), gap @ gap, other.sum(), other @ other)
    assert not jumps(len(gap) - 1, gap.sum(), gap @ gap, other.sum(), other @ other)


def test_versions_that_say_the_same_never_jump() -> None:
    """Nor where every answer is one number, and the other version's differs in its last bits."""
    n = 10 * LEAST_PAIRS
    other = np.full(n, 0.3)
    gap = np.full(n, 1e-9)

    assert not jumps(n, gap.sum(), gap @ gap, other.sum(), other @ other)
    assert not jumps(n, 0.0, 0.0, 0.0, 0.0)
