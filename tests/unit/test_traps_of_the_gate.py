"""Traps that gates fall into, each with the test that this one does not. Numbered as in the project's notes on methods.

Trap 1 (an interval over rows) is in test_gate_rates.py; 3, 4, 8, 9 and 10 need models, and are in
loop/test_traps_of_validation.py; 18, 19 and 21 need logs, and are in data/test_traps_of_data.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.gate import LOSS, MARGIN, ROWS, Case, alone, compared, day_means, ratchet, with_anchor, with_budget

from perene.definition.gates import Margin, gate
from perene.records.verdict import Decision
from perene.statistics.comparisons import Comparison, compare, compare_rows, compare_whole, holm, p_worse
from perene.statistics.gate import Evidence, decide, judge
from perene.statistics.scores import auc

HISTORIES = 4_000
DAYS = np.arange("2013-03-01", "2013-03-15", dtype="datetime64[D]")


def released(case: Case, *, rule: str) -> float:
    """The share of candidates that a rule releases."""
    found = compared(case, histories=HISTORIES)
    return float((decide(found.lower, found.upper, MARGIN, rule=rule) == Decision.PASS).mean())


def verdict_on(comparison: Comparison, *, margin: Margin | None = None, better: str = "lower"):
    """What the gate says by a margin of 5 %, when all rows are scored."""
    size = margin or Margin(value=0.05, relative=True)
    evidence = Evidence(expected_rows=int(comparison.rows))
    return judge(comparison, gate(), margin=size, metric="log_loss", evidence=evidence)


def test_trap_2_not_significant_is_not_good_enough() -> None:
    """On 7 days, "not significantly worse" ships many that are 10 % worse; the gate next to none."""
    case = Case(of="released", days=7, rho=0.15, change=0.10, rate=0.001)

    assert released(case, rule="not-worse") > 0.15
    assert released(case, rule="non-inferior") < 0.005


def test_trap_5_peeking_every_day() -> None:
    """A candidate at the margin that is looked at daily until it passes gets through several times as often as by the
    one look that each candidate gets."""
    days = 56
    means = LOSS * 1.05 + day_means(days, rho=0.15, seed=5, histories=HISTORIES)
    rows, champion = np.full((HISTORIES, days), float(ROWS)), np.full((HISTORIES, days), ROWS * LOSS)

    def passes(until: int) -> np.ndarray:
        found = compare(rows[:, :until], ROWS * means[:, :until], champion[:, :until])
        return decide(found.lower, found.upper, MARGIN) == Decision.PASS

    looked_at_daily = np.logical_or.reduce([passes(until) for until in range(7, days + 1)])
    looked_at_once = passes(14)

    assert looked_at_once.mean() < 0.035
    assert looked_at_daily.mean() > 3 * looked_at_once.mean()


def test_trap_6_many_small_steps_down() -> None:
    """A year of candidates that are each 1 % worse ruins the gate alone, and one with a budget of what was estimated;
    with the anchor the loss stays within about a margin."""
    after = {rule: ratchet(rule, drift=0.01, years=40)[0] for rule in (alone, with_budget, with_anchor)}

    assert after[alone] > 1
    assert after[with_budget] > 1
    assert after[with_anchor] < 0.1


def test_trap_7_twenty_slices() -> None:
    """Of equal candidates, 20 unadjusted tests block most; Holm's few, and it still finds one slice 20 % worse."""
    slices, histories = 20, 1_000
    rows = np.full((slices, histories, 14), ROWS / slices)
    gaps = np.stack([day_means(14, rho=0.15, seed=seed, histories=histories) for seed in range(slices)])
    champion = rows * LOSS

    def p_of(worse: float) -> np.ndarray:
        shift = np.where(np.arange(slices) == 3, worse * LOSS, 0.0)[:, None, None]
        return p_worse(compare(rows, champion + rows * (gaps + shift), champion)).T

    equal, one_worse = p_of(0.0), p_of(0.2)
    held = np.array([holm(p, 0.05) for p in equal])
    found = np.array([holm(p, 0.05)[3] for p in one_worse])

    assert (equal < 0.05).any(axis=1).mean() > 0.5
    assert held.any(axis=1).mean() < 0.08
    assert found.mean() > 0.75


def test_trap_11_a_margin_is_a_share_of_the_difference() -> None:
    """5 % is allowed of the champion's score as a difference, not as a ratio of scores."""
    gaps = 0.001 * np.resize([1.0, -1.0], 14)
    rows, champion = np.full(14, 100.0), np.full(14, 50.0)

    within = verdict_on(compare(rows, champion + 100 * (0.02 + gaps), champion))
    beyond = verdict_on(compare(rows, champion + 100 * (0.03 + gaps), champion))

    assert within.margin == pytest.approx(0.025)
    assert (within.decision, beyond.decision) == (Decision.PASS, Decision.WORSE)


@pytest.mark.parametrize("who", ["candidate", "champion"])
def test_trap_12_a_metric_that_is_not_a_number(who: str) -> None:
    """NaN compares false with everything; it must block all the same."""
    rows, champion = np.full(14, 100.0), np.full(14, 50.0)
    broken = np.where(np.arange(14) == 3, np.nan, champion)
    pair = (broken, champion) if who == "candidate" else (champion, broken)

    verdict = verdict_on(compare(rows, *pair))

    assert verdict.decision is Decision.REFUSED
    assert "not a number" in verdict.reason


def scored(seed: int, quality: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions of 14 days of 100 rows."""
    random = np.random.default_rng(seed)
    y = random.random(1_400) < 0.3
    return y, quality * y + random.random(1_400)


def test_trap_13_the_direction_of_a_metric() -> None:
    """Of AUC more is better: a candidate with less is worse, and one with more passes."""
    y, good = scored(1, 1.0)
    poor = scored(2, 0.1)[1]
    day = np.repeat(DAYS, 100)

    def against(candidate: np.ndarray, champion: np.ndarray) -> Decision:
        found = compare_whole(day, lambda m: auc(y[m], candidate[m]), lambda m: auc(y[m], champion[m]), better="higher")
        return verdict_on(found, margin=Margin(value=0.01, relative=False)).decision

    assert against(poor, good) is Decision.WORSE
    assert against(good, poor) is Decision.PASS


def test_trap_14_days_of_one_class() -> None:
    """A day without a true row leaves the AUC of the window a number; a window without one is refused."""
    y, p = scored(3, 1.0)
    day = np.repeat(DAYS, 100)
    bare_day = y & (day != DAYS[5])

    def found(labels: np.ndarray) -> Comparison:
        return compare_whole(day, lambda m: auc(labels[m], p[m]), lambda m: auc(labels[m], p[m]), better="higher")

    margin = Margin(value=0.01, relative=False)
    assert verdict_on(found(bare_day), margin=margin).decision is Decision.PASS
    assert verdict_on(found(np.zeros_like(y)), margin=margin).decision is Decision.REFUSED


@pytest.mark.parametrize("days", [1, 2, 6])
def test_trap_15_too_few_days(days: int) -> None:
    """One day, or two, or six decide nothing, and break nothing."""
    rows, champion = np.full(days, 100.0), np.full(days, 50.0)

    verdict = verdict_on(compare(rows, champion - 10.0, champion))

    assert verdict.decision is Decision.REFUSED
    assert f"{days} day" in verdict.reason


def test_trap_15_no_difference_at_all() -> None:
    """Identical models pass; a difference that is the same on every day has a standard error of 0, and is judged."""
    rows, champion = np.full(14, 100.0), np.full(14, 50.0)

    twin = verdict_on(compare(rows, champion, champion))
    better = verdict_on(compare(rows, champion - 1.0, champion))
    worse = verdict_on(compare(rows, champion + 5.0, champion))

    assert (twin.decision, better.decision, worse.decision) == (Decision.PASS, Decision.PASS, Decision.WORSE)


def test_trap_16_days_of_unequal_size() -> None:
    """The metric is the mean over rows; the mean of the days' means is another number."""
    sizes = np.where(np.arange(14) == 0, 1_000, 10)
    day = np.repeat(DAYS, sizes)
    champion = np.zeros(len(day))
    candidate = np.where(day == DAYS[0], 1.0, 0.0)

    found = compare_rows(day, candidate, champion)

    assert float(found.difference) == pytest.approx(1_000 / 1_130)
    assert float(found.difference) != pytest.approx(1 / 14, rel=0.5)


def test_the_anchor_moves_only_to_what_is_certified() -> None:
    """Where candidates are as good on average, the anchor does not stop the loss from falling over a year."""
    change, share = ratchet(with_anchor, drift=0.0, years=40)

    assert change < -0.1
    assert 0.05 < share < 0.5
