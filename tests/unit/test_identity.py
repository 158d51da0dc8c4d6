"""Ids that sort, identities that tell things apart, digests that do not depend on order."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from enum import Enum, StrEnum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perene.records.identity import digest_of, identity, key_of, new_id, new_ids, plain

quick = settings(deadline=None)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=11))])
moments = st.datetimes(datetime(1970, 1, 3), datetime(9999, 1, 1), timezones=zones)  # noqa: DTZ001 - bounds are naive
keys = st.dictionaries(
    st.text(max_size=4), st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.dates(), max_size=4
)


def millisecond(id_: str) -> int:
    return uuid.UUID(id_).int >> 80


@given(moments, st.integers(0, 50))
@quick
def test_ids_are_uuids_of_version_7(now, count) -> None:
    """RFC 9562: version 7, its variant, in the usual form."""
    for made in (new_id(now), *new_ids(now, count)):
        assert uuid.UUID(made).version == 7
        assert uuid.UUID(made).variant == uuid.RFC_4122
        assert str(uuid.UUID(made)) == made


@given(st.integers(0, 2**47), st.integers(0, 999))
@quick
def test_an_id_begins_with_its_millisecond(exact, rest) -> None:
    """The exact one, whatever floating point would make of it."""
    now = EPOCH + timedelta(milliseconds=exact, microseconds=rest)

    assert millisecond(new_id(now)) == exact
    assert [millisecond(made) for made in new_ids(now, 3)] == [exact] * 3


@given(st.lists(moments, min_size=2, max_size=5, unique_by=lambda m: (m - EPOCH) // timedelta(milliseconds=1)))
@quick
def test_ids_sort_by_time(times) -> None:
    """As texts, as the log and its readers sort them."""
    made = {now: new_id(now) for now in times}

    assert [made[now] for now in sorted(times)] == sorted(made.values())


@pytest.mark.parametrize("count", [0, 1, 2, 5000, 2**20 + 3])
def test_ids_of_one_call_sort_in_their_order(count) -> None:
    """However many: they are different, and in the order of the rows."""
    made = new_ids(datetime(2026, 1, 1, tzinfo=UTC), count)

    assert len(made) == len(set(made)) == count
    assert made == sorted(made)


def test_ids_of_one_millisecond_differ() -> None:
    """Calls in one millisecond, also of many processes, do not meet."""
    now = datetime(2026, 1, 1, tzinfo=UTC)

    made = [id_ for _ in range(200) for id_ in (new_id(now), *new_ids(now, 5))]

    assert len(set(made)) == len(made)


# ── identities and digests ───────────────────────────────────────────────────────────────────────────────────────────


class Size(Enum):
    LARGE = "l"


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=3))), "2025-12-31T23:00:00.000000Z"),
        (datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=UTC), "2026-01-01T00:00:00.000005Z"),
        (date(2026, 1, 1), "2026-01-01"),
        (Size.LARGE, "l"),
        (Colour.RED, "red"),
        ("text", "text"),
        (7, 7),
        (None, None),
    ],
)
def test_a_value_has_one_plain_form(value, expected) -> None:
    """Instants in UTC with microseconds, dates as such, enums by their value; other values as they are."""
    assert plain(value) == expected


@given(keys, keys)
@quick
def test_different_values_are_different_things(one, other) -> None:
    """Two keys of the same fields have one identity exactly when their values are equal and of one type."""
    fields = list(one)
    second = dict(zip(fields, other.values(), strict=False))
    if len(second) < len(fields):
        return
    same = all(type(one[f]) is type(second[f]) and one[f] == second[f] for f in fields)
    as_text = any(isinstance(one[f], date) != isinstance(second[f], date) for f in fields)  # a date's text is its JSON

    assert (identity(one) == identity(second)) == same or as_text


@given(keys)
@quick
def test_a_digest_does_not_depend_on_the_order(value) -> None:
    """Fields in another order, also within, give the same digest; an identity follows the declared order."""
    turned = dict(reversed(value.items()))

    assert digest_of(value) == digest_of(turned)
    assert digest_of([{"inner": value}]) == digest_of([{"inner": turned}])
    assert (identity(value) == identity(turned)) == (list(value.values()) == list(turned.values()))


@given(moments)
@quick
def test_one_instant_has_one_identity_in_every_zone(now) -> None:
    """The same moment, written elsewhere, is the same thing."""
    elsewhere = now.astimezone(timezone(timedelta(hours=-3)))

    assert identity({"at": now}) == identity({"at": elsewhere})
    assert digest_of({"at": now}) == digest_of({"at": elsewhere})


def test_a_digest_is_what_it_was() -> None:
    """Bundles and fingerprints hold digests of this text: it may not change."""
    value = {"b": [1, 2.5, None, "é"], "a": True, "at": datetime(2026, 1, 1, tzinfo=UTC), "size": Size.LARGE}
    text = '{"a":true,"at":"2026-01-01T00:00:00.000000Z","b":[1,2.5,null,"é"],"size":"l"}'

    assert digest_of(value) == hashlib.sha256(text.encode()).hexdigest()


def test_what_has_no_json_has_no_digest() -> None:
    """It is refused as such."""
    with pytest.raises(TypeError, match="set"):
        digest_of({"a": {1}})


def test_a_key_comes_back_out_of_its_identity():
    """The fields of a key are told by their names, as JSON holds them."""
    key = {"carrier": "UA", "flight": 7, "at": datetime(2013, 3, 1, tzinfo=UTC)}

    assert key_of(key, identity(key)) == {"carrier": "UA", "flight": 7, "at": "2013-03-01T00:00:00.000000Z"}
