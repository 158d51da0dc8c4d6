"""Rows: what can be declared, and what is said of rows that do not fit."""

import enum
import time
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal, Optional

import numpy as np
import polars as pl
import pytest
from annotated_types import Gt, Len, Predicate
from pydantic import AwareDatetime, Field, field_validator, model_validator

from perene import PII, Log, Row
from perene.definition.row import RowSchema
from perene.errors import BadField, BadRows, DataError, DeclarationError


class Port(enum.Enum):
    EWR = "EWR"
    JFK = "JFK"


class Flight(Row):
    """A flight that is due to leave."""

    carrier: Annotated[str, Len(2, 2)]
    flight: int
    origin: Port
    sched_dep: AwareDatetime
    distance: Annotated[float, Gt(0)]
    day: date | None = None
    temp: float | None = None
    crew: Annotated[str, PII, Log(False)] = "unknown"


SCHEMA = RowSchema(Flight)
GOOD = {"carrier": "UA", "flight": 1, "origin": "EWR", "sched_dep": "2013-01-01T10:00:00Z", "distance": 10}


def frame(n: int) -> pl.DataFrame:
    return SCHEMA.parse_json([GOOD | {"flight": i, "distance": 100.0 + i} for i in range(n)])


def test_columns_have_the_declared_types():
    """Each field becomes a column of one type, in the order of the declaration."""
    assert SCHEMA.polars == {
        "carrier": pl.String(),
        "flight": pl.Int64(),
        "origin": pl.String(),
        "sched_dep": pl.Datetime("us", "UTC"),
        "distance": pl.Float64(),
        "day": pl.Date(),
        "temp": pl.Float64(),
        "crew": pl.String(),
    }


def test_fields_know_their_facts():
    """A field knows its choices, whether it may be null or left out, and its markers."""
    assert SCHEMA["origin"].choices == ("EWR", "JFK")
    assert (SCHEMA["temp"].nullable, SCHEMA["temp"].required) == (True, False)
    assert (SCHEMA["crew"].pii, SCHEMA["crew"].logged) == (True, False)
    assert (SCHEMA["flight"].pii, SCHEMA["flight"].logged) == (False, True)


def test_markers_are_found_inside_optional_types():
    """A marker counts wherever in the annotation it stands."""

    class Deep(Row):
        a: Annotated[str, PII()] | None
        b: Optional[Annotated[str, Log(False)]] = None  # noqa: UP045 - the older spelling must work too

    fields = {field.name: field for field in RowSchema(Deep).fields}

    assert fields["a"].pii
    assert not fields["b"].logged


def test_description_is_the_docstring():
    """A Row's docstring is its description; without one there is none."""

    class Bare(Row):
        x: int

    assert SCHEMA.description == "A flight that is due to leave."
    assert RowSchema(Bare).description == ""


def test_digest_follows_the_fields():
    """The digest changes with a field's constraints and not with the class's name."""

    class A(Row):
        x: Annotated[int, Gt(0)]

    class B(Row):
        x: Annotated[int, Gt(0)]

    class C(Row):
        x: Annotated[int, Gt(1)]

    assert RowSchema(A).digest == RowSchema(B).digest != RowSchema(C).digest


def test_request_becomes_a_frame():
    """Rows of JSON become a frame of the exact types, instants in UTC, left-out fields by their defaults."""
    row = SCHEMA.parse_json([GOOD | {"sched_dep": "2013-01-01T05:00:00-05:00"}])

    assert row.schema == pl.Schema(SCHEMA.polars)
    assert row.row(0) == ("UA", 1, "EWR", datetime(2013, 1, 1, 10, tzinfo=UTC), 10.0, None, None, "unknown")


def test_no_more_is_told_than_can_be_read():
    """Of very many bad fields 1,000 are named, and all bad rows counted; of a row that is far too wide, only that."""
    many, wide = [{"x": 1}] * 2000, [{str(n): 1 for n in range(5000)}]

    with pytest.raises(BadRows) as of_many:
        SCHEMA.parse_json(many)
    with pytest.raises(BadRows) as of_wide:
        SCHEMA.parse_json(wide)

    assert len(of_many.value.fields) == 1000
    assert of_many.value.what.startswith("2000 of 2000 rows")
    assert [(f.row, f.field) for f in of_wide.value.fields] == [(0, "")]
    assert "5,000 fields" in of_wide.value.fields[0].what


def test_every_bad_row_and_field_is_named():
    """A refusal names each bad field of each bad row, in the order sent."""
    rows = [
        GOOD,
        5,
        GOOD | {"x": 1, "carier": "UA"},
        {
            "carrier": "A",
            "distance": -1,
            "origin": "X",
            "sched_dep": "2013-01-01T00:00:00",
            "flight": True,
            "temp": "1",
        },
    ]

    with pytest.raises(BadRows) as refused:
        SCHEMA.parse_json(rows)

    assert refused.value.what == "3 of 4 rows do not fit Flight"
    assert set(refused.value.fields) == {
        BadField(row=1, field="", what="must be an object with the Row's fields"),
        BadField(row=2, field="x", what="is not known"),
        BadField(row=2, field="carier", what="is not known; did you mean carrier?"),
        BadField(row=3, field="carrier", what="must have at least 2 characters"),
        BadField(row=3, field="flight", what="must be an integer"),
        BadField(row=3, field="origin", what="must be one of EWR, JFK"),
        BadField(
            row=3, field="sched_dep", what="must be an instant with its time zone, as 2013-01-31T17:00:00Z"
        ),
        BadField(row=3, field="distance", what="must be greater than 0"),
        BadField(row=3, field="temp", what="must be a finite number"),
    }  # fmt: skip


def test_missing_and_null_are_told_apart():
    """A field that was not sent is missing; one that was sent as null must not be null."""
    with pytest.raises(BadRows) as refused:
        SCHEMA.parse_json([{k: v for k, v in GOOD.items() if k != "flight"} | {"carrier": None}])

    assert {(f.field, f.what) for f in refused.value.fields} == {
        ("flight", "is missing"),
        ("carrier", "must not be null"),
    }


def test_no_rows_are_an_empty_frame():
    """A request without rows is an empty frame of the right types."""
    assert SCHEMA.parse_json([]).schema == pl.Schema(SCHEMA.polars)


def test_python_values_become_a_frame():
    """Datetimes, dates and enum members of Python are taken as they are."""
    when = datetime(2013, 1, 1, 10, tzinfo=UTC)
    record = GOOD | {"origin": Port.JFK, "sched_dep": when, "day": date(2013, 1, 1)}

    row = SCHEMA.frame([record]).row(0, named=True)

    assert (row["origin"], row["sched_dep"], row["day"]) == ("JFK", when, date(2013, 1, 1))


def test_python_values_are_checked_too():
    """A datetime without a zone is refused among Python's values."""
    with pytest.raises(BadRows, match="1 of 1 row does not fit Flight"):
        SCHEMA.frame([GOOD | {"sched_dep": datetime(2013, 1, 1, 10)}])  # noqa: DTZ001 - a naive time is the point


@pytest.mark.parametrize("convert", [pl.DataFrame.to_pandas, pl.DataFrame.to_arrow, pl.DataFrame.lazy])
def test_frames_of_other_kinds_are_checked(convert):
    """pandas, Arrow and lazy frames are checked as polars frames are."""
    checked = SCHEMA.check(convert(frame(5)))

    assert checked.bad == ()
    assert checked.good.equals(frame(5))


def test_what_is_no_frame_is_refused():
    """A list of dicts is not a frame."""
    with pytest.raises(DataError, match="list is not a frame"):
        SCHEMA.check([GOOD])


def test_harmless_casts_are_made():
    """Narrower numbers, other time units and zones, and categories become the declared types."""
    other = frame(3).with_columns(
        pl.col("flight").cast(pl.Int16),
        pl.col("distance").cast(pl.Float32),
        pl.col("origin").cast(pl.Categorical),
        pl.col("sched_dep").dt.convert_time_zone("Asia/Kolkata").dt.cast_time_unit("ns"),
    )

    checked = SCHEMA.check(other)

    assert checked.bad == ()
    assert checked.good.equals(frame(3))


def test_bad_rows_are_parted_from_good_ones():
    """Good rows are kept, bad ones counted by field and reason, with a sample."""
    rows = frame(10).with_columns(
        distance=pl.when(pl.col("flight") < 3).then(-1.0).otherwise("distance"),
        carrier=pl.when(pl.col("flight") == 2).then(None).otherwise("carrier"),
    )

    checked = SCHEMA.check(rows)

    assert checked.good["flight"].to_list() == list(range(3, 10))
    assert checked.bad_rows.to_list() == [True] * 3 + [False] * 7
    assert [(b.field, b.what, b.rows) for b in checked.bad] == [
        ("carrier", "must not be null", 1),
        ("distance", "must be greater than 0", 3),
    ]
    assert [row["flight"] for row in checked.bad[1].sample] == [0, 1, 2]


def test_samples_hide_what_is_not_logged():
    """A sample of bad rows never shows a field that is not to be logged."""
    checked = SCHEMA.check(frame(1).with_columns(distance=-1.0, crew=pl.lit("Ann")))

    assert checked.bad[0].sample[0]["crew"] == "(not logged)"


def test_samples_survive_times_that_python_cannot_show():
    """Instants outside the years 1 to 9999 are refused, and the sample says so instead of failing."""
    beyond = pl.Series("sched_dep", [2**62]).cast(pl.Datetime("ms", "Asia/Tokyo"))

    checked = SCHEMA.check(frame(1).with_columns(beyond))

    assert checked.bad[0].sample[0]["sched_dep"] == "(outside the years 1 to 9999)"


def test_times_without_a_zone_are_refused():
    """A column of naive datetimes is refused whole, and the reason says so."""
    checked = SCHEMA.check(frame(2).with_columns(pl.col("sched_dep").dt.replace_time_zone(None)))

    assert checked.good.height == 0
    assert checked.bad[0].what.endswith("the column is of times without a zone")


def test_missing_columns():
    """A missing optional column gets its default; a missing required one makes every row bad."""
    checked = SCHEMA.check(frame(2).drop("temp", "crew"))
    refused = SCHEMA.check(frame(2).drop("flight"))

    assert checked.good.select("temp", "crew").rows() == [(None, "unknown")] * 2
    assert [(b.field, b.what, b.rows) for b in refused.bad] == [("flight", "is missing", 2)]


def test_a_frame_with_none_of_the_columns():
    """Rows that have nothing to do with the Row are all bad, each field that must come by name."""
    checked = SCHEMA.check(pl.DataFrame({"colour": ["red", "blue"]}))

    assert {b.field for b in checked.bad} >= {"flight"}
    assert all(b.rows == 2 for b in checked.bad)
    assert checked.bad[0].sample == [{}, {}]


def test_misspelt_optional_column_is_not_taken_for_a_missing_one():
    """An optional column that came under a very close name is refused instead of being null for ever."""
    checked = SCHEMA.check(frame(2).rename({"temp": "tempp"}))

    assert checked.bad[0].what == "is missing; the column tempp is not known: is it meant?"


def test_unknown_columns_are_named_and_left_out():
    """Columns that the Row does not know are named and not in the good rows."""
    checked = SCHEMA.check(frame(2).with_columns(landed_at=pl.lit(1)))

    assert checked.extra == ("landed_at",)
    assert checked.good.columns == list(SCHEMA.polars)


def test_mixed_python_objects_of_pandas_are_refused():
    """A pandas column of mixed objects is refused as a column, not as an error of a library."""
    import pandas as pd

    checked = SCHEMA.check(frame(2).to_pandas().assign(flight=pd.Series([1, "x"], dtype=object)))

    assert checked.bad[0].what == "must be an integer; the column is of mixed Python objects"


def test_a_million_rows_are_checked_in_a_second():
    """A million rows of eight columns are checked in well under a second a column."""
    n = 1_000_000
    many = pl.DataFrame(
        {
            "carrier": pl.Series(["UA"]).new_from_index(0, n),
            "flight": np.arange(n),
            "origin": pl.Series(["EWR", "JFK"] * (n // 2)),
            "sched_dep": pl.Series([datetime(2013, 1, 1, tzinfo=UTC)]).new_from_index(0, n),
            "distance": np.arange(n) + 1.0,
        }
    )
    start = time.perf_counter()

    checked = SCHEMA.check(many)

    assert checked.good.height == n
    assert time.perf_counter() - start < 4


def mistakes_of(row) -> list[str]:
    with pytest.raises(DeclarationError) as refused:
        RowSchema(row)
    return [mistake.what for mistake in refused.value.mistakes]


def test_all_mistakes_of_a_row_are_reported_with_their_lines():
    """Every field that a column cannot hold or check is reported at once, at its line."""

    class Bad(Row):
        tags: list[str]
        when: datetime
        share: float = None
        code: Annotated[str, Predicate(str.islower)]
        seats: Literal["a", 2]
        label: int
        size: Annotated[float, Field(multiple_of=0.5)]
        weight: Annotated[float, Field(allow_inf_nan=True)]
        short: Annotated[str, Field(alias="s")]
        made: str = Field(default_factory=str)
        either: int | str

    with pytest.raises(DeclarationError) as refused:
        RowSchema(Bad)

    found = {m.what.split()[0]: m for m in refused.value.mistakes}
    assert list(found) == [f"Bad.{name}" for name in Bad.model_fields]
    lines = [int(m.where.rpartition(":")[2]) for m in refused.value.mistakes]
    assert lines == list(range(lines[0], lines[0] + len(lines)))
    assert found["Bad.when"].what == "Bad.when is a time without a zone; declare AwareDatetime"
    assert found["Bad.when"].where.rpartition(":")[0].endswith("test_definition_row.py")


def test_validators_are_refused():
    """A validator of values or rows cannot be run on columns, so it is refused."""

    class Values(Row):
        x: int

        @field_validator("x")
        @classmethod
        def even(cls, x):
            return x

    class Rows(Row):
        x: int

        @model_validator(mode="after")
        def fits(self):
            return self

    assert "has a validator" in mistakes_of(Values)[0]
    assert "checks or changes whole rows" in mistakes_of(Rows)[0]


def test_loosened_configuration_is_refused():
    """A Row that changes pydantic's configuration is refused, so that nothing is loosened."""

    class Loose(Row):
        model_config = {"extra": "ignore", "str_strip_whitespace": True}  # noqa: RUF012 - pydantic's way
        x: int

    assert [what.partition(";")[0] for what in mistakes_of(Loose)] == [
        "Loose changes model_config['extra']",
        "Loose changes model_config['str_strip_whitespace']",
    ]


def test_row_without_fields_is_refused():
    """A Row must have fields."""

    class Empty(Row):
        pass

    assert mistakes_of(Empty) == ["Empty has no fields"]


def test_rows_are_frozen_and_strict_in_python_too():
    """A Row object refuses text for numbers, unknown fields and changes."""
    flight = Flight(**GOOD | {"origin": Port.EWR, "sched_dep": datetime(2013, 1, 1, tzinfo=UTC) + timedelta(0)})

    with pytest.raises(ValueError, match="frozen"):
        flight.flight = 2
    with pytest.raises(ValueError, match="valid integer"):
        Flight(**flight.model_dump() | {"flight": "1"})


def test_json_schema_is_there():
    """A Row gives its JSON Schema."""
    assert SCHEMA.json_schema()["properties"]["distance"]["exclusiveMinimum"] == 0
