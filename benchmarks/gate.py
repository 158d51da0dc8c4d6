"""How often the gate is wrong, how often it lets a good candidate pass, and what the anchor is for.

    python -m benchmarks.gate

Simulated. Each history is a window of days on which a candidate and a champion are compared by log-loss. The days are
made after real ones: of two models of late flights (New York, 2013) the daily mean differences in log-loss have a
standard deviation of 0.051, a skew of -1.1, a kurtosis of 11 and an autocorrelation of 0.15, at a champion's loss of
0.5 and 910 rows a day. The gate's own functions judge 20,000 histories at once. Beside each rate stands the one that
another program measured before on such days. Four moments do not fix a shape: how often the gate is wrong hardly
depends on the rest, how often a good candidate passes does, so those rates differ by a few points. (rho is of normal
scores, which are bent to the days' shape; of the days themselves it is a little less: 0.13 where it says 0.15.)
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from perene.definition.gates import LOSS_MARGIN
from perene.records.verdict import Decision
from perene.statistics.comparisons import Comparison, compare
from perene.statistics.gate import decide, margin_in_units

HISTORIES, ROWS, LOSS = 20_000, 910, 0.5
MARGIN = margin_in_units(LOSS_MARGIN, LOSS)
DAY_SD = 0.051
ROW_SD = DAY_SD * math.sqrt(ROWS) / 4.9  # an interval over the real rows is 4.9 times too narrow
# Of twelve days one is a wild one: weight, mean and deviation of either kind. Together: mean 0, deviation 1, skew -1.1,
# excess kurtosis 11.
CALM, WILD = (0.92, 0.05891, 0.65651), (0.08, -0.67747, 2.65416)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A candidate that is worse by ``change`` (a share of the loss), judged on so many days, against its known rate.

    ``of`` is what is counted: "released", "worse" (the verdict), or "misses" (the lower bound is above the truth).
    """

    of: str
    days: int
    rho: float
    change: float
    rate: float


# What the notes call the final gate, and the size of one bound.
WRONG = tuple(
    Case(of=of, days=days, rho=rho, change=change, rate=rate)
    for of, days, rho, change, rate in (
        ("released", 7, 0.15, 0.05, 0.029),
        ("released", 14, 0.15, 0.05, 0.025),
        ("released", 28, 0.15, 0.05, 0.025),
        ("worse", 7, 0.15, 0.0, 0.058),
        ("worse", 14, 0.15, 0.0, 0.047),
        ("worse", 28, 0.15, 0.0, 0.040),
        ("misses", 14, 0.0, 0.0, 0.040),
        ("misses", 14, 0.15, 0.0, 0.051),
        ("misses", 28, 0.15, 0.0, 0.047),
        ("misses", 28, 0.30, 0.0, 0.059),
        ("misses", 7, 0.40, 0.0, 0.099),
        ("misses", 14, 0.40, 0.0, 0.077),
        ("misses", 28, 0.40, 0.0, 0.061),
    )
)
RIGHT = tuple(
    Case(of="released", days=days, rho=0.15, change=change, rate=rate)
    for days, rates in ((7, (0.755, 0.540, 0.345, 0.168)), (14, (0.888, 0.681, 0.451, 0.209)),
                        (28, (0.977, 0.861, 0.634, 0.306)))
    for change, rate in zip((-0.05, -0.02, 0.0, 0.02), rates, strict=True)
)  # fmt: skip


def day_means(days: int, *, rho: float, seed: int, histories: int = HISTORIES) -> np.ndarray:
    """Histories of daily means around 0, shape (histories, days): an AR(1) of normal scores, bent to the real shape."""
    scores = np.random.default_rng(seed).standard_normal((histories, days))
    for j in range(1, days):
        scores[:, j] = rho * scores[:, j - 1] + math.sqrt(1 - rho**2) * scores[:, j]
    values = np.linspace(-15, 15, 20_001)
    below = sum(weight * stats.norm.cdf(values, mean, sd) for weight, mean, sd in (CALM, WILD))
    return np.asarray(np.interp(stats.norm.cdf(scores), below, values) * DAY_SD)


def compared(case: Case, *, seed: int = 2013, histories: int = HISTORIES) -> Comparison:
    """The gate's comparison of each history of a case."""
    rows = np.full((histories, case.days), float(ROWS))
    worse = LOSS * (1 + case.change) + day_means(case.days, rho=case.rho, seed=seed, histories=histories)
    return compare(rows, ROWS * worse, np.full_like(rows, ROWS * LOSS))


def compared_by_row(case: Case, *, seed: int = 2013, histories: int = HISTORIES) -> Comparison:
    """The same with the interval that a wrong gate takes: over rows, as if they were independent."""
    found = compared(case, seed=seed, histories=histories)
    means = day_means(case.days, rho=case.rho, seed=seed, histories=histories)
    between = np.square(means - means.mean(axis=1, keepdims=True)).mean(axis=1)
    h = stats.norm.ppf(0.95) * np.sqrt((between + ROW_SD**2) / (case.days * ROWS))
    return replace(found, lower=found.difference - h, upper=found.difference + h, half_width=h)


def rate_of(case: Case, found: Comparison) -> float:
    """The share of histories in which the gate did what the case counts."""
    if case.of == "misses":
        return float((found.lower > LOSS * case.change).mean())
    wanted = Decision.PASS if case.of == "released" else Decision.WORSE
    return float((decide(found.lower, found.upper, MARGIN) == wanted).mean())


def errors_off(case: Case, rate: float, histories: int = HISTORIES) -> float:
    """How many binomial standard errors a rate is from the known one."""
    return (rate - case.rate) / math.sqrt(case.rate * (1 - case.rate) / histories)


# ── many releases after one another ──────────────────────────────────────────────────────────────────────────────────

Rule = Callable[["Year"], np.ndarray]


class Year:
    """Releases after one another, in many years at once: true losses of candidate, champion and anchor, and what the
    windows of 14 days show of them. Each model's days vary by themselves, and together differ as real ones do."""

    def __init__(self, *, years: int, seed: int, drift: float, spread: float) -> None:
        self._random = np.random.default_rng(seed)
        self._drift, self._spread = drift, spread
        self.champion = np.full(years, LOSS)
        self.anchor = self.champion.copy()
        self.spent = np.zeros(years)  # what the released candidates were estimated to be worse by
        self.released = np.zeros(years)

    def next(self) -> None:
        """A new candidate, and a new window that shows all three."""
        years = len(self.champion)
        self.candidate = self.champion * (1 + self._random.normal(self._drift, self._spread, years))
        noise = self._random.normal(0, DAY_SD / math.sqrt(2), (3, years, 14))
        self._days = {
            name: ROWS * (getattr(self, name)[:, None] + noise[i])
            for i, name in enumerate(("candidate", "champion", "anchor"))
        }

    def against(self, other: str) -> Comparison:
        """The candidate against the champion or the anchor."""
        mine = self._days["candidate"]
        return compare(np.full_like(mine, float(ROWS)), mine, self._days[other])

    def release(self, passes: np.ndarray) -> None:
        """Release where it passes; the anchor moves to what is certified better than it."""
        found = self.against("champion")
        certified = passes & (self.against("anchor").upper < 0)
        self.spent += np.where(passes, found.difference, 0.0)
        self.champion = np.where(passes, self.candidate, self.champion)
        self.anchor = np.where(certified, self.candidate, self.anchor)
        self.released += passes


def _passes(found: Comparison) -> np.ndarray:
    return np.asarray(decide(found.lower, found.upper, 0.05 * found.champion_score) == Decision.PASS)


def alone(year: Year) -> np.ndarray:
    """The gate against the champion alone."""
    return _passes(year.against("champion"))


def with_budget(year: Year) -> np.ndarray:
    """With a budget: while the estimated differences of all releases so far add up to less than one margin."""
    return _passes(year.against("champion")) & (year.spent < MARGIN)


def with_anchor(year: Year) -> np.ndarray:
    """The gate as it is: against the champion, and against the anchor on the same window."""
    return _passes(year.against("champion")) & _passes(year.against("anchor"))


def ratchet(
    rule: Rule, *, drift: float, years: int = 200, days: int = 365, spread: float = 0.01
) -> tuple[float, float]:
    """What a year of daily candidates does to the true loss, as a share of it, and the share of them released.

    Args:
        rule: which candidates are released.
        drift: by how much a candidate is worse than the champion on average, as a share of the loss.
        years: how many years at once.
        days: how many candidates in each.
        spread: the standard deviation between candidates.
    """
    year = Year(years=years, seed=365, drift=drift, spread=spread)
    for _ in range(days):
        year.next()
        year.release(rule(year))
    return float(np.mean(year.champion) / LOSS - 1), float(year.released.mean() / days)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=HISTORIES)
    histories = parser.parse_args().histories
    counts = {"released": "is released", "worse": 'is called "worse"', "misses": "is below the lower bound"}
    for title, cases in (("How often the gate is wrong", WRONG), ("How often a good candidate passes", RIGHT)):
        print(f"\n{title} ({histories:,} simulated histories)")
        print(f"{'true change':>12} {'days':>5} {'rho':>5}  {'':26}{'gate':>7}{'known':>8}{'by row':>9}")
        for case in cases:
            rate = rate_of(case, compared(case, histories=histories))
            by_row = rate_of(case, compared_by_row(case, histories=histories))
            what = counts[case.of]
            print(
                f"{case.change:>+12.0%} {case.days:>5} {case.rho:>5.2f}  {what:26}"
                f"{rate:>7.3f}{case.rate:>8.3f}{by_row:>9.3f}"
            )
    print("\nA year of daily candidates, each 1 % worse than the champion on average (200 simulated years)")
    print(f"{'':30}{'loss after a year':>18}{'released':>10}")
    for name, rule in (
        ("gate against champion alone", alone),
        ("with a budget", with_budget),
        ("with the anchor", with_anchor),
    ):
        change, released = ratchet(rule, drift=0.01)
        print(f"{name:30}{change:>+18.1%}{released:>10.1%}")


if __name__ == "__main__":
    main()
