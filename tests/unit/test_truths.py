"""Ground truth: rows of a request and columns in bulk are read by the same rules, and give the same lines."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Annotated, Any, Literal

import msgspec
import pandas as pd
import polars as pl
import pytest
from annotated_types import Gt
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime

from perene import PII, Label, Model, Row
from perene.definition.arrivals import arrived
from perene.errors import BadRows, DataError
from perene.pipelines.truths import check_truths, parse_truths, truths_entry, truths_frame, truths_of
from perene.storage.envelope import conform, truths_columns
from perene.storage.journal import Entry

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
RECORDED = datetime(2026, 5, 1, 12, 0, 5, tzinfo=UTC)
AT = datetime(2026, 4, 30, 23, 30, tzinfo=timezone(timedelta(hours=-5)))  # on 1 May in UTC
TERMS = {"now": NOW, "recorded_at": RECORDED, "source": "test"}


class Parcel(Row):
    """A parcel."""

    number: Annotated[int, Gt(0)]
    owner: Annotated[str, PII]
    zone: Literal["near", "far"] = "near"
    sent_at: AwareDatetime
    grams: float


def model_of(label: Label, *key: str) -> Model:
    names = key or ("number", "owner", "zone")
    return Model("parcels", row=Parcel, key=names, at="sent_at", label=label, train_on="30d", test_on="5d")


REGRESSION = model_of(Label("hours", float, known_at="came_at", wait="3d"))
BINARY = model_of(Label("late", bool, wait="3d"))
MULTICLASS = model_of(Label("fate", Literal["lost", "came"], known_at="came_at"))
MODELS = [REGRESSION, BINARY, MULTICLASS]
LABELS = {"hours": 2.5, "late": True, "fate": "came"}


def known_name(model: Model) -> str:
    return model.label.known_at or "known_at"


def good(model: Model, *, by_id: bool = False) -> dict[str, Any]:
    """A good row, of Python values."""
    subject = {"prediction_id": "p1"} if by_id else {"number": 3, "owner": "ana", "zone": "far", "sent_at": AT}
    return subject | {model.label.name: LABELS[model.label.name], known_name(model): NOW - timedelta(hours=1)}


def as_json(value: object) -> object:
    return value.isoformat() if isinstance(value, date) else value


def parsed(model: Model, rows: list[dict[str, Any]]) -> pl.DataFrame | set[tuple[int, str]]:
    """What a request of these rows becomes: lines of the log by way of the journal, or the places that are refused."""
    items = [{name: as_json(value) for name, value in row.items()} for row in rows]
    try:
        truths = parse_truths(model, items, **TERMS)
    except BadRows as error:
        return {(field.row, field.field) for field in error.fields}
    return truths_frame(model, truths_of([truths_entry(model.name, truths)]))


def checked(model: Model, frame: object) -> pl.DataFrame | set[tuple[int, str]]:
    """What columns become."""
    try:
        return check_truths(model, arrived(frame), **TERMS)
    except BadRows as error:
        return {(field.row, field.field) for field in error.fields}


def columns_of(rows: list[dict[str, Any]], name: str, kind: pl.DataType | None) -> pl.DataFrame:
    """Good columns, but for one."""
    frame = pl.DataFrame([{k: v for k, v in row.items() if k != name} for row in rows])
    return frame.with_columns(pl.Series(name, [row[name] for row in rows], dtype=kind))


# ── agreement ────────────────────────────────────────────────────────────────────────────────────────────────────────

ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-8))])
KINDS: list[tuple[pl.DataType, st.SearchStrategy[object]]] = [
    (pl.Boolean(), st.booleans()),
    (pl.Int64(), st.integers(-3, 7) | st.sampled_from([-(2**63), 2**63 - 1, 2**53 + 1])),
    (pl.Float64(), st.floats() | st.sampled_from([0.0, 1.0, math.nan, math.inf])),
    (
        pl.String(),
        st.sampled_from(["", "a", "lost", "came", "stolen", "near", "far", "1", "x" * 200, "x" * 201, "é" * 200]),
    ),
    (pl.Datetime("us", "UTC"), st.datetimes(timezones=ZONES)),
    (
        pl.Datetime("us", "UTC"),
        st.integers(-90, 90).map(lambda s: NOW + timedelta(seconds=s)) | st.just(NOW + timedelta(minutes=1)),
    ),
    (pl.Datetime("us"), st.datetimes()),
    (pl.Date(), st.dates()),
    (pl.Null(), st.none()),
]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Model, str, pl.DataType | None, list[dict[str, Any]]]:
    """A model, and good rows but for one field, which holds values of one kind, each good or bad."""
    model = draw(st.sampled_from(MODELS))
    row = good(model, by_id=draw(st.booleans()))
    name = draw(st.sampled_from(sorted(row)))
    is_text = name in ("prediction_id", "owner")  # JSON has no times: as a text one is a text
    kind, values = draw(st.sampled_from([(k, v) for k, v in KINDS if not (is_text and k.is_temporal())]))
    drawn = draw(st.lists(values | st.none(), min_size=1, max_size=6))
    return model, name, kind, [row | {name: value} for value in drawn]


@given(cases())
@settings(max_examples=200, deadline=None)
def test_a_request_and_columns_agree_row_for_row(case) -> None:
    """The same rows are refused for the same fields, or give the same lines, cell for cell."""
    model, name, kind, rows = case

    from_rows, from_columns = parsed(model, rows), checked(model, columns_of(rows, name, kind))

    if isinstance(from_rows, pl.DataFrame):
        assert isinstance(from_columns, pl.DataFrame), from_columns
        assert from_rows.equals(from_columns)
        assert from_rows.schema == from_columns.schema
    else:
        assert from_rows == from_columns


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=12))
@settings(deadline=None)
def test_each_bad_cell_is_named_and_no_other(flaws) -> None:
    """Rows with several bad fields, among good ones: exactly those cells, in a request and in columns."""
    rows = [
        good(REGRESSION)
        | ({"number": -1} if number else {})
        | ({"hours": math.nan} if label else {})
        | ({"came_at": NOW + timedelta(days=1)} if ahead else {})
        for number, label, ahead in flaws
    ]
    bad = {
        (n, name)
        for n, flags in enumerate(flaws)
        for name, flag in zip(("number", "hours", "came_at"), flags, strict=True)
        if flag
    }

    for found in (parsed(REGRESSION, rows), checked(REGRESSION, pl.DataFrame(rows))):
        assert (set() if isinstance(found, pl.DataFrame) else found) == bad


@pytest.mark.parametrize("model", MODELS, ids=["regression", "binary", "multiclass"])
@pytest.mark.parametrize("by_id", [False, True])
def test_the_lines_are_those_of_the_log(model, by_id) -> None:
    """Every column has the type that the envelope declares; the day is the event's in UTC, or the truth's."""
    rows = [good(model, by_id=by_id), good(model, by_id=by_id) | {model.label.name: None, known_name(model): None}]

    for lines in (parsed(model, rows), checked(model, pl.DataFrame(rows))):
        assert isinstance(lines, pl.DataFrame)
        assert lines.schema == conform(lines, truths_columns(model)).schema
        assert lines["label"].to_list() == [LABELS[model.label.name], None]
        assert lines["retracted"].to_list() == [False, True]
        assert lines["known_at"].to_list() == [NOW - timedelta(hours=1), NOW]
        assert lines["recorded_at"].to_list() == [RECORDED] * 2
        assert lines["day"].to_list() == [date(2026, 5, 1)] * 2
        key = None if by_id else '[3,"ana","far"]'
        assert lines["key"].to_list() == [key] * 2
        assert lines["event_at"].to_list() == [None if by_id else AT.astimezone(UTC)] * 2
        assert lines["prediction_id"].to_list() == ["p1" if by_id else None] * 2


@pytest.mark.parametrize("model", MODELS, ids=["regression", "binary", "multiclass"])
def test_a_truth_gives_its_line_also_without_a_journal(model) -> None:
    """In whatever zone its times were written."""
    row = {name: as_json(value) for name, value in good(model).items()}

    direct = truths_frame(model, parse_truths(model, [row], **TERMS))

    assert direct.equals(parsed(model, [row]))


# ── what is taken ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_null_takes_a_truth_back_and_a_missing_label_does_not() -> None:
    """To say nothing of the label is a mistake."""
    row = good(REGRESSION, by_id=True)
    silent = {name: value for name, value in row.items() if name != "hours"}

    (truth,) = parse_truths(REGRESSION, [{name: as_json(v) for name, v in (row | {"hours": None}).items()}], **TERMS)

    assert truth.label is None
    assert parsed(REGRESSION, [silent]) == {(0, "hours")}
    with pytest.raises(DataError, match="missing hours"):
        checked(REGRESSION, pl.DataFrame([silent]))


def test_what_does_not_say_when_it_was_known_is_known_now() -> None:
    """As a row without the field, or a table without the column."""
    row = {name: value for name, value in good(BINARY).items() if name != "known_at"}

    for lines in (parsed(BINARY, [row]), checked(BINARY, pl.DataFrame([row]))):
        assert isinstance(lines, pl.DataFrame)
        assert lines["known_at"].to_list() == [NOW]


@pytest.mark.parametrize(("ahead", "taken"), [(59, True), (60, True), (60.000001, False), (3600, False)])
def test_a_callers_clock_may_be_a_minute_ahead(ahead, taken) -> None:
    """Of project time; what is known later than that is not known."""
    row = good(REGRESSION, by_id=True) | {"came_at": NOW + timedelta(seconds=ahead)}

    for found in (parsed(REGRESSION, [row]), checked(REGRESSION, pl.DataFrame([row]))):
        assert isinstance(found, pl.DataFrame) if taken else found == {(0, "came_at")}


@pytest.mark.parametrize("model", [REGRESSION, BINARY])
@pytest.mark.parametrize(("before", "taken"), [(-1, True), (0, True), (10, True), (10.01, False), (60 * 24, False)])
def test_a_label_cannot_be_known_before_its_prediction_is_asked_for(model, before, taken) -> None:
    """But for ten minutes, by which the clocks of two writers may disagree; the row and the field are named."""
    known = {known_name(model): AT - timedelta(minutes=before)}
    rows = [good(model), good(model) | known, good(model, by_id=True)]

    assert isinstance(parsed(model, [rows[0], rows[2]]), pl.DataFrame)
    for found in (parsed(model, rows), checked(model, pl.DataFrame(rows[:2]))):
        assert isinstance(found, pl.DataFrame) if taken else found == {(1, known_name(model))}


def test_an_early_label_is_told_in_words() -> None:
    """What it must not be before, as the model declares it."""
    asked = Model("parcels", row=Parcel, key=["number"], at="sent_at", asked="1d before", label=Label("late", bool),
                  train_on="30d", test_on="5d")  # fmt: skip
    row = {"number": 3, "sent_at": AT, "late": True}

    with pytest.raises(BadRows) as caught:
        check_truths(asked, pl.DataFrame([row | {"known_at": AT - timedelta(days=2)}]), **TERMS)
    (field,) = caught.value.fields
    assert (field.row, field.field) == (0, "known_at")
    assert field.what == "must not be before sent_at - 1d, when the prediction is asked for"
    assert check_truths(asked, pl.DataFrame([row | {"known_at": AT - timedelta(hours=5)}]), **TERMS).height == 1


def test_a_truth_of_an_event_of_the_future_is_refused() -> None:
    """Nothing can be known of it now; where the row does not say when it was known, its event's time is named."""
    row = {name: value for name, value in good(BINARY).items() if name != "known_at"}
    rows = [row, row | {"sent_at": NOW + timedelta(minutes=9)}, row | {"sent_at": NOW + timedelta(days=1)}]

    for found in (parsed(BINARY, rows), checked(BINARY, pl.DataFrame(rows))):
        assert found == {(2, "sent_at")}


def test_a_truth_may_be_taken_back_whatever_its_times() -> None:
    """So a mistake of the past can be mended."""
    row = good(REGRESSION) | {"hours": None, "came_at": None, "sent_at": NOW + timedelta(days=400)}

    for lines in (parsed(REGRESSION, [row]), checked(REGRESSION, columns_of([row], "hours", pl.Float64()))):
        assert isinstance(lines, pl.DataFrame)
        assert lines["retracted"].to_list() == [True]


def test_a_key_field_with_a_default_may_be_left_out() -> None:
    """It then is what it is in a request for a prediction: the default, and the same identity."""
    row = {name: value for name, value in good(BINARY).items() if name != "zone"}

    for lines in (parsed(BINARY, [row]), checked(BINARY, pl.DataFrame([row]))):
        assert isinstance(lines, pl.DataFrame)
        assert lines["key"].to_list() == ['[3,"ana","near"]']


def test_a_request_may_name_its_subjects_in_both_ways() -> None:
    """Some rows by id, some by key and time."""
    rows = [good(BINARY, by_id=True), good(BINARY), good(BINARY, by_id=True) | {"prediction_id": "p2"}]

    lines = parsed(BINARY, rows)

    assert isinstance(lines, pl.DataFrame)
    assert lines["prediction_id"].to_list() == ["p1", None, "p2"]
    assert lines["key"].to_list() == [None, '[3,"ana","far"]', None]


@pytest.mark.parametrize("kind", [pl.Categorical(), pl.Enum(["lost", "came"])])
def test_classes_may_come_as_categories(kind) -> None:
    """They are texts in the log."""
    frame = pl.DataFrame([good(MULTICLASS)]).with_columns(pl.col("fate").cast(kind))

    lines = checked(MULTICLASS, frame)

    assert isinstance(lines, pl.DataFrame)
    assert (lines["label"].dtype, lines["label"].to_list()) == (pl.String, ["came"])


def test_pandas_and_arrow_are_columns_too() -> None:
    """With their missing values as retractions."""
    rows = [good(REGRESSION), good(REGRESSION) | {"hours": None}]
    frame = pl.DataFrame(rows)

    found = [checked(REGRESSION, other) for other in (frame, frame.to_arrow(), frame.to_pandas(), pd.DataFrame(rows))]

    assert all(isinstance(lines, pl.DataFrame) and lines.equals(found[0]) for lines in found)


def test_no_rows_are_no_lines() -> None:
    """An empty request or table gives an empty frame with the log's columns."""
    empty = pl.DataFrame([good(REGRESSION)]).clear()

    for lines in (parsed(REGRESSION, []), checked(REGRESSION, empty)):
        assert isinstance(lines, pl.DataFrame)
        assert (lines.height, lines.schema) == (0, conform(lines, truths_columns(REGRESSION)).schema)


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("item", "named"),
    [
        (3, {""}),
        (None, {""}),
        ([], {""}),
        ({}, {"number", "owner", "sent_at", "hours"}),
        ({"prediction_id": None, "hours": 1.0}, {"prediction_id"}),
        ({"prediction_id": 7, "hours": 1.0}, {"prediction_id"}),
        ({"prediction_id": "a", "hours": 1.0, "late": True}, {"late"}),
        ({"prediction_id": "a", "hours": 1.0, "number": 3}, {"number"}),
        ({"number": 3, "owner": "a", "sent_at": "2026-05-01T00:00:00Z", "hours": 1.0, "grams": 2.0}, {"grams"}),
        ({"prediction_id": "a", "hours": 1.0, "came_at": "yesterday"}, {"came_at"}),
        ({"prediction_id": "a", "hours": 1.0, "came_at": "2026-05-01T00:00:00"}, {"came_at"}),
        ({"prediction_id": "a", "hours": 1.0, "came_at": 1}, {"came_at"}),
    ],
)
def test_a_row_of_another_shape_is_refused_by_its_fields(item, named) -> None:
    """Everything that is missing, unknown or of another type, among good rows, which are not taken either."""
    fine = {name: as_json(value) for name, value in good(REGRESSION, by_id=True).items()}

    with pytest.raises(BadRows, match="1 of 3 row is no ground truth of parcels") as caught:
        parse_truths(REGRESSION, [fine, item, fine], **TERMS)

    assert {(field.row, field.field) for field in caught.value.fields} == {(1, name) for name in named}
    assert all(field.what for field in caught.value.fields)


def test_the_words_are_those_of_rows() -> None:
    """A refusal says what a value must be, as it does for a prediction's row, and no private value."""
    rows = [
        {"prediction_id": "a", "hours": "long"},
        {"number": 3, "owner": 7, "sent_at": "2026-05-01T00:00:00Z", "huors": 1},
    ]

    with pytest.raises(BadRows) as caught:
        parse_truths(REGRESSION, rows, **TERMS)

    assert sorted((field.row, field.field, field.what) for field in caught.value.fields) == [
        (0, "hours", "must be a finite number"),
        (1, "hours", "is missing"),
        (1, "huors", "is not known; did you mean hours?"),
        (1, "owner", "must be a text"),
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (pl.lit(1).alias("grams"), "not known grams"),
        (pl.lit("p").alias("prediction_id"), "not known number, owner, sent_at, zone"),
        (None, "missing hours, sent_at"),
    ],
)
def test_unknown_and_missing_columns_are_named(change, says) -> None:
    """All of them, with what is wanted."""
    frame = pl.DataFrame([good(REGRESSION)])
    frame = frame.drop("hours", "sent_at") if change is None else frame.with_columns(change)

    with pytest.raises(DataError) as caught:
        checked(REGRESSION, frame)

    assert (caught.value.code, caught.value.why) == ("data-columns", says)
    assert (
        caught.value.mend
        == "give prediction_id, or number, owner, zone, sent_at; and hours; came_at says when it was known"
    )


def test_of_many_bad_rows_the_first_are_named_and_all_are_counted() -> None:
    """Twenty of each field, in the order of the rows."""
    rows = [good(REGRESSION) | {"hours": math.inf, "number": 0}] * 1000

    with pytest.raises(BadRows, match="1000 of 1000 rows are no ground truth") as caught:
        check_truths(REGRESSION, pl.DataFrame(rows), **TERMS)

    assert len(caught.value.fields) == 40
    assert [field.row for field in caught.value.fields] == sorted([*range(20)] * 2)


@pytest.mark.parametrize(
    ("model", "column"),
    [
        (REGRESSION, pl.Series("hours", [True])),
        (REGRESSION, pl.Series("hours", ["2.5"])),
        (REGRESSION, pl.Series("hours", [AT])),
        (REGRESSION, pl.Series("hours", [timedelta(1)])),
        (BINARY, pl.Series("late", [1])),
        (BINARY, pl.Series("late", [7.0])),
        (BINARY, pl.Series("late", ["true"])),
        (MULTICLASS, pl.Series("fate", [1])),
        (MULTICLASS, pl.Series("fate", [["came"]])),
        (MULTICLASS, pl.Series("fate", [{1}], dtype=pl.Object)),
    ],
)
def test_a_label_of_another_type_is_not_turned_into_one(model, column) -> None:
    """A number is no truth value and no class, a text no number; the column's type is told."""
    frame = pl.DataFrame([good(model)]).with_columns(column)

    with pytest.raises(BadRows) as caught:
        check_truths(model, frame, **TERMS)

    (field,) = caught.value.fields
    assert (field.row, field.field) == (0, model.label.name)
    assert "; the column is" in field.what


# ── the journal ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("model", MODELS, ids=["regression", "binary", "multiclass"])
@pytest.mark.parametrize("by_id", [False, True])
def test_a_truth_comes_back_from_the_journal_as_it_went_in(model, by_id) -> None:
    """Its label of the same type."""
    row = {name: as_json(value) for name, value in good(model, by_id=by_id).items()}
    (truth,) = parse_truths(model, [row], **TERMS)

    entry = truths_entry(model.name, [truth, truth])

    assert truths_of([entry]) == [truth, truth]
    assert type(truths_of([entry])[0].label) is type(LABELS[model.label.name])
    assert (entry.kind, entry.model, entry.lines, entry.id) == ("truth", "parcels", 2, None)


def test_a_journal_of_today_is_read_for_ever() -> None:
    """The order of a line's parts on disk is fixed: new ones come at the end, with a default."""
    body = msgspec.msgpack.encode([["p1", None, None, 2.5, NOW, RECORDED, "http"]])

    (truth,) = truths_of([Entry(kind="truth", model="parcels", lines=1, id=None, body=body)])

    assert (truth.prediction_id, truth.label, truth.known_at, truth.source) == ("p1", 2.5, NOW, "http")
    assert (truth.key, truth.event_at) == (None, None)
