"""Ground truth on its way to the log: rows as people and programs post them, checked against Label and Row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import polars as pl
import pydantic

from perene.definition.checking import check_frame
from perene.definition.columns import Field
from perene.definition.label import Task
from perene.definition.model import Model
from perene.definition.row import MOST_BAD, bad_fields, validator
from perene.errors import BadField, BadRows, DataError
from perene.pipelines.knowing import FUTURE, latest_event, too_early
from perene.records.identity import identity
from perene.storage.envelope import keys
from perene.storage.journal import Entry

_INSTANT = pl.Datetime("us", "UTC")
_ENCODER = msgspec.msgpack.Encoder()
_TOLD = 20  # bad rows of a field that are named
_LONGEST_ID = 200  # characters
_AHEAD = timedelta(minutes=1)  # by how much a caller's clock may be ahead of project time


class Truth(msgspec.Struct, frozen=True, array_like=True):
    """One ground truth as the journal keeps it: of one prediction (its id), or of all of an identity (key, event_at).

    A label of None takes back what was said before; instants are in UTC. Fields are only ever added at the end, with a
    default.
    """

    prediction_id: str | None
    key: str | None
    event_at: datetime | None
    label: bool | float | str | None
    known_at: datetime
    recorded_at: datetime
    source: str


_DECODER = msgspec.msgpack.Decoder(list[Truth])


def truths_entry(model: str, truths: Sequence[Truth]) -> Entry:
    """The entry of ground truths in the journal."""
    return Entry(kind="truth", model=model, lines=len(truths), id=None, body=_ENCODER.encode(truths))


def truths_of(entries: Iterable[Entry]) -> list[Truth]:
    """Read entries of the journal."""
    return [truth for entry in entries for truth in _DECODER.decode(entry.body)]


def parse_truths(
    model: Model, items: Sequence[object], *, now: datetime, recorded_at: datetime, source: str
) -> list[Truth]:
    """Check posted rows and read them.

    A row has the label under its name (null takes it back), when it was known under the label's ``known_at`` name (now,
    when it does not say), and either ``prediction_id`` or the key fields and the time field. A label cannot be known
    before its prediction is asked for. Raises BadRows, which names each bad row and field.
    """
    shapes = {by_id: truth_fields(model, by_id=by_id, now=now) for by_id in (True, False)}
    checks = {by_id: validator(fields, json=True) for by_id, fields in shapes.items()}
    truths: list[Truth] = []
    bad: list[BadField] = []
    bad_rows = 0
    for position, item in enumerate(items):
        by_id = isinstance(item, dict) and "prediction_id" in item
        try:
            (said,) = checks[by_id].validate_python([item])
        except pydantic.ValidationError as error:
            bad_rows += 1
            if len(bad) < MOST_BAD:
                bad += [replace(found, row=position) for found in bad_fields(error, shapes[by_id], [item])]
            continue
        if not by_id and (early := _early(model, said, now)) is not None:
            bad_rows += 1
            bad.append(replace(early, row=position))
            continue
        truths.append(_truth(model, said, now=now, recorded_at=recorded_at, source=source))
    if bad:
        raise _no_truths(model, bad[:MOST_BAD], rows=bad_rows, of=len(items))
    return truths


def truths_frame(model: Model, truths: Sequence[Truth]) -> pl.DataFrame:
    """The lines of the ground-truth log, but for the ingest number, which the lake gives."""
    return pl.DataFrame(
        {
            "key": pl.Series([t.key for t in truths], dtype=pl.String),
            "event_at": pl.Series([t.event_at for t in truths], dtype=_INSTANT),
            "prediction_id": pl.Series([t.prediction_id for t in truths], dtype=pl.String),
            "label": pl.Series([t.label for t in truths], dtype=model.label.dtype),
            "known_at": pl.Series([t.known_at for t in truths], dtype=_INSTANT),
            "recorded_at": pl.Series([t.recorded_at for t in truths], dtype=_INSTANT),
            "source": pl.Series([t.source for t in truths], dtype=pl.String),
            "retracted": pl.Series([t.label is None for t in truths], dtype=pl.Boolean),
            "day": pl.Series([(t.event_at or t.known_at).date() for t in truths], dtype=pl.Date),
        }
    )


def check_truths(
    model: Model, frame: pl.DataFrame, *, now: datetime, recorded_at: datetime, source: str
) -> pl.DataFrame:
    """Rows of ground truth in bulk as lines of the log: the same rules as ``parse_truths``, column by column.

    Raises BadRows, which names the first bad rows of each field.
    """
    fields = truth_fields(model, by_id="prediction_id" in frame.columns, now=now)
    _refuse_columns(model, frame, fields)
    columns: dict[str, pl.Series] = {}
    bad: list[BadField] = []
    wrong = pl.Series([False], dtype=pl.Boolean).new_from_index(0, frame.height)
    for field in fields:
        if field.name not in frame.columns:
            columns[field.name] = pl.Series([field.default], dtype=field.dtype).new_from_index(0, frame.height)
            continue
        checked = check_frame(frame.select(field.name), [field])
        columns[field.name] = _in_place(checked.good[field.name], ~checked.bad_rows)
        wrong = wrong | checked.bad_rows
        bad += [_bad_cell(frame, row, field) for row in checked.bad_rows.arg_true().head(_TOLD)]
    if "prediction_id" not in columns:
        early = _are_early(model, columns, now) & ~wrong
        said = frame.get_column(_known_name(model), default=None)
        rows = early.arg_true().head(_TOLD)
        bad += [_too_early(model, row, is_given=said is not None and said[row] is not None) for row in rows]
        wrong = wrong | early
    if bad:
        raise _no_truths(model, sorted(bad, key=lambda found: found.row), rows=int(wrong.sum()), of=frame.height)
    return _lines(model, columns, frame.height, now=now, recorded_at=recorded_at, source=source)


def truth_fields(model: Model, *, by_id: bool, now: datetime) -> tuple[Field, ...]:
    """What a row of ground truth has: its subject, the label, and when that was known, which is not after now."""
    label = model.label
    kind = "str" if label.task is Task.MULTICLASS else "bool" if label.dtype == pl.Boolean else "float"
    usual = Field(
        name=label.name, kind=kind, dtype=label.dtype, nullable=True, required=True, default=None,
        choices=label.classes or None, rules=(), logged=True, pii=False,
    )  # fmt: skip
    known_at = replace(
        usual, name=_known_name(model), kind="datetime", dtype=_INSTANT, required=False, choices=None,
        rules=(("le", now + _AHEAD),),
    )  # fmt: skip
    if not by_id:
        return (*(model.schema[name] for name in (*model.key, model.at)), usual, known_at)
    lengths = (("min_length", 1), ("max_length", _LONGEST_ID))
    one = replace(
        usual, name="prediction_id", kind="str", dtype=pl.String(), nullable=False, choices=None, rules=lengths
    )
    return one, usual, known_at


def _early(model: Model, said: Mapping[str, Any], now: datetime) -> BadField | None:
    """What is wrong with a label that was known before its prediction is asked for. To take one back is never early."""
    known_at = said[_known_name(model)]
    if said[model.label.name] is None or said[model.at] <= latest_event(model, known_at or now):
        return None
    return _too_early(model, 0, is_given=known_at is not None)


def _are_early(model: Model, columns: Mapping[str, pl.Series], now: datetime) -> pl.Series:
    """The same, column by column."""
    last = latest_event(model, columns[_known_name(model)].fill_null(now))
    return (columns[model.label.name].is_not_null() & (columns[model.at] > last)).fill_null(value=False)


def _in_place(values: pl.Series, where: pl.Series) -> pl.Series:
    """Values in the rows that they belong to, and null in the others."""
    nothing = pl.Series([None], dtype=values.dtype).new_from_index(0, where.len())
    return nothing.scatter(where.arg_true(), values)


def _too_early(model: Model, row: int, *, is_given: bool) -> BadField:
    if is_given:
        return BadField(row=row, field=_known_name(model), what=too_early(model))
    return BadField(row=row, field=model.at, what=FUTURE)


def _known_name(model: Model) -> str:
    return model.label.known_at or "known_at"


def _refuse_columns(model: Model, frame: pl.DataFrame, fields: Sequence[Field]) -> None:
    absent = sorted({field.name for field in fields if field.required} - set(frame.columns))
    unknown = sorted(set(frame.columns) - {field.name for field in fields})
    if absent or unknown:
        wanted = f"prediction_id, or {', '.join((*model.key, model.at))}; and {model.label.name}"
        raise DataError(
            f"these columns are no ground truth of {model.name}",
            why="; ".join(
                f"{word} {', '.join(names)}" for word, names in (("missing", absent), ("not known", unknown)) if names
            ),
            mend=f"give {wanted}; {_known_name(model)} says when it was known",
            code="data-columns",
        )


def _bad_cell(frame: pl.DataFrame, row: int, field: Field) -> BadField:
    """What is wrong with one cell, which is alone in the first place."""
    alone = check_frame(frame[row : row + 1].select(field.name), [field])
    return BadField(row=row, field=field.name, what=alone.bad[0].what)


def _no_truths(model: Model, bad: Sequence[BadField], *, rows: int, of: int) -> BadRows:
    what = f"{rows} of {of} {'row is' if rows == 1 else 'rows are'} no ground truth of {model.name}"
    return BadRows(what, tuple(bad), mend="mend these rows and send all of them again; none was taken")


def _lines(
    model: Model, columns: Mapping[str, pl.Series], height: int, *, now: datetime, recorded_at: datetime, source: str
) -> pl.DataFrame:
    """The lines of the log for checked columns."""
    nothing = pl.Series([None] * height)
    by_id = "prediction_id" in columns
    known_at = columns[_known_name(model)].fill_null(now)
    event_at = nothing.cast(_INSTANT) if by_id else columns[model.at]
    label = columns[model.label.name]
    return pl.DataFrame(
        {
            "key": nothing.cast(pl.String) if by_id else keys(pl.DataFrame(columns), model.key),
            "event_at": event_at,
            "prediction_id": columns["prediction_id"] if by_id else nothing.cast(pl.String),
            "label": label,
            "known_at": known_at,
            "recorded_at": pl.Series([recorded_at], dtype=_INSTANT).new_from_index(0, height),
            "source": pl.Series([source], dtype=pl.String).new_from_index(0, height),
            "retracted": label.is_null(),
            "day": pl.select(pl.coalesce(event_at, known_at).dt.date()).to_series(),
        }
    )


def _truth(model: Model, said: Mapping[str, Any], *, now: datetime, recorded_at: datetime, source: str) -> Truth:
    by_id = said.get("prediction_id")
    known_at = said[_known_name(model)] or now
    return Truth(
        prediction_id=by_id,
        key=None if by_id else identity({name: said[name] for name in model.key}),
        event_at=None if by_id else said[model.at].astimezone(UTC),
        label=said[model.label.name],
        known_at=known_at.astimezone(UTC),
        recorded_at=recorded_at,
        source=source,
    )
