"""The jackknife of the AUC, at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perene.statistics.intervals import jackknife
from perene.statistics.scores import auc, auc_jackknife

ROWS = st.lists(
    st.tuples(st.integers(0, 5), st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 1.0]) | st.floats(0, 1)),
    min_size=1,
    max_size=60,
)


@given(ROWS)
def test_it_is_the_jackknife_of_the_auc(rows):
    """All days taken out at once give what each of them taken out alone gives, ties and single classes included."""
    day, y, p = (np.array(column) for column in zip(*rows, strict=True))
    day, p = np.datetime64("2013-03-01") + day, p.astype(np.float64)

    value, deviations = auc_jackknife(day, y, p)

    expected, one_by_one = jackknife(day, lambda mask: auc(y[mask], p[mask]))
    assert value == pytest.approx(expected, nan_ok=True)
    assert deviations == pytest.approx(one_by_one, nan_ok=True, abs=1e-9)


def test_a_prediction_that_is_no_number_gives_none():
    """NaN among the predictions makes the AUC, and every deviation, NaN."""
    day = np.array(["2013-03-01", "2013-03-02", "2013-03-02"], dtype="datetime64[D]")

    value, deviations = auc_jackknife(day, np.array([True, False, True]), np.array([0.1, np.nan, 0.3]))

    assert np.isnan(value)
    assert np.isnan(deviations).all()
