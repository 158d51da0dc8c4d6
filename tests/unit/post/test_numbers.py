"""Ready-made steps of numbers."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perene import post
from perene.errors import ServingError

finite = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.lists(finite, min_size=1, max_size=20).map(np.asarray)
outputs = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20).map(np.asarray)


@given(numbers, finite, finite)
def test_clip_is_the_nearest_number_within_the_bounds(p, one, other) -> None:
    """What lies within is not touched, and what lies without is the bound that it lies beyond."""
    least, most = min(one, other), max(one, other)

    clipped = post.clip(least, most)(p=p)

    assert clipped.tolist() == [least if x < least else most if x > most else x for x in p.tolist()]


@given(numbers, finite)
def test_clip_with_one_bound_leaves_the_other_side_alone(p, bound) -> None:
    """None is no bound."""
    assert post.clip(least=bound)(p=p).tolist() == [max(x, bound) for x in p.tolist()]
    assert post.clip(most=bound)(p=p).tolist() == [min(x, bound) for x in p.tolist()]


def test_clip_keeps_what_is_no_number() -> None:
    """NaN is refused where answers are, and not made a bound in silence."""
    assert math.isnan(post.clip(0, 1)(p=np.asarray([math.nan]))[0])


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=20), st.integers(-3, 3))
def test_round_goes_to_the_nearest_and_halves_to_the_even(counts, decimals) -> None:
    """As decimal arithmetic does it; the inputs are quarters, which binary numbers hold exactly."""
    p = np.asarray(counts) / 4
    wanted = [Decimal(x).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN) for x in p.tolist()]

    assert post.round(decimals)(p=p).tolist() == pytest.approx([float(x) for x in wanted], rel=1e-15)


@given(outputs)
def test_round_without_decimals_makes_integers(p) -> None:
    """Of Python's own rounding."""
    rounded = post.round()(p=p)

    assert rounded.dtype == np.int64
    assert rounded.tolist() == [round(x) for x in p.tolist()]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2.0**63, -(2.0**63)])
def test_what_is_no_integer_of_64_bits_is_refused(value) -> None:
    """And not turned into another number."""
    with pytest.raises(ServingError, match="no number of 64 bits") as caught:
        post.round()(p=np.asarray([1.0, value]))

    assert caught.value.code == "no-number"


@given(outputs, st.floats(0.001, 100), st.floats(-100, 100))
def test_logistic_gives_probabilities_in_the_same_order(p, scale, shift) -> None:
    """Whatever the scores: between 0 and 1, and never the other way round."""
    made = post.logistic(scale, shift)(p=p)

    assert ((made >= 0) & (made <= 1)).all()
    assert (np.diff(made[np.argsort(p, kind="stable")]) >= 0).all()


@given(st.floats(-30, 30))
def test_logistic_is_the_inverse_of_log_odds(odds) -> None:
    """1 / (1 + exp(-x))."""
    (p,) = post.logistic()(p=np.asarray([odds]))

    assert math.log(p / (1 - p)) == pytest.approx(odds, rel=1e-3, abs=1e-9)


@given(outputs, st.floats(-1e6, 1e6))
def test_a_threshold_answers_whether_it_is_reached(p, at) -> None:
    """What equals it reaches it."""
    answers = post.threshold(at)(p=p)

    assert answers.dtype == np.bool_
    assert answers.tolist() == [x >= at for x in p.tolist()]


PLACES = ["a", "b", "c", None]


@given(st.lists(st.tuples(st.sampled_from(PLACES), st.floats(0, 1)), min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_each_group_has_its_own_threshold(asked, level, otherwise) -> None:
    """Those that are not named, and null, have the other one."""
    rows = pl.DataFrame({"place": [place for place, _ in asked]}, schema={"place": pl.String})
    p = np.asarray([x for _, x in asked])
    levels = {"a": level, "b": 0.5, "nobody": 0.9}

    answers = post.threshold(levels, by="place", otherwise=otherwise)(rows=rows, p=p)

    assert answers.tolist() == [x >= levels.get(place or "", otherwise) for place, x in asked]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_threshold_of_no_number_is_refused(value) -> None:
    """It does not count as false."""
    rows = pl.DataFrame({"place": ["a"]})

    for step, given_ in ((post.threshold(), {}), (post.threshold({"a": 0.5}, by="place"), {"rows": rows})):
        with pytest.raises(ServingError, match="no number"):
            step(p=np.asarray([value]), **given_)
