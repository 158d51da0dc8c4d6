"""The check of a request and the check of columns never disagree."""

import enum
import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Annotated, Literal

import polars as pl
from annotated_types import Ge, Gt, Interval, Le, Len, Lt, MultipleOf
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import AwareDatetime, Field, ValidationError

from perene import Row
from perene.definition.row import RowSchema
from perene.errors import BadRows


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


class Everything(Row):
    """A field of each kind and rule."""

    text: Annotated[str, Len(1, 3)]
    coded: Annotated[str, Field(pattern=r"^[A-Zé]+\d?$")] | None
    origin: Literal["EWR", "JFK"]
    size: Size | None
    count: Annotated[int, Ge(-2), Lt(5), MultipleOf(2)]
    big: int
    share: Annotated[float, Interval(gt=0, le=1)]
    free: float | None
    flag: bool
    at: Annotated[AwareDatetime, Ge(datetime(2013, 1, 1, tzinfo=UTC))]
    ever: AwareDatetime | None
    day: Annotated[date, Gt(date(2013, 1, 1)), Le(date(2014, 1, 1))]


SCHEMA = RowSchema(Everything)
GOOD: dict[str, object] = {
    "text": "a",
    "coded": None,
    "origin": "EWR",
    "size": "s",
    "count": 2,
    "big": 1,
    "share": 0.5,
    "free": None,
    "flag": True,
    "at": datetime(2013, 5, 1, tzinfo=UTC),
    "ever": None,
    "day": date(2013, 5, 1),
}
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5)), timezone(timedelta(hours=-8)), None])
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-6, 8),
    st.sampled_from([-(2**63), 2**63 - 1, 2**53 + 1]),
    st.floats(),
    st.floats(-1, 2),
    st.text(st.characters(codec="utf-8"), max_size=4),
    st.sampled_from(["EWR", "JFK", "s", "l", "A1", "é", "ABC\n", "e\u0301"]),
    st.datetimes(timezones=ZONES),
    st.datetimes(datetime(2012, 12, 31), datetime(2013, 1, 2), timezones=ZONES),  # noqa: DTZ001 - bounds are naive
    st.dates(),
    st.dates(date(2012, 12, 30), date(2014, 1, 3)),
)


def as_json(value: object) -> object:
    return value.isoformat() if isinstance(value, date) else value


def accepted(rows: list[dict[str, object]], *, json_mode: bool) -> pl.DataFrame | None:
    try:
        return SCHEMA.parse_json(rows) if json_mode else SCHEMA.frame(rows)
    except BadRows:
        return None


def column_of(name: str, value: object) -> pl.DataFrame:
    frame = SCHEMA.frame([GOOD])
    kind = (
        pl.Datetime("us", str(value.tzinfo and "UTC") if value.tzinfo else None)
        if isinstance(value, datetime)
        else None
    )
    return frame.with_columns(pl.Series(name, [value], dtype=kind))


@given(name=st.sampled_from(sorted(GOOD)), value=VALUES)
@example(name="at", value=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5))))
@example(name="ever", value=datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-8))))
@example(name="share", value=math.nan)
@example(name="free", value=math.inf)
@example(name="free", value=3)
@example(name="count", value=2.0)
@example(name="count", value=True)
@example(name="day", value=datetime(2013, 5, 1, tzinfo=UTC))
def test_request_python_and_column_agree(name, value):
    """A value is accepted as JSON, as a Python value and in a column, or in none of them, and becomes the same."""
    row = GOOD | {name: value}

    from_json = accepted([{field: as_json(item) for field, item in row.items()}], json_mode=True)
    from_python = accepted([row], json_mode=False)
    checked = SCHEMA.check(column_of(name, value))

    verdicts = {from_json is not None, from_python is not None, checked.bad == ()}
    assert len(verdicts) == 1, (from_json, from_python, checked.bad)
    if from_json is not None:
        assert from_json.equals(checked.good)
        assert from_json.equals(from_python)


@given(name=st.sampled_from(sorted(GOOD)), value=VALUES)
def test_refusals_say_the_same(name, value):
    """refused values: Python's value and the column name the same field, and the same words."""
    row = GOOD | {name: value}
    try:
        SCHEMA.frame([row])
    except BadRows as refused:
        said = [(field.field, field.what) for field in refused.fields]

        checked = SCHEMA.check(column_of(name, value))

        found = [(bad.field, bad.what.partition("; the column")[0]) for bad in checked.bad]
        assert said[0] in found
        assert {field for field, _ in found} == {name}


@given(name=st.sampled_from(sorted(GOOD)), value=VALUES)
def test_pydantic_itself_agrees(name, value):
    """What pydantic's own strict JSON mode says of a Row, parse_json says; only integers have 64 bits here."""
    row = {field: as_json(item) for field, item in (GOOD | {name: value}).items()}
    text = json.dumps(row)
    try:
        Everything.model_validate_json(text, strict=True)
        fits = True
    except ValidationError:
        fits = False

    try:
        mine = accepted([row], json_mode=True) is not None
    except OverflowError:
        mine = False

    assert mine == fits or (mine is False and isinstance(value, datetime))


@given(name=st.sampled_from(sorted(GOOD)), value=VALUES)
@example(name="share", value=1)
@example(name="ever", value=datetime.min.replace(tzinfo=UTC))
@example(name="ever", value=datetime.max.replace(tzinfo=UTC))
@example(name="day", value=date(2013, 12, 31))
def test_plain_values_are_the_frames(name, value):
    """A request's rows as plain values are, with the order and types of their fields, what its frame holds."""
    rows = [
        {field: as_json(item) for field, item in ({name: value} | row).items()} for row in (GOOD, GOOD | {name: value})
    ]
    if accepted(rows, json_mode=True) is None:
        return

    frame, plain = SCHEMA.read_json(rows)

    whole = [s.cast(pl.Int64) if s.dtype.is_temporal() else s for s in frame]
    wanted = [dict(zip(frame.columns, cells, strict=True)) for cells in zip(*whole, strict=True)]
    assert [list(row.items()) for row in plain] == [list(row.items()) for row in wanted]
    assert [[type(cell) for cell in row.values()] for row in plain] == [[*map(type, row.values())] for row in wanted]


@given(st.lists(st.sampled_from([2, 4, 3, -2, 7, None]), min_size=1, max_size=30))
def test_rows_are_judged_one_by_one(counts):
    """In a batch each row is judged as it would be alone."""
    rows = pl.concat([SCHEMA.frame([GOOD])] * len(counts)).with_columns(pl.Series("count", counts, dtype=pl.Int8))

    checked = SCHEMA.check(rows)

    alone = [accepted([GOOD | {"count": count}], json_mode=False) is None for count in counts]
    assert checked.bad_rows.to_list() == alone
    assert checked.good["count"].to_list() == [c for c, bad in zip(counts, alone, strict=True) if not bad]


def test_numbers_of_seconds_are_no_instants():
    """A text of digits is not an instant, although pydantic alone would read seconds since 1970 in it."""
    row = {field: as_json(value) for field, value in GOOD.items()}

    assert accepted([row | {"ever": "1700000000"}], json_mode=True) is None
    assert accepted([row | {"day": "15700"}], json_mode=True) is None


def test_halves_of_characters_are_refused():
    """A lone surrogate, which JSON can spell and a column cannot hold, is refused."""
    row = {field: as_json(value) for field, value in GOOD.items()}

    assert accepted([row | {"text": json.loads('"\\ud800"')}], json_mode=True) is None
    assert accepted([row | {"origin": json.loads('"\\ud800"')}], json_mode=True) is None


def test_integers_beyond_64_bits_are_refused():
    """An integer that no column can hold is refused in a request and in a wider column."""
    row = {field: as_json(value) for field, value in GOOD.items()}
    wide = SCHEMA.frame([GOOD]).with_columns(big=pl.Series([2**64 - 1], dtype=pl.UInt64))

    assert accepted([row | {"big": 2**63}], json_mode=True) is None
    assert [bad.field for bad in SCHEMA.check(wide).bad] == ["big"]


@given(st.integers(-(10**15), 10**15))
def test_nanoseconds_are_cut_alike(nanoseconds):
    """Beyond microseconds a request's text and a column of nanoseconds are cut the same way."""
    column = SCHEMA.frame([GOOD]).with_columns(ever=pl.Series([nanoseconds]).cast(pl.Datetime("ns", "UTC")))
    whole, rest = divmod(nanoseconds, 10**9)
    text = f"{(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=whole)):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
    row = {field: as_json(value) for field, value in GOOD.items()} | {"ever": text}

    assert SCHEMA.check(column).good["ever"][0] == SCHEMA.parse_json([row])["ever"][0]
