"""The frames in which hooks receive values, as their annotations choose, and in which they give them back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, get_origin

import numpy as np
import polars as pl

from perene.definition.arrivals import arrived, technology
from perene.errors import DataError, PereneError

_ONE_PER_ROW = "return an array or a series with one value per row"


class Kind(StrEnum):
    """A frame or series as a hook may ask for it."""

    POLARS = "polars.DataFrame"
    PANDAS = "pandas.DataFrame"
    ARROW = "pyarrow.Table"
    ARRAY = "numpy.ndarray"
    POLARS_SERIES = "polars.Series"
    PANDAS_SERIES = "pandas.Series"


TABLES = (Kind.POLARS, Kind.PANDAS, Kind.ARROW, Kind.ARRAY)
VECTORS = (Kind.ARRAY, Kind.POLARS_SERIES, Kind.PANDAS_SERIES)
_SHORT = {"pl.": "polars.", "pd.": "pandas.", "pa.": "pyarrow.", "np.": "numpy."}
_ARRAYS = ("NDArray", "ndarray", "npt.NDArray", "numpy.typing.NDArray")


def kind_of(annotation: object) -> Kind | None:
    """The kind that an annotation names, or a text whose names only type checkers know; None for another."""
    if isinstance(annotation, str):
        name = annotation.partition("[")[0]
        short = next((prefix for prefix in _SHORT if name.startswith(prefix)), "")
        name = Kind.ARRAY if name in _ARRAYS else _SHORT.get(short, "") + name.removeprefix(short)
    else:
        kind = origin_of(annotation)
        package = getattr(kind, "__module__", "").partition(".")[0]
        name = f"{package}.{getattr(kind, '__name__', '')}"
    return Kind(name) if name in Kind.__members__.values() else None


def origin_of(annotation: object) -> object:
    """The class of an annotation: ``list`` of ``list[str]``, ``ndarray`` of ``NDArray[…]``, which may be an alias."""
    kind = get_origin(annotation) or annotation
    alias = getattr(kind, "__value__", None)  # of a type statement, as numpy 2.5 writes NDArray
    return kind if alias is None else get_origin(alias) or alias


def handed_table(frame: Any, kind: Kind) -> Any:
    """A polars frame as another kind."""
    table = arrived(frame)
    match kind:
        case Kind.PANDAS:
            return _installed(table.to_pandas)
        case Kind.ARROW:
            return _installed(table.to_arrow)
        case Kind.ARRAY:
            return table.to_numpy()
        case _:
            return table


def handed_vector(values: Any, kind: Kind) -> Any:
    """One value per row, as another kind: instants come as ``datetime64[us]`` in arrays, and in UTC in series."""
    if kind is Kind.ARRAY:
        return values.to_numpy() if isinstance(values, pl.Series) else np.asarray(values)
    series = values if isinstance(values, pl.Series) else pl.Series("", values)
    if isinstance(series.dtype, pl.Datetime) and series.dtype.time_zone is None:
        series = series.dt.cast_time_unit("us").dt.replace_time_zone("UTC")
    return _installed(series.to_pandas) if kind is Kind.PANDAS_SERIES else series


def table_back(value: Any) -> pl.DataFrame:
    """A frame that a hook returned, as polars in one chunk.

    Raises:
        DataError: it is no frame.
    """
    return arrived(value).rechunk()


def vector_back(value: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """Values that a hook returned, as an array.

    Raises:
        DataError: they are no values.
    """
    if isinstance(value, pl.Series):
        array = _array_of(value.to_list()) if isinstance(value.dtype, pl.List) else value.to_numpy()
    elif isinstance(value, list | tuple):
        array = _array_of(value)
    elif isinstance(value, np.ndarray) or hasattr(value, "__array__"):
        array = np.asarray(value)
    else:
        raise DataError(f"{type(value).__name__} holds no values", mend=_ONE_PER_ROW)
    if array.ndim == 0:
        raise DataError("one value for all rows", mend=_ONE_PER_ROW)
    return array


def series_back(value: Any) -> pl.Series:
    """Values that a hook returned, as texts: the slice that each row belongs to; null where it is missing or NaN.

    Raises:
        DataError: they are no values, or several for a row.
    """
    if technology(value) == "pandas" and getattr(value, "ndim", 0) == 1:
        missing = value.isna().tolist()
        return pl.Series(
            [None if no else str(item) for item, no in zip(value.tolist(), missing, strict=True)], dtype=pl.String
        )
    series = value if isinstance(value, pl.Series) else pl.Series(vector_back(value).tolist(), strict=False)
    if series.dtype.is_nested():
        raise DataError("several values for a row", mend=_ONE_PER_ROW)
    return (series.fill_nan(None) if series.dtype.is_float() else series).cast(pl.String)


def _array_of(values: Sequence[Any]) -> np.ndarray[Any, np.dtype[Any]]:
    are_texts = bool(values) and isinstance(values[0], str)
    try:
        return np.asarray(values, dtype=object if are_texts else None)
    except ValueError as error:
        raise DataError("lists of different lengths", mend=_ONE_PER_ROW) from error


def _installed(convert: Callable[[], Any]) -> Any:
    try:
        return convert()
    except ModuleNotFoundError as error:
        raise PereneError(
            f"a hook asks for a frame that needs {error.name}",
            why=f"{error.name} is not installed",
            mend="pip install pandas pyarrow, or annotate the hook with polars' or numpy's types",
            code="package-missing",
        ) from error
