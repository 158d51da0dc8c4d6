"""Rows in files: JSON, NDJSON, CSV and Parquet, in and out."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import polars as pl

from perene.errors import BadField, BadRows, DataError

FORMATS = ("json", "ndjson", "csv", "parquet")
_ENDINGS = {".json": "json", ".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv", ".parquet": "parquet"}
_INSTANT = pl.Datetime("us", "UTC")


def read_rows(source: str, dtypes: Mapping[str, pl.DataType], *, format: str | None = None) -> pl.DataFrame:
    """The rows of a file, or of stdin for ``-``.

    Texts in columns of ``dtypes`` become what they say: instants and dates; in CSV, which has texts only, numbers too.
    JSON is a list of objects, one object, or ``{"rows": [...]}`` as the server takes it.

    Raises:
        DataError: the file is not of its format, or has no rows (code "data-empty").
        BadRows: a text does not say what its column needs; each bad row and field is named.
    """
    data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    kind = format or _ENDINGS.get(Path(source).suffix.lower()) or _format_of(data)
    try:
        frame = _parsed(data, kind) if data.strip() else pl.DataFrame()
    except (ValueError, TypeError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"{'stdin' if source == '-' else source} cannot be read as {kind}",
            why=str(error).splitlines()[0] if str(error) else type(error).__name__,
            mend=f"name its format: --format {'|'.join(FORMATS)}",
            code="data-unreadable",
        ) from error
    if frame.is_empty():
        raise DataError(
            f"{'stdin' if source == '-' else source} has no rows", mend="give it a row at least", code="data-empty"
        )
    return _said(frame, dtypes, numbers=kind == "csv")


def write_rows(frame: pl.DataFrame, target: Path) -> None:
    """Write a table in the format that the file's ending names.

    Raises:
        DataError: the ending names none.
    """
    match _ENDINGS.get(target.suffix.lower()):
        case "json":
            target.write_text(frame.write_json() + "\n", encoding="utf-8")
        case "ndjson":
            frame.write_ndjson(target)
        case "csv":
            frame.write_csv(target, datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ")
        case "parquet":
            frame.write_parquet(target)
        case _:
            endings = ", ".join(_ENDINGS)
            what, mend = f"{target} names no format", f"let the file end in one of {endings}"
            raise DataError(what, mend=mend, code="file-unusable")


def _format_of(data: bytes) -> str:
    start = data[:1000].lstrip()
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith(b"{"):
        lines = data.split(b"\n", 1)[0].strip()
        return "ndjson" if lines.endswith(b"}") and b"\n{" in data else "json"
    return "json" if start.startswith(b"[") else "csv"


def _parsed(data: bytes, kind: str) -> pl.DataFrame:
    match kind:
        case "parquet":
            return pl.read_parquet(BytesIO(data))
        case "csv":
            return pl.read_csv(BytesIO(data), infer_schema=False)
        case "ndjson":
            items = [json.loads(line) for line in data.splitlines() if line.strip()]
        case _:
            items = json.loads(data)
            if isinstance(items, dict):
                items = items["rows"] if set(items) == {"rows"} else [items]
    if not (isinstance(items, list) and all(isinstance(item, dict) for item in items)):
        raise ValueError("it is no list of objects")
    names = list(dict.fromkeys(name for item in items for name in item))
    return pl.DataFrame({name: _column(name, [item.get(name) for item in items]) for name in names})


def _column(name: str, values: list[object]) -> pl.Series:
    try:
        return pl.Series(name, values, strict=True)
    except (TypeError, pl.exceptions.PolarsError):
        if all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values):
            return pl.Series(name, values, dtype=pl.Float64, strict=False)
        raise


def _said(frame: pl.DataFrame, dtypes: Mapping[str, pl.DataType], *, numbers: bool) -> pl.DataFrame:
    columns, bad = [], []
    for name, dtype in dtypes.items():
        if name not in frame.columns:
            continue
        texts = frame[name]
        if texts.dtype == pl.Null:
            columns.append(texts.cast(dtype))
        elif texts.dtype == pl.String and (numbers or dtype.is_temporal()) and dtype != pl.String:
            values = frame.select(_reading(name, dtype)).to_series()
            wrong = (values.is_null() & texts.is_not_null()).arg_true()
            bad += [
                BadField(row=row, field=name, what=f"{texts[row]!r} is not {_WORDS[dtype]}") for row in wrong.head(20)
            ]
            columns.append(values)
    if bad:
        raise BadRows("some rows cannot be read", tuple(bad), mend="mend these values")
    return frame.with_columns(columns)


_WORDS: dict[pl.DataType | type[pl.DataType], str] = {
    pl.Int64(): "an integer",
    pl.Float64(): "a number",
    pl.Boolean(): "true or false",
    pl.Date(): "a date, as 2013-01-31",
    _INSTANT: "an instant with its time zone, as 2013-01-31T17:00:00Z",
}


def _reading(name: str, dtype: pl.DataType) -> pl.Expr:
    text = pl.col(name).str.strip_chars()
    if dtype == pl.Boolean:
        return text.str.to_lowercase().replace_strict(
            {"true": True, "false": False}, default=None, return_dtype=pl.Boolean
        )
    if dtype == pl.Date:
        return text.str.to_date("%Y-%m-%d", strict=False)
    if dtype == _INSTANT:
        whole = text.str.replace(" ", "T", literal=True)  # a space may stand between day and hour
        return whole.str.to_datetime("%+", time_unit="us", strict=False).dt.convert_time_zone("UTC").alias(name)
    return text.cast(dtype, strict=False)
