"""Frames that come in: polars, pandas or Arrow, as polars columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias

import polars as pl

from perene.errors import DataError

Frame: TypeAlias = Any
"""A polars DataFrame or LazyFrame, a pandas DataFrame or a pyarrow Table (which are imported only when asked for)."""


def technology(value: object) -> str:
    """The top package of a value's type: ``polars``, ``pandas``, ``pyarrow``, ``numpy`` …"""
    return type(value).__module__.partition(".")[0]


def arrived(frame: Frame) -> pl.DataFrame:
    """A frame as polars. pandas' NaN is its missing value; a pandas column of mixed things comes as an Object column.

    Raises:
        DataError: it is no frame, or has two columns of one name.
    """
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    kind = technology(frame)
    if kind == "pandas" and hasattr(frame, "columns"):
        _refuse_twins([str(name) for name in frame.columns])
        return pl.DataFrame([_of_pandas(str(name), frame[name]) for name in frame.columns])
    if kind == "pyarrow" and hasattr(frame, "column_names"):
        _refuse_twins(frame.column_names)
        whole = pl.from_arrow(frame)
        assert isinstance(whole, pl.DataFrame)
        return whole
    raise DataError(
        f"{type(frame).__name__} is not a frame", mend="give a polars DataFrame, a pandas DataFrame or a pyarrow Table"
    )


def _of_pandas(name: str, column: Any) -> pl.Series:
    try:
        series: pl.Series = pl.from_pandas(column).alias(name)
    except (ValueError, TypeError, NotImplementedError):  # pyarrow's errors are of these
        return pl.Series(name, column.tolist(), dtype=pl.Object)
    return series


def _refuse_twins(names: Sequence[str]) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise DataError(f"the frame has several columns {', '.join(twice)}", mend="give each column its own name")
