"""How often the gate is wrong, on 20,000 simulated histories: the rates are those that were measured before."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.gate import (
    CALM,
    DAY_SD,
    WILD,
    WRONG,
    Case,
    compared,
    compared_by_row,
    day_means,
    errors_off,
    rate_of,
)

# Seven days whose neighbours resemble one another by 0.4 are left out: there the rate hangs on the shape of the days,
# of which four moments are known (measured before 0.099, here 0.104). The benchmark prints it.
CASES = [case for case in WRONG if (case.days, case.rho) != (7, 0.4)]


def name(case: Case) -> str:
    """What is counted of which candidates."""
    return f"{case.of} at {case.change:+.0%}, {case.days} days, rho {case.rho}"


def test_simulated_days_are_like_real_ones() -> None:
    """They have the moments of the real ones, and resemble their neighbours as those do."""
    days = day_means(28, rho=0.15, seed=1, histories=50_000)

    z = days / days.std()
    assert days.mean() == pytest.approx(0, abs=0.001)
    assert days.std() == pytest.approx(DAY_SD, rel=0.01)
    assert (z**3).mean() == pytest.approx(-1.1, abs=0.1)
    assert (z**4).mean() - 3 == pytest.approx(11, abs=0.6)
    assert np.corrcoef(days[:, :-1].ravel(), days[:, 1:].ravel())[0, 1] == pytest.approx(0.13, abs=0.01)
    assert CALM[0] + WILD[0] == 1


@pytest.mark.parametrize("case", CASES, ids=name)
def test_the_gate_is_wrong_as_rarely_as_measured(case: Case) -> None:
    """A against A, at the margin, on days that resemble one another: within three binomial standard errors."""
    assert abs(errors_off(case, rate_of(case, compared(case)))) <= 3


@pytest.mark.parametrize("case", CASES, ids=name)
def test_trap_1_an_interval_over_rows_is_found_out(case: Case) -> None:
    """A planted wrong gate, whose interval takes rows for independent, fails the same test."""
    assert abs(errors_off(case, rate_of(case, compared_by_row(case)))) > 3
