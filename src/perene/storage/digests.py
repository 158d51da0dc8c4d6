"""Digests of examples by day of events: the same rows give the same digest, in any order, whatever library wrote them.

A row is written as text, field by field in the order of their names: name, kind, length and value. A field that is
null is left out, so a Row that gains an optional field leaves old digests as they are. Numbers with a fraction are
written as the 64 bits of their IEEE 754 form, times as microseconds since 1970. The SHA-256 values of a day's rows are
added modulo 2**256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perene.errors import StorageError

_FORMAT = b"perene digest 1\n"  # changes only together with every digest that is kept
_LANES = 8  # a SHA-256 as eight numbers of 32 bits: their sums cannot overflow 64 bits
_BITS = 32
_ROWS_AT_ONCE = 50_000  # as texts, which are larger than the rows


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum of row digests, and how many they are."""

    rows: int = 0
    total: int = 0

    @property
    def digest(self) -> str:
        """The digest of these rows, in hex."""
        return hashlib.sha256(_FORMAT + f"{self.rows} {self.total:064x}".encode()).hexdigest()


def day_sums(rows: pl.DataFrame, day: pl.Series) -> dict[date, Sum]:
    """The sum of each day's rows; structs count by their fields, the columns' order does not matter.

    Raises StorageError for a type that has no text.
    """
    if rows.is_empty():
        return {}
    order = day.arg_sort()
    days = day.gather(order)
    hashes = np.concatenate([_row_hashes(_texts(part)) for part in rows.iter_slices(_ROWS_AT_ONCE)])[order]
    starts = np.flatnonzero(np.r_[True, days.to_physical().diff()[1:].to_numpy() != 0])
    sums = np.add.reduceat(hashes, starts, axis=0)
    counts = np.diff(np.r_[starts, len(hashes)])
    return {
        days[int(start)]: Sum(int(count), _joined(lanes))
        for start, count, lanes in zip(starts, counts, sums, strict=True)
    }


def combined(days: Mapping[date, str], *, question: Iterable[object]) -> str:
    """The digest of a whole answer: of what was asked, and of each day's digest; days without rows are left out."""
    parts = [str(part) for part in question]
    parts += [f"{day.isoformat()} {digest}" for day, digest in sorted(days.items())]
    return hashlib.sha256(_FORMAT + "\n".join(parts).encode()).hexdigest()


def _row_hashes(texts: pl.Series) -> NDArray[np.uint64]:
    """The SHA-256 of each text, as ``_LANES`` numbers."""
    joined = b"".join([hashlib.sha256(text.encode()).digest() for text in texts])
    return np.frombuffer(joined, dtype=">u4").reshape(-1, _LANES).astype(np.uint64)


def _joined(lanes: NDArray[np.uint64]) -> int:
    total = 0
    for lane in lanes:
        total = (total << _BITS) + int(lane)
    return total % (1 << _BITS * _LANES)


def _texts(rows: pl.DataFrame) -> pl.Series:
    """Each row as its canonical text."""
    fields = sorted(_fields(rows.iter_columns()), key=lambda field: field[0])
    return pl.select(text=pl.concat_str(*[_field_text(name, values) for name, values in fields])).to_series()


def _fields(columns: Iterable[pl.Series], prefix: str = "") -> Iterable[tuple[str, pl.Series]]:
    for column in columns:
        if isinstance(column.dtype, pl.Struct):
            yield from _fields(column.struct.unnest().iter_columns(), f"{prefix}{column.name}.")
        else:
            yield prefix + column.name, column


def _field_text(name: str, values: pl.Series) -> pl.Series:
    """``name`` kind length ``:`` value ``;`` of each value, nothing for a null."""
    kind, text = _value_text(values)
    length = text.str.len_bytes().cast(pl.String)
    start = pl.lit(f"{name} {kind}")
    whole = pl.select(pl.concat_str(start, length, pl.lit(":"), text, pl.lit(";"))).to_series()
    return whole.fill_null("")


def _value_text(values: pl.Series) -> tuple[str, pl.Series]:
    match values.dtype:
        case pl.String():
            return "s", values
        case pl.Boolean():
            return "b", values.cast(pl.Int8).cast(pl.String)
        case pl.Float64():
            return "f", _bits(values)
        case pl.Datetime(time_unit="us"):
            return "t", values.to_physical().cast(pl.String)
        case pl.Date():
            return "d", values.to_physical().cast(pl.String)
        case pl.Null():
            return "n", values.cast(pl.String)
        case dtype if dtype.is_integer():
            return "i", values.cast(pl.String)
        case dtype:
            what, why = f"a column of type {dtype} has no digest", f"the column is {values.name}"
            raise StorageError(what, why=why, mend="give its field another type")


def _bits(values: pl.Series) -> pl.Series:
    """The bits of floats as whole numbers; every NaN is the same one, and -0.0 is 0.0."""
    plain = np.array(values.fill_null(0.0).to_numpy())
    plain[plain == 0.0] = 0.0
    plain[np.isnan(plain)] = np.nan
    bits = pl.Series(plain.view(np.uint64)).cast(pl.String)
    return pl.select(pl.when(values.is_not_null()).then(bits)).to_series()
