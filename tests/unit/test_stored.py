"""Values as JSON columns hold them."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, StrEnum
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perene.repositories.stored import storable, storable_mapping

quick = settings(deadline=None)
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
numbers = st.floats() | st.integers(-(2**63), 2**63 - 1) | st.booleans()
any_values = st.recursive(
    st.none() | st.text() | numbers | st.datetimes(timezones=st.just(UTC)) | st.dates() | numbers.map(np.asarray),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Colour(StrEnum):
    RED = "red"


class Size(Enum):
    LARGE = "l"


@given(plain_values)
@quick
def test_what_is_json_stays_as_it_is(value) -> None:
    """Texts, numbers, truth values, null, lists and objects come back equal and of the same types."""
    stored = storable(value)

    assert stored == value
    assert json.dumps(stored) == json.dumps(value)


@given(any_values)
@quick
def test_what_is_stored_is_strict_json(value) -> None:
    """Whatever comes in, no NaN, no infinity and no foreign type comes out."""
    stored = storable(value)

    assert json.loads(json.dumps(stored, allow_nan=False)) == stored
    assert storable(stored) == stored


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int8(3), 3),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array([[1.0, math.nan], [2.0, math.inf]]), [[1.0, None], [2.0, None]]),
        (np.array([True, False]), [True, False]),
        (math.inf, None),
        (-math.inf, None),
        (Fraction(1, 4), 0.25),
        (Colour.RED, "red"),
        ({Size.LARGE: Size.LARGE, 1: (1, 2)}, {"l": "l", "1": [1, 2]}),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, 1, tzinfo=timezone(timedelta(hours=2))), "2026-01-01T23:00:00.000000Z"),
    ],
)
def test_other_values_have_one_form(value, expected) -> None:
    """numpy's values and arrays, enums, fractions, dates and instants; what is no number is null."""
    stored = storable(value)

    assert stored == expected
    assert type(stored) is type(expected)
    json.dumps(stored, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({1}, "result is a set"),
        ({"a": [1, {"b": object()}]}, r"result\['a'\]\[1\]\['b'\] is a object"),
        (b"x", "is a bytes"),
        (Path(), "which JSON cannot hold"),
        (Decimal(1), "is a Decimal"),
        (timedelta(1), "is a timedelta"),
        (1j, "is a complex"),
        ({"at": datetime(2026, 1, 1)}, r"result\['at'\] is a time without a zone"),  # noqa: DTZ001 - that is the mistake
        (np.datetime64("2026-01-01T00:00", "us"), "without a zone"),
    ],
)
def test_what_json_cannot_hold_is_refused_by_its_place(value, named) -> None:
    """A TypeError names where in the value it stands, and what it is."""
    with pytest.raises(TypeError, match=named):
        storable(value, "result")


def test_a_mapping_names_its_own_places() -> None:
    """The name of a mapping's value is the mapping's with its key."""
    assert storable_mapping({"a": np.int64(1)}) == {"a": 1}
    with pytest.raises(TypeError, match=r"parameters\['tree'\] is a set"):
        storable_mapping({"tree": set()}, "parameters")
