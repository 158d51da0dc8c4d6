"""Rows with labels from outside, checked against Row and Label: the good ones as examples, the others set aside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from perene.definition.arrivals import arrived
from perene.definition.checking import BadColumn, sample_of
from perene.definition.label import Task
from perene.definition.model import Model
from perene.errors import DataError
from perene.pipelines.changing import IDENTITY, last_of_each, no_examples
from perene.pipelines.knowing import FUTURE, latest_event, too_early
from perene.storage.envelope import INSTANT, keys

_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """Checked rows: good examples (``key, event_at, row, label, known_at``), and what was set aside.

    ``bad_days`` has the day of each bad row, null where that cannot be told. ``total`` counts all rows.
    """

    examples: pl.DataFrame
    aside: tuple[BadColumn, ...]
    bad_days: pl.Series
    total: int


def check_examples(
    model: Model, given: object, *, now: datetime, who: str, span: tuple[datetime, datetime] | None = None
) -> Arrived:
    """Check rows with labels, column by column.

    A label that is known later than ``now`` keeps that ``known_at``; see ``hide_later``.

    Args:
        given: A frame with the Row's columns, the label and, if the label declares one, its ``known_at`` column.
        who: What gave them, for messages: ``"flights()"``, a file's name.
        span: Events of [since, until) were asked for; others are bad.

    Raises:
        DataError: a column of the label is missing.
    """
    frame = arrived(given)
    if frame.is_empty():
        nothing = pl.Series("day", [], dtype=pl.Date)
        return Arrived(examples=no_examples(model), aside=(), bad_days=nothing, total=0)
    _require_columns(model, frame, who)
    checked = model.schema.check(frame)
    rest = frame.filter(~checked.bad_rows)
    label, whys = _label(model, rest[model.label.name])
    known_at, more = _known_at(model, rest, labelled=label.is_not_null(), now=now)
    event_at = checked.good[model.at].alias("event_at")
    rows = pl.DataFrame([keys(checked.good, model.key).alias("key"), event_at, label, known_at])
    whys += [*more, *_outside(model, rows, span), _early(model, rows)]
    whys.append(_told_again(model, rows, whys))
    bad, aside = _set_aside(model, rest, whys)
    examples = rows.with_columns(row=checked.good.to_struct("row")).filter(~bad)
    days = pl.concat([_day(frame.filter(checked.bad_rows), model.at), _day(rest.filter(bad), model.at)])
    unlabelled = pl.col("event_at") - model.asked
    return Arrived(
        examples=examples.with_columns(
            known_at=pl.when(pl.col("label").is_null()).then(unlabelled).otherwise("known_at").cast(INSTANT)
        ).select("key", "event_at", "row", "label", "known_at"),
        aside=(*checked.bad, *aside),
        bad_days=days,
        total=frame.height,
    )


def hide_later(model: Model, examples: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Examples without the labels that are not known yet."""
    later = pl.col("known_at") > now
    asked_at = (pl.col("event_at") - model.asked).cast(INSTANT)
    return examples.with_columns(
        label=pl.when(~later).then("label"), known_at=pl.when(later).then(asked_at).otherwise("known_at")
    )


def refuse_many(model: Model, arrived: Arrived, who: str) -> None:
    """Refuse rows of which more than the declared share is bad. Raises DataError."""
    bad = arrived.bad_days.len()
    if not bad or bad / arrived.total <= model.max_bad:
        return
    raise DataError(
        f"{bad:,} of {arrived.total:,} rows of {who} do not fit {model.schema.name} and its label",
        why=f"{bad / arrived.total:.1%} are bad; max_bad allows {model.max_bad:.1%}",
        seen=tuple(_seen(column) for column in arrived.aside),
        mend="mend the rows where they come from, or declare a larger max_bad",
        code="bad-rows",
    )


def _seen(column: BadColumn) -> str:
    example = f", as {column.sample[0]}" if column.sample else ""
    return f"{column.field or 'row'} {column.what} ({column.rows:,} rows{example})"


def _require_columns(model: Model, frame: pl.DataFrame, who: str) -> None:
    wanted = [name for name in (model.label.name, model.label.known_at) if name is not None]
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise DataError(
            f"{who} has no column {', '.join(missing)}",
            why=f"its columns are {', '.join(frame.columns)}",
            mend=f"give {' and '.join(wanted)} beside the fields of {model.schema.name}; null where there is no label",
            code="data-columns",
        )


Why = tuple[str, str, pl.Series]
"""A field, what is wrong with it, and in which rows."""


def _label(model: Model, came: pl.Series) -> tuple[pl.Series, list[Why]]:
    """The label's column in its type (null where a value does not fit), and where it does not fit."""
    name, dtype = model.label.name, model.label.dtype
    fits = came.dtype == pl.Null or _fits(came.dtype, dtype)
    label = (came if fits else pl.Series([None] * came.len(), dtype=pl.Null)).cast(dtype, strict=False)
    what = f"must be {_expected(model)}" + ("" if fits else f"; the column is {came.dtype}")
    wrong = came.is_not_null() & label.is_null()
    if model.label.task is Task.MULTICLASS:
        wrong = wrong | ~label.is_in(list(model.label.classes)).fill_null(value=True)
    elif dtype == pl.Float64:
        wrong = wrong | ~label.is_finite().fill_null(value=True)
    return label.alias("label"), [(name, what, wrong)]


def _fits(came: pl.DataType, wanted: pl.DataType) -> bool:
    if wanted == pl.String:
        return came in (pl.String, pl.Categorical, pl.Enum)
    if wanted == pl.Float64:
        return came.is_numeric() or came == pl.Boolean
    return came == wanted


def _expected(model: Model) -> str:
    if model.label.task is Task.MULTICLASS:
        return f"one of {', '.join(model.label.classes)}"
    return "true, false or null" if model.label.dtype == pl.Boolean else "a finite number or null"


def _known_at(model: Model, rows: pl.DataFrame, *, labelled: pl.Series, now: datetime) -> tuple[pl.Series, list[Why]]:
    """When each label was known; now, for a label that does not declare where that stands."""
    name = model.label.known_at
    if name is None:
        return pl.Series("known_at", [now], dtype=INSTANT).new_from_index(0, rows.height), []
    came = rows[name]
    zoned = isinstance(came.dtype, pl.Datetime) and came.dtype.time_zone is not None
    known_at = came.cast(INSTANT) if zoned else pl.Series([None] * came.len(), dtype=INSTANT)
    known_at = known_at.set(~known_at.is_between(_FIRST, _LAST).fill_null(value=False), None)
    what = "must say when the label was known" + ("" if zoned or came.dtype == pl.Null else _TIMES.format(came.dtype))
    return known_at.alias("known_at"), [(name, what, labelled & known_at.is_null())]


_TIMES = ", as instants with a time zone; the column is {}"


def _outside(model: Model, rows: pl.DataFrame, span: tuple[datetime, datetime] | None) -> Iterator[Why]:
    """Rows of other days than were asked for."""
    if span is not None:
        outside = ~rows["event_at"].is_between(*span, closed="left")
        yield model.at, f"is not in [{span[0]:%Y-%m-%d}, {span[1]:%Y-%m-%d}), for which it was asked", outside


def _early(model: Model, rows: pl.DataFrame) -> Why:
    """Rows whose label was known before their prediction is asked for."""
    early = (rows["event_at"] > latest_event(model, rows["known_at"])).fill_null(value=False)
    flag = rows["label"].is_not_null() & early
    return (model.at, FUTURE, flag) if model.label.known_at is None else (model.label.known_at, too_early(model), flag)


def _told_again(model: Model, rows: pl.DataFrame, whys: list[Why]) -> Why:
    """Rows whose identity comes again: the last that is not bad otherwise holds."""
    good = ~_any(rows, whys)
    again = last_of_each(rows.filter(good), IDENTITY).not_()
    flag = pl.Series([False] * rows.height, dtype=pl.Boolean).scatter(good.arg_true(), again)
    return "", f"has the same {', '.join(model.key)} and {model.at} as a later row", flag


def _any(rows: pl.DataFrame, whys: list[Why]) -> pl.Series:
    """Which rows are bad for any of these reasons."""
    bad = pl.Series([False] * rows.height, dtype=pl.Boolean)
    for _, _, flag in whys:
        bad = bad | flag
    return bad


def _set_aside(model: Model, rows: pl.DataFrame, whys: list[Why]) -> tuple[pl.Series, list[BadColumn]]:
    """Which rows are bad, and why."""
    aside = []
    for field, what, flag in whys:
        if count := int(flag.sum()):
            sample = sample_of(rows, flag, model.schema.fields)
            aside.append(BadColumn(field=field, what=what, rows=count, sample=sample))
    return _any(rows, whys), aside


def _day(rows: pl.DataFrame, at: str) -> pl.Series:
    """The day of each row, null where its time cannot be read."""
    came = rows[at] if at in rows.columns else pl.Series([None] * rows.height, dtype=pl.Null)
    zoned = isinstance(came.dtype, pl.Datetime) and came.dtype.time_zone is not None
    return (came.cast(INSTANT).dt.date() if zoned else pl.Series([None] * rows.height, dtype=pl.Date)).alias("day")
