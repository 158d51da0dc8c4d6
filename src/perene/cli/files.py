"""Rows in files: JSON, NDJSON, CSV and Parquet, in and out."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import polars as pl

from perene.errors import BadField, BadRows, DataError

FORMATS = ("json", "ndjson", "csv", "parquet")
BATCH_ROWS = 100_000
_ENDINGS = {".json": "json", ".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv", ".parquet": "parquet"}
_INSTANT = pl.Datetime("us", "UTC")
_HEAD = 1 << 20  # bytes that tell a format


def read_rows(source: str, dtypes: Mapping[str, pl.DataType], *, format: str | None = None) -> pl.DataFrame:
    """All rows of a file at once; see ``read_batches``."""
    return pl.concat(read_batches(source, dtypes, format=format), how="diagonal_relaxed")


def read_batches(
    source: str, dtypes: Mapping[str, pl.DataType], *, format: str | None = None
) -> Iterator[pl.DataFrame]:
    """The rows of a file, or of stdin for ``-``, in batches: of all formats but JSON, memory holds one of them.

    Texts in columns of ``dtypes`` become what they say: instants and dates; in CSV, which has texts only, numbers too.
    JSON is a list of objects, one object, or ``{"rows": [...]}`` as the server takes it.

    Raises:
        DataError: the file is not of its format, or has no rows (code "data-empty").
        BadRows: a text does not say what its column needs; each bad row and field is named.
    """
    name = "stdin" if source == "-" else source
    with _on_disk(source) as path:
        kind = format or _ENDINGS.get(Path(source).suffix.lower()) or _format_of(path)
        first = 0
        for frame in _parsed(path, kind, name):
            if frame.height:
                yield _said(frame, dtypes, numbers=kind == "csv", first=first)
            first += frame.height
    if not first:
        raise DataError(f"{name} has no rows", mend="give it a row at least", code="data-empty")


def write_rows(frames: Iterable[pl.DataFrame], target: Path) -> int:
    """Write tables one after another, in the format that the file's ending names; gives the number of rows.

    The file is there when all are written; memory holds one of them at a time.

    Raises:
        DataError: the ending names none.
    """
    kind = _ENDINGS.get(target.suffix.lower())
    if kind is None:
        endings = ", ".join(_ENDINGS)
        what, mend = f"{target} names no format", f"let the file end in one of {endings}"
        raise DataError(what, mend=mend, code="file-unusable")
    rows = 0
    with _folder_beside(target) as folder:
        for number, frame in enumerate(frames):
            frame.write_ipc(Path(folder, f"{number:08}.arrow"))
            rows += frame.height
        whole = Path(folder, "whole")
        _write(sorted(Path(folder).glob("*.arrow")), whole, kind)
        whole.rename(target)
    return rows


def _folder_beside(target: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder for the parts of a file; an OSError names the file."""
    try:
        return tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error


def _write(parts: Sequence[Path], target: Path, kind: str) -> None:
    lazy = pl.scan_ipc(list(parts))
    match kind:
        case "json":
            with target.open("w", encoding="utf-8") as file:
                texts = (pl.read_ipc(part).write_json()[1:-1] for part in parts)
                file.write("[")
                for n, text in enumerate(text for text in texts if text):
                    file.write(f"{',' if n else ''}{text}")
                file.write("]\n")
        case "ndjson":
            lazy.sink_ndjson(target)
        case "csv":
            lazy.sink_csv(target, datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ")
        case _:
            lazy.sink_parquet(target)


@contextmanager
def _on_disk(source: str) -> Iterator[Path]:
    """The file; of stdin a copy that is gone afterwards."""
    if source != "-":
        yield Path(source)
        return
    with tempfile.NamedTemporaryFile() as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.flush()
        yield Path(copy.name)


def _format_of(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(_HEAD).lstrip()
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith(b"{"):
        line = start.split(b"\n", 1)[0].strip()
        return "ndjson" if line.endswith(b"}") and b"\n{" in start else "json"
    return "json" if start.startswith(b"[") else "csv"


def _parsed(path: Path, kind: str, name: str) -> Iterator[pl.DataFrame]:
    if not path.stat().st_size:
        return
    try:
        match kind:
            case "parquet":
                yield from pl.scan_parquet(path).collect_batches(chunk_size=BATCH_ROWS)
            case "csv":
                yield from _of_csv(path)
            case "ndjson":
                yield from _of_ndjson(path)
            case _:
                yield _of_json(path)
    except (ValueError, TypeError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"{name} cannot be read as {kind}",
            why=str(error).splitlines()[0] if str(error) else type(error).__name__,
            mend=f"name its format: --format {'|'.join(FORMATS)}",
            code="data-unreadable",
        ) from error


def _of_csv(path: Path) -> Iterator[pl.DataFrame]:
    with path.open("rb") as file:
        if not file.read(_HEAD).strip():
            return
    yield from pl.scan_csv(path, infer_schema=False).collect_batches(chunk_size=BATCH_ROWS)


def _of_ndjson(path: Path) -> Iterator[pl.DataFrame]:
    with path.open("rb") as file:
        lines = (line for line in file if line.strip())
        while part := list(islice(lines, BATCH_ROWS)):
            yield _frame([json.loads(line) for line in part])


def _of_json(path: Path) -> pl.DataFrame:
    data = path.read_bytes()
    if not data.strip():
        return pl.DataFrame()
    items = json.loads(data)
    if isinstance(items, dict):
        items = items["rows"] if set(items) == {"rows"} else [items]
    return _frame(items)


def _frame(items: object) -> pl.DataFrame:
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


def _said(frame: pl.DataFrame, dtypes: Mapping[str, pl.DataType], *, numbers: bool, first: int) -> pl.DataFrame:
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
                BadField(row=first + row, field=name, what=f"{texts[row]!r} is not {_WORDS[dtype]}")
                for row in wrong.head(20)
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
