"""The vectorised check: a million rows against the fields of a Row, column by column."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from difflib import get_close_matches
from math import isfinite
from typing import Any, TypeAlias

import polars as pl

from perene.definition.arrivals import Frame, arrived
from perene.definition.columns import INSTANT, Field
from perene.definition.refusals import MISSING, NULL, broken, wrong

SAMPLE = 5
_NOT_SHOWN = "(not logged)"
_BEYOND = "(outside the years 1 to 9999)"
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_SPANS: dict[tuple[bool, bool], tuple[date, date]] = {  # by whether a column has times, and whether they have a zone
    (True, True): (_FIRST, _LAST),
    (True, False): (datetime.min, datetime.max),  # noqa: DTZ901 - of columns that have none
    (False, False): (date.min, date.max),
}
Flag: TypeAlias = pl.Expr | pl.Series


@dataclass(frozen=True, slots=True, kw_only=True)
class BadColumn:
    """What was wrong with a column, in how many rows, and the first five of them as JSON.

    Of fields that are not logged the sample shows no values.
    """

    field: str
    what: str
    rows: int
    sample: list[dict[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The good rows, with the Row's columns in its order, and what was wrong with the others.

    ``bad_rows`` says of each row whether it is bad. ``extra`` names the columns that the Row does not know; ``good``
    is without them.
    """

    good: pl.DataFrame
    bad: tuple[BadColumn, ...]
    bad_rows: pl.Series
    extra: tuple[str, ...]


def check_frame(frame: Frame, fields: Sequence[Field]) -> Checked:
    """The rows of a frame that fit the fields, and what is wrong with the others."""
    given = arrived(frame)
    names = [field.name for field in fields]
    extra = tuple(name for name in given.columns if name not in names)
    columns, reasons = [], []
    for field in fields:
        column, whys = _column(field, given, extra)
        columns.append(column)
        reasons += [(field, what, flag) for what, flag in whys]
    cast = pl.DataFrame(columns)
    flags = cast.select(flag.alias(str(i)) for i, (_, _, flag) in enumerate(reasons))
    bad = flags.select(bad=pl.any_horizontal(pl.all())).to_series()
    shown = given.select(name for name in names if name in given.columns)
    found = tuple(
        BadColumn(field=field.name, what=what, rows=count, sample=sample_of(shown, flags.to_series(i), fields))
        for i, ((field, what, _), count) in enumerate(zip(reasons, flags.sum().row(0), strict=True))
        if count
    )
    return Checked(good=cast.filter(~bad) if found else cast, bad=found, bad_rows=bad, extra=extra)


def _column(field: Field, given: pl.DataFrame, extra: Sequence[str]) -> tuple[pl.Series, list[tuple[str, Flag]]]:
    """The field's column in its dtype (null where a value does not fit it), and its checks: true is bad."""
    if field.name not in given.columns:
        return _absent(field, given.height, extra)
    came = given[field.name]
    fits = _fits(came.dtype, field.dtype)
    column = (
        came.cast(field.dtype, strict=False) if fits else pl.Series(field.name, [None] * came.len(), dtype=field.dtype)
    )
    what = wrong(field) if fits else f"{wrong(field)}; the column is {_shown_type(came.dtype)}"
    whys: list[tuple[str, Flag]] = [(what, column.is_null() & came.is_not_null())]
    if not field.nullable:
        whys.append((NULL, came.is_null()))
    if fits:
        whys += [(what, rule.fill_null(value=False)) for what, rule in _rules(field)]
    return column, whys


def _absent(field: Field, rows: int, extra: Sequence[str]) -> tuple[pl.Series, list[tuple[str, Flag]]]:
    """A column that did not come: its default, unless it must come or seems to have come under another name."""
    column = pl.Series(field.name, [field.default], dtype=field.dtype).new_from_index(0, rows)
    meant = get_close_matches(field.name, extra, n=1, cutoff=0.6 if field.required else 0.85)
    if not field.required and not meant:
        return column, [(MISSING, pl.repeat(value=False, n=rows, dtype=pl.Boolean))]
    hint = f"; the column {meant[0]} is not known: is it meant?" if meant else ""
    return column, [(MISSING + hint, pl.repeat(value=True, n=rows, dtype=pl.Boolean))]


def _fits(came: pl.DataType, wanted: pl.DataType) -> bool:
    """Whether a column of this type can hold the wanted values as they are."""
    if came == pl.Null or came == wanted:
        return True
    if isinstance(wanted, pl.String):
        return came in (pl.Categorical, pl.Enum)
    if isinstance(wanted, pl.Int64):
        return came.is_integer()
    if isinstance(wanted, pl.Float64):
        return came.is_integer() or came.is_float()
    return wanted == INSTANT and isinstance(came, pl.Datetime) and came.time_zone is not None


def _rules(field: Field) -> Iterator[tuple[str, pl.Expr]]:
    column = pl.col(field.name)
    if isinstance(field.dtype, pl.Float64):
        yield wrong(field), ~column.is_finite()
    if field.dtype == INSTANT:
        yield wrong(field), ~column.is_between(_FIRST, _LAST)
    if isinstance(field.dtype, pl.Date):
        yield wrong(field), ~column.is_between(date.min, date.max)
    if field.choices:
        yield wrong(field), ~column.is_in(field.choices)
    for rule, value in field.rules:
        yield broken(rule, value), _breaks(column, rule, value)


def _breaks(column: pl.Expr, rule: str, value: Any) -> pl.Expr:
    tests: dict[str, Callable[[], pl.Expr]] = {
        "gt": lambda: ~column.gt(value),
        "ge": lambda: ~column.ge(value),
        "lt": lambda: ~column.lt(value),
        "le": lambda: ~column.le(value),
        "multiple_of": lambda: column.mod(value).ne(0),
        "min_length": lambda: column.str.len_chars().lt(value),
        "max_length": lambda: column.str.len_chars().gt(value),
        "pattern": lambda: ~column.str.contains(value),
    }
    return tests[rule]()


def _shown_type(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is None:
        return "of times without a zone"
    return "of mixed Python objects" if dtype == pl.Object else str(dtype)


def sample_of(rows: pl.DataFrame, flag: pl.Series, fields: Sequence[Field]) -> list[dict[str, object]]:
    """The first of the flagged rows as JSON, without the values of fields that are not logged."""
    if not rows.width:
        return [{}] * min(int(flag.sum()), SAMPLE)
    first = rows[flag.arg_true().head(SAMPLE).to_list()]
    hidden = {field.name for field in fields if not field.logged}
    columns = {
        column.name: [_NOT_SHOWN] * first.height if column.name in hidden else _as_json(column)
        for column in first.get_columns()
    }
    return [{name: values[i] for name, values in columns.items()} for i in range(first.height)]


def _as_json(column: pl.Series) -> list[object]:
    """A column's values as JSON; times outside Python's years, which polars can hold and not show, as a word."""
    dtype = column.dtype
    if isinstance(dtype, pl.Datetime | pl.Date):
        utc = column.dt.convert_time_zone("UTC") if isinstance(dtype, pl.Datetime) and dtype.time_zone else column
        first, last = _SPANS[isinstance(dtype, pl.Datetime), utc is not column]
        inside = utc.set(~utc.is_between(first, last).fill_null(value=False), None)
        pairs = zip(inside.to_list(), column.is_null().to_list(), strict=True)
        return [value.isoformat() if value else None if null else _BEYOND for value, null in pairs]
    if dtype.is_nested() or isinstance(dtype, pl.Duration | pl.Time | pl.Binary):
        return [f"({dtype})"] * column.len()
    return [value if _is_json(value) else str(value) for value in column.to_list()]


def _is_json(value: object) -> bool:
    return value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and isfinite(value))
