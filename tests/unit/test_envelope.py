"""The envelope: identities by column, the columns of the logs, and frames brought into them."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Annotated, Literal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime

from perene import PII, Label, Log, Model, Row
from perene.definition.row import RowSchema
from perene.errors import StorageError
from perene.records.identity import digest_of, identity
from perene.storage.envelope import (
    INSTANT,
    conform,
    conform_lazily,
    examples_columns,
    keys,
    predictions_columns,
    truths_columns,
)

quick = settings(max_examples=80, deadline=None)


class Size(enum.Enum):
    SMALL = "s"
    LARGE = 'l"'


class Thing(Row):
    """A key field of each kind."""

    text: str | None
    number: int | None
    flag: bool | None
    day: date | None
    at: AwareDatetime | None
    size: Size | None
    origin: Literal["EWR", "J/K"] | None


SCHEMA = RowSchema(Thing)
FIELDS = list(SCHEMA.polars)
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-11))])
things = st.fixed_dictionaries(
    {
        "text": st.none() | st.text(max_size=5) | st.sampled_from(['"', "\\", "\n", "</", "é", "\u2028", "null", "1"]),
        "number": st.none() | st.integers(-(2**63), 2**63 - 1),
        "flag": st.none() | st.booleans(),
        "day": st.none() | st.dates(),
        "at": st.none() | st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=zones),  # noqa: DTZ001
        "size": st.none() | st.sampled_from(Size),
        "origin": st.none() | st.sampled_from(["EWR", "J/K"]),
    }
)


def frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    """The rows as they are logged."""
    plain = [{n: v.value if isinstance(v, enum.Enum) else v for n, v in row.items()} for row in rows]
    utc = [row | {"at": row["at"] and row["at"].astimezone(UTC)} for row in plain]
    return pl.DataFrame(utc, schema=dict(SCHEMA.polars))


@given(st.lists(things, min_size=1, max_size=6), st.lists(st.sampled_from(FIELDS), min_size=1, unique=True))
@quick
def test_identities_by_column_are_those_of_single_rows(rows: list[dict[str, object]], key: list[str]) -> None:
    """For every kind of key field, in any order of them, null too: ``keys`` gives what ``identity`` gives."""
    assert keys(frame(rows), key).to_list() == [identity({name: row[name] for name in key}) for row in rows]


@given(things, things, st.lists(st.sampled_from(FIELDS), min_size=1, unique=True))
@quick
def test_two_things_have_two_identities(one: dict[str, object], other: dict[str, object], key: list[str]) -> None:
    """They are equal exactly where the values of the key are."""
    same = all(one[name] == other[name] for name in key)

    assert (identity({n: one[n] for n in key}) == identity({n: other[n] for n in key})) is same


def test_identities_are_what_they_were() -> None:
    """Logs hold them: they may not change."""
    row = {
        "text": 'Zoë "q"\\\n',
        "number": -7,
        "flag": True,
        "day": date(2013, 3, 1),
        "at": datetime(2013, 3, 1, 5, tzinfo=timezone(timedelta(hours=-5))),
        "size": Size.LARGE,
        "origin": None,
    }
    old = {"at": datetime(13, 3, 1, tzinfo=UTC)}

    assert identity(row) == r'["Zoë \"q\"\\\n",-7,true,"2013-03-01","2013-03-01T10:00:00.000000Z","l\"",null]'
    assert identity(old) == '["0013-03-01T00:00:00.000000Z"]'
    assert digest_of(row) == digest_of(dict(reversed(row.items())))


def test_no_rows_have_no_identities() -> None:
    """An empty frame gives an empty column of text."""
    assert keys(frame([]), ["text", "number", "at"]).dtype == pl.String
    assert keys(frame([]), ["text", "number", "at"]).is_empty()


# ── the columns ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Parcel(Row):
    """A parcel on its way."""

    number: int
    sent_at: AwareDatetime
    grams: float
    sender: Annotated[str, PII]
    secret: Annotated[str | None, Log(False)] = None


def a_model(label: Label) -> Model:
    return Model("parcel", row=Parcel, key="number", at="sent_at", label=label, train_on="30d", test_on="5d")


HOURS = a_model(Label("hours", float, known_at="came_at", wait="3d"))
FATE = a_model(Label("fate", Literal["lost", "came"], known_at="came_at", wait="3d"))


@pytest.mark.parametrize("columns", [predictions_columns, truths_columns, examples_columns])
def test_every_log_says_what_about_when_and_by_which_append(columns) -> None:
    """Identity, times, number and partition have one name and type in all three logs."""
    found = columns(HOURS)

    shared = {"key": pl.String(), "event_at": INSTANT, "recorded_at": INSTANT, "ingest": pl.Int64(), "day": pl.Date()}
    assert {name: found[name] for name in shared} == shared


def test_the_prediction_log_keeps_out_what_is_not_to_be_logged() -> None:
    """A request is logged without fields that are marked so; examples have every field."""
    logged = predictions_columns(HOURS)["request"]

    assert [field.name for field in logged.fields] == ["number", "sent_at", "grams", "sender"]
    assert "secret" in [field.name for field in examples_columns(HOURS)["row"].fields]


def test_raw_output_is_a_number_or_one_for_each_class() -> None:
    """The label's task gives the type of raw outputs, of the steps and of labels."""
    assert predictions_columns(HOURS)["raw"] == pl.Float64
    assert predictions_columns(FATE)["raw"] == pl.List(pl.Float64)
    assert predictions_columns(FATE)["steps"] == pl.List(pl.List(pl.Float64))
    assert (truths_columns(FATE)["label"], examples_columns(HOURS)["label"]) == (pl.String, pl.Float64)


# ── frames ───────────────────────────────────────────────────────────────────────────────────────────────────────────

COLUMNS = {
    "key": pl.String(),
    "n": pl.Int64(),
    "row": pl.Struct({"x": pl.Float64(), "y": pl.String()}),
    "ingest": pl.Int64(),
}


def test_a_frame_gets_the_columns_of_its_log() -> None:
    """In their order and types; what is missing is null, the number of the append is left to the lake."""
    found = conform(pl.DataFrame({"n": [1], "key": ["a"]}, schema={"n": pl.Int32, "key": pl.String}), COLUMNS)

    assert found.schema == pl.Schema({name: dtype for name, dtype in COLUMNS.items() if name != "ingest"})
    assert found.rows() == [("a", 1, None)]


def test_a_struct_is_brought_in_by_the_names_of_its_fields() -> None:
    """Their order does not matter, and one that is missing is null."""
    given_ = pl.DataFrame({"row": [{"y": "a", "x": 1.0}]})
    without = pl.DataFrame({"row": [{"y": "a"}]})

    assert conform(given_, COLUMNS)["row"].to_list() == [{"x": 1.0, "y": "a"}]
    assert conform(without, COLUMNS)["row"].to_list() == [{"x": None, "y": "a"}]


def test_a_column_that_the_log_does_not_have_is_refused() -> None:
    """Unless it is named as one more; then it comes as it is, where it is there."""
    frame_ = pl.DataFrame({"key": ["a"], "more": [1.5]})

    with pytest.raises(StorageError, match="no column more"):
        conform(frame_, COLUMNS)
    assert conform(frame_, COLUMNS, more=("more", "absent"))["more"].to_list() == [1.5]


def test_a_column_that_does_not_fit_its_type_is_refused() -> None:
    """Nothing is turned into null in silence."""
    for values in (["one"], [2.5e30]):
        with pytest.raises(StorageError, match="does not fit"):
            conform(pl.DataFrame({"n": values}), COLUMNS)


def test_a_table_gets_todays_columns_as_it_is_read() -> None:
    """What came later is null in old rows, fields of a struct too; what the question does not name is left out."""
    table = pl.LazyFrame({"key": ["a"], "row": [{"x": 1.0}], "gone": [1]})

    found = conform_lazily(table, COLUMNS).collect()

    assert found.schema == pl.Schema(COLUMNS)
    assert found.rows() == [("a", None, {"x": 1.0, "y": None}, None)]
