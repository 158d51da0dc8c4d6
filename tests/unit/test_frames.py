"""Frames that come in and go out: polars, pandas, Arrow and numpy, and what is none of them."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from perene.definition.arrivals import arrived
from perene.definition.checking import check_frame
from perene.definition.columns import Field
from perene.definition.frames import (
    TABLES,
    Kind,
    handed_table,
    handed_vector,
    kind_of,
    series_back,
    table_back,
    vector_back,
)
from perene.definition.hooks import read_hook
from perene.errors import DataError, DeclarationError

AT = datetime(2026, 1, 1, tzinfo=UTC)
TABLE = pl.DataFrame({"a": [1.5, None, 3.0], "s": ["x", None, "z"], "at": [AT, None, AT]})


# ── coming in ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "frame",
    [TABLE, TABLE.lazy(), TABLE.to_pandas(), TABLE.to_arrow(), TABLE.to_arrow().combine_chunks().to_batches()[0]],
)
def test_a_frame_of_any_technology_arrives_the_same(frame) -> None:
    """Values, nulls, instants with their zone, and the order of columns."""
    came = arrived(frame)

    assert came.columns == ["a", "s", "at"]
    assert came.with_columns(pl.col("at").dt.cast_time_unit("us")).rows() == TABLE.rows()


def test_pandas_missing_values_are_nulls() -> None:
    """NaN, NaT, None and NA alike."""
    frame = pd.DataFrame(
        {
            "a": [1.0, np.nan],
            "at": pd.to_datetime(["2026-01-01T00:00Z", None]),
            "s": ["x", None],
            "n": pd.array([1, pd.NA], dtype="Int64"),
            "c": pd.Categorical(["x", None]),
        }
    )

    assert [column.null_count() for column in arrived(frame)] == [1] * 5


@pytest.mark.parametrize(
    "values", [[1, "x", None], [1j, 2j], pd.arrays.SparseArray([0, 1]), pd.period_range("2026", periods=2), [{1}, {2}]]
)
def test_columns_that_hold_something_else_arrive_to_be_refused(values) -> None:
    """A pandas column that no column of ours holds is a bad column of the check, not an error in it."""
    field = Field(
        name="a", kind="int", dtype=pl.Int64(), nullable=True, required=True, default=None, choices=None, rules=(),
        logged=True, pii=False,
    )  # fmt: skip

    checked = check_frame(pd.DataFrame({"a": values}), [field])

    assert [bad.field for bad in checked.bad] == ["a"]


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame([[1, 2]], columns=[1, "1"]),
        pa.table([[1], [2]], names=["a", "a"]),
    ],
)
def test_two_columns_of_one_name_are_refused(frame) -> None:
    """Nobody knows which is meant."""
    with pytest.raises(DataError, match="several columns"):
        arrived(frame)


@pytest.mark.parametrize("value", [{"a": [1]}, [[1]], np.ones((2, 2)), pd.Series([1]), pl.Series([1]), None, "a.csv"])
def test_what_is_no_frame_is_refused(value) -> None:
    """By the name of its type, with what may be given; the same for what a hook returns."""
    for takes in (arrived, table_back):
        with pytest.raises(DataError, match=f"^{type(value).__name__} is not a frame"):
            takes(value)


# ── what hooks receive ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (pl.DataFrame, Kind.POLARS),
        (pd.DataFrame, Kind.PANDAS),
        (pa.Table, Kind.ARROW),
        (np.ndarray, Kind.ARRAY),
        (npt.NDArray[np.float64], Kind.ARRAY),
        (pl.Series, Kind.POLARS_SERIES),
        (pd.Series, Kind.PANDAS_SERIES),
        ("pl.DataFrame", Kind.POLARS),
        ("polars.DataFrame", Kind.POLARS),
        ("pd.Series", Kind.PANDAS_SERIES),
        ("pd.Series[bool]", Kind.PANDAS_SERIES),
        ("pa.Table", Kind.ARROW),
        ("np.ndarray", Kind.ARRAY),
        ("np.ndarray[Any, np.dtype[np.bool_]]", Kind.ARRAY),
        ("npt.NDArray[np.float64]", Kind.ARRAY),
        ("NDArray[np.float64]", Kind.ARRAY),
        ("numpy.typing.NDArray[np.float64]", Kind.ARRAY),
        ("ndarray", Kind.ARRAY),
        ("DataFrame", None),
        (list, None),
        (int, None),
        (pl.DataFrame | None, None),
        (None, None),
    ],
)
def test_an_annotation_names_a_kind(annotation, kind) -> None:
    """As a class, or as a text whose names only type checkers know; others name none."""
    assert kind_of(annotation) is kind


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_is_handed_as_asked_for(kind) -> None:
    """With the same values in the same places."""
    table = pl.DataFrame({"a": [1.5, 2.5], "b": [3.0, 4.0]})

    handed = handed_table(table, kind)

    assert f"{type(handed).__module__.partition('.')[0]}.{type(handed).__name__}" == kind.value
    back = pl.DataFrame(handed, schema=["a", "b"], orient="row") if kind is Kind.ARRAY else table_back(handed)
    assert back.equals(table)


@pytest.mark.parametrize("values", [pl.Series([AT]), np.array([AT.replace(tzinfo=None)], dtype="datetime64[us]")])
def test_instants_are_handed_in_utc(values) -> None:
    """Without a zone in arrays, which have none; with UTC in series."""
    series = pl.Series(values) if isinstance(values, np.ndarray) else values

    assert handed_vector(series, Kind.ARRAY).astype("datetime64[us]").tolist() == [AT.replace(tzinfo=None)]
    assert handed_vector(values, Kind.POLARS_SERIES).to_list() == [AT]
    assert handed_vector(values, Kind.PANDAS_SERIES).tolist() == [pd.Timestamp(AT)]


# ── what hooks give back ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "values",
    [
        [1.0, 2.0],
        (1.0, 2.0),
        np.array([1.0, 2.0]),
        pl.Series([1.0, 2.0]),
        pd.Series([1.0, 2.0]),
        pa.array([1.0, 2.0]),
        pa.chunked_array([[1.0], [2.0]]),
    ],
)
def test_values_of_any_technology_come_back_the_same(values) -> None:
    """One per row, in their order."""
    assert vector_back(values).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "values", [[[1.0, 2.0], [3.0, 4.0]], np.array([[1.0, 2.0], [3.0, 4.0]]), pl.Series([[1.0, 2.0], [3.0, 4.0]])]
)
def test_several_values_a_row_come_back_as_columns(values) -> None:
    """Lists of one length, a list column too."""
    assert vector_back(values).shape == (2, 2)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (np.float64(3), "one value for all rows"),
        (np.array(3), "one value for all rows"),
        (3.0, "float holds no values"),
        (None, "NoneType holds no values"),
        ("abc", "str holds no values"),
        ([[1.0], [1.0, 2.0]], "lists of different lengths"),
        (pl.Series([[1.0], [1.0, 2.0]]), "lists of different lengths"),
    ],
)
def test_what_holds_no_value_for_each_row_is_refused(value, says) -> None:
    """A mean that was meant to be a metric, first of all."""
    with pytest.raises(DataError, match=says) as caught:
        vector_back(value)

    assert "one value per row" in caught.value.mend


@pytest.mark.parametrize(
    "names",
    [
        ["a", None],
        np.array(["a", None], dtype=object),
        pl.Series(["a", None]),
        pl.Series(["a", None], dtype=pl.Categorical),
        pd.Series(["a", None]),
        pd.Series(["a", pd.NA], dtype="string"),
        pd.Series(["a", None], dtype="category"),
        pd.Series(["a", np.nan], dtype=object),
    ],
)
def test_slices_come_back_as_names(names) -> None:
    """Null where a row belongs to none, whatever says so."""
    assert series_back(names).to_list() == ["a", None]
    assert series_back(names).dtype == pl.String


@pytest.mark.parametrize(
    "numbers", [[1.5, None], np.array([1.5, np.nan]), pl.Series([1.5, float("nan")]), pd.Series([1.5, np.nan])]
)
def test_a_slice_that_is_not_a_number_is_missing(numbers) -> None:
    """NaN names no slice."""
    assert series_back(numbers).to_list() == ["1.5", None]


@pytest.mark.parametrize(
    "value", [np.ones((2, 2)), pl.Series([[1], [2]]), np.float64(1), None, pd.DataFrame({"a": [1], "b": [2]})]
)
def test_what_names_no_slice_is_refused(value) -> None:
    """One name for each row."""
    with pytest.raises(DataError):
        series_back(value)


@pytest.mark.parametrize(
    ("back", "options", "says"),
    [
        (np.float64(1), {}, "returned one value for all rows"),
        (np.ones((3, 1)), {}, "returned values of shape (3, 1), not one per row"),
        (["a", "b", "c"], {}, "returned object, not numbers"),
        (None, {"whole": True}, "returned NoneType, which is no number"),
        (np.ones(3), {"whole": True}, "returned ndarray, which is no number"),
        ("high", {"whole": True}, "returned str, which is no number"),
    ],
)
def test_a_metric_that_gives_no_numbers_is_refused(back, options, says) -> None:
    """With its name and line, whether it is one for each row or one for all."""
    hook, mistakes = read_hook("metric", lambda y, p: back, line="m.py:7", **options)
    assert (hook is not None, mistakes) == (True, [])

    with pytest.raises(DeclarationError) as caught:
        hook(y=np.ones(3), p=np.ones(3))

    (mistake,) = caught.value.mistakes
    assert (mistake.where, says in mistake.what) == ("m.py:7", True)


def test_dates_are_handed_and_come_back_as_dates() -> None:
    """Days stay days."""
    days = pl.Series([date(2026, 1, 1), None])

    assert handed_vector(days, Kind.POLARS_SERIES).to_list() == [date(2026, 1, 1), None]
    assert handed_vector(days, Kind.ARRAY).dtype == np.dtype("datetime64[D]")
