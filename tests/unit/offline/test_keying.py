"""Keys as callers give them are the identities under which predictions are stored."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from enum import Enum
from typing import Literal
from urllib.parse import quote, unquote

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime

from perene import Label, Model, Row
from perene.errors import BadRows
from perene.pipelines.keying import parse_keys, read_key
from perene.storage.envelope import keys


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


class Thing(Row):
    """A key field of each kind."""

    number: int
    name: str
    day: date
    at: AwareDatetime
    flag: bool
    place: Literal["near", "far"]
    size: Size


def model(*key: str) -> Model:
    return Model(
        "things", row=Thing, key=key, at="at", label=Label("label", float), train_on="20d", test_on="10d",
        features=lambda rows: rows, train=lambda x, y: None, source=lambda since, until: None,
    )  # fmt: skip


WHOLE = model("number", "name", "day", "at", "flag", "place", "size")
ALONE = model("name")
things = st.fixed_dictionaries(
    {
        "number": st.integers(-(2**63), 2**63 - 1),
        "name": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
        "day": st.dates(date(1, 1, 1)),
        "at": st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(timezone(timedelta(hours=5)))),  # noqa: DTZ001
        "flag": st.booleans(),
        "place": st.sampled_from(["near", "far"]),
        "size": st.sampled_from(["s", "l"]),
    }
)


def identity_of(thing: dict[str, object], made: Model) -> list[str]:
    """The key under which a load stores a row."""
    return keys(made.schema.frame([thing]), made.key).to_list()


def texts(thing: dict[str, object]) -> list[str]:
    """The values as a person types them."""
    plain = {True: "true", False: "false"}
    values = [thing[name] for name in WHOLE.key]
    return [plain[v] if isinstance(v, bool) else v.isoformat() if isinstance(v, date) else str(v) for v in values]


@settings(max_examples=40, deadline=None)
@given(thing=things)
def test_every_form_of_a_key_is_the_identity_of_its_row(thing) -> None:
    """An object, a list, Python's values and an encoded path all find what a load stored of the row."""
    stored = identity_of(thing, WHOLE)
    plain = {n: v.isoformat() if isinstance(v, date) else v for n, v in thing.items()}
    path = ",".join(quote(text, safe="") for text in texts(thing))

    assert parse_keys(WHOLE, [plain]) == stored
    assert parse_keys(WHOLE, [[plain[n] for n in WHOLE.key]]) == stored
    assert parse_keys(WHOLE, [thing], is_json=False) == stored
    if not thing["name"].startswith("["):
        assert parse_keys(WHOLE, [read_key(WHOLE, path, decode=unquote)]) == stored


@settings(max_examples=40, deadline=None)
@given(name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).filter(lambda t: t[:1] != "["))
def test_the_value_of_an_only_field_may_hold_anything(name) -> None:
    """Commas and slashes in it are no separators."""
    stored = keys(pl.DataFrame({"name": [name]}), ("name",)).to_list()

    assert parse_keys(ALONE, [name]) == stored
    assert parse_keys(ALONE, [read_key(ALONE, quote(name, safe=""), decode=unquote)]) == stored


def test_what_begins_like_json_and_is_none_is_a_text() -> None:
    """[odd is a name; ["odd"] is the same name in JSON."""
    assert parse_keys(ALONE, [read_key(ALONE, "[odd")]) == ['["[odd"]']
    assert parse_keys(ALONE, [read_key(ALONE, '["odd"]')]) == ['["odd"]']


@pytest.mark.parametrize(
    ("key", "what"),
    [
        (["1"], "has 1 value, but a key is number, flag"),
        ([1, True, 3], "has 3 values"),
        ({"number": 1}, "flag"),
        ({"number": 1, "flag": True, "more": 2}, "more"),
        (["one", True], "number"),
        ([1, 0], "flag"),
        (None, "has 1 value"),
        ([2**70, True], "number"),
    ],
)
def test_a_wrong_key_is_named(key, what) -> None:
    """Which key, which field, and what it must be."""
    with pytest.raises(BadRows) as refused:
        parse_keys(model("number", "flag"), [[1, True], key])

    (bad, *_) = refused.value.fields
    assert bad.row == 1
    assert what in f"{bad.field} {bad.what}"
    assert "<number>,<flag>" in refused.value.mend


def test_times_are_one_instant_in_every_zone() -> None:
    """12:00+02:00 is 10:00Z."""
    made = model("at")
    there = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))

    assert parse_keys(made, ["2026-05-01T12:00:00+02:00"]) == parse_keys(made, [there], is_json=False)
    assert parse_keys(made, [there.astimezone(UTC)], is_json=False) == ['["2026-05-01T10:00:00.000000Z"]']
