"""What takes a new version back while it answers: failures, slowness, and answers that jump.

Each rule asks for two things: that the difference is surely there, and that it matters. They are looked at every few
seconds for hours, so "surely" is meant strictly. Failures and slow answers are counts of few, so their rule is exact;
times and answers are means of many. An answer is compared with the other version's to the very same row, so neither
traffic that changes nor keys that differ can look like a jump.
"""

from __future__ import annotations

from math import sqrt

SURE_P = 1e-5  # of a count that is as large by chance
SURE_Z = 5.0  # standard errors
LEAST_SHARE = 0.01  # of requests that fail beyond those that failed before
LEAST_SLOW = 0.05  # 95 of 100 must be within the budget
LEAST_TIMES = 2.0  # as slow as the champion
LEAST_SECONDS = 0.005  # slower
LEAST_JUMP = 1.0  # standard deviations of the other version's answers
LEAST_JUMP_SHARE = 0.01  # of their mean
LEAST_PAIRS = 200
LEAST_BATCHES = 50
_USUAL = 100  # requests, of which one is bad: what is taken as seen before that many were


def fails_more(bad: float, asked: float, bad_before: float, asked_before: float, *, least: float = LEAST_SHARE) -> bool:
    """Whether a share of bad requests is surely above the one before, and by more than ``least``.

    Given how many are bad in all, those of the new version are binomial if both are alike (Przyborowski and Wilenski
    1940). One bad is added to what was seen before, which is a hundred at least, so that a version without a past can
    be judged.
    """
    bad_before, asked_before = bad_before + 1, max(asked_before + 1, _USUAL)
    if asked <= 0 or bad / asked - bad_before / asked_before <= least:
        return False
    return _binomial_tail(bad, bad + bad_before, asked / (asked + asked_before)) < SURE_P


def misses_budget(slow: float, asked: float, slow_before: float, asked_before: float) -> bool:
    """Whether surely more than 5 of 100 are slower than the budget, and surely more than before."""
    if asked <= 0 or slow / asked <= LEAST_SLOW:
        return False
    is_over = _binomial_tail(slow, asked, LEAST_SLOW) < SURE_P
    return is_over and fails_more(slow, asked, slow_before, asked_before)


def is_slower(mine: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    """Whether batches surely take twice as long as another version's, and 5 ms longer.

    Args:
        mine: number of batches, the sum of their seconds, and of the squares of these.
        other: the same of the other version.
    """
    if min(mine[0], other[0]) < LEAST_BATCHES:
        return False
    (mean, error), (mean_before, error_before) = _mean(*mine), _mean(*other)
    least = max(LEAST_TIMES * mean_before, mean_before + LEAST_SECONDS)
    return mean - least > SURE_Z * sqrt(error**2 + error_before**2)


def jumps(pairs: float, gap: float, gap_sq: float, other: float, other_sq: float) -> bool:
    """Whether answers lie, on average, surely more than a standard deviation (and 1 %) from another version's to the
    same rows; sums over the pairs of the differences, the other's answers, and the squares of both.
    """
    if pairs < LEAST_PAIRS:
        return False
    mean, error = _mean(pairs, gap, gap_sq)
    least = max(LEAST_JUMP * _spread(pairs, other, other_sq), LEAST_JUMP_SHARE * abs(other / pairs))
    return abs(mean) - least > SURE_Z * error


def _spread(n: float, total: float, squares: float) -> float:
    """The standard deviation."""
    return _mean(n, total, squares)[1] * sqrt(n)


def _mean(n: float, total: float, squares: float) -> tuple[float, float]:
    """A mean and its standard error."""
    mean = total / n
    return mean, sqrt(max(squares / n - mean * mean, 0.0) / n)


def _binomial_tail(least: float, n: float, p: float) -> float:
    """The probability of ``least`` or more of ``n``."""
    from scipy.special import bdtrc  # loaded where it is needed: it costs every command a tenth of a second

    return float(bdtrc(least - 1, int(n), p)) if least >= 1 else 1.0
