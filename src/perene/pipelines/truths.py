"""Ground truth on its way to the log: rows as people and programs post them, checked against Label and Row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Literal

import msgspec
import polars as pl
import pydantic

from perene.definition.checking import check_frame
from perene.definition.label import Task
from perene.definition.model import Model
from perene.errors import BadField, BadRows, DataError
from perene.records.identity import identity
from perene.storage.envelope import keys
from perene.storage.journal import Entry

_INSTANT = pl.Datetime("us", "UTC")
_ENCODER = msgspec.msgpack.Encoder()
_TOLD = 20  # bad rows of a field that are named
_AHEAD = timedelta(minutes=1)  # by how much a caller's clock may be ahead of project time


class Truth(msgspec.Struct, frozen=True, array_like=True):
    """One ground truth as the journal keeps it: of one prediction (its id), or of all of an identity (key, event_at).

    A label of None takes back what was said before. Fields are only ever added at the end, with a default.
    """

    prediction_id: str | None
    key: str | None
    event_at: datetime | None
    label: bool | float | str | None
    known_at: datetime
    recorded_at: datetime
    source: str

    def entry(self, model: str) -> Entry:
        """Its line in the journal."""
        return Entry(kind="truth", model=model, id=self.prediction_id or "", body=_ENCODER.encode(self))


_DECODER = msgspec.msgpack.Decoder(Truth)


def truth_of(body: bytes) -> Truth:
    """Read a line of the journal."""
    return _DECODER.decode(body)


def parse_truths(
    model: Model, items: Sequence[object], *, now: datetime, recorded_at: datetime, source: str
) -> list[Truth]:
    """Check posted rows and read them.

    A row has the label under its name (null takes it back), when it was known under the label's ``known_at`` name (now,
    when it does not say), and either ``prediction_id`` or the key fields and the time field. Raises BadRows, which
    names each bad row and field.
    """
    truths: list[Truth] = []
    bad: list[BadField] = []
    for position, item in enumerate(items):
        if not isinstance(item, dict):
            bad.append(BadField(row=position, field="", what="a row is an object of fields"))
            continue
        try:
            fields = _shape(model, "prediction_id" in item).model_validate_json(msgspec.json.encode(item))
        except pydantic.ValidationError as error:
            bad += [_bad_field(position, detail) for detail in error.errors(include_url=False, include_input=False)]
            continue
        truth = _truth(model, fields, now=now, recorded_at=recorded_at, source=source)
        if truth.known_at > now + _AHEAD:
            what = f"{truth.known_at.isoformat()} is not yet: it is {now.isoformat()}"
            bad.append(BadField(row=position, field=_known_at_name(model), what=what))
        truths.append(truth)
    if bad:
        raise BadRows(
            f"{len({b.row for b in bad})} of {len(items)} rows are no ground truth of {model.name}", tuple(bad)
        )
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
    by_id = "prediction_id" in frame.columns
    known_name = _known_at_name(model)
    subject = [] if by_id else [model.schema[name] for name in (*model.key, model.at)]
    known = {"prediction_id", model.label.name, known_name, *(field.name for field in subject)}
    _refuse_columns(model, frame, known - {known_name}, known)
    checked = check_frame(frame.select(field.name for field in subject), subject) if subject else None
    label, bad = _labels(model, frame[model.label.name])
    known_at = _known_times(frame, known_name, now)
    late = known_at.is_null() | (known_at > now + _AHEAD)
    bad += [(known_name, f"must be an instant that is over: it is {now.isoformat()}", late)]
    if by_id:
        bad += [("prediction_id", "must be a text", frame["prediction_id"].cast(pl.String).fill_null("") == "")]
    fields = [
        BadField(row=row, field=name, what=what) for name, what, rows in bad for row in rows.arg_true().head(_TOLD)
    ]
    if checked is not None:
        wrong = checked.bad_rows.arg_true().head(_TOLD)
        fields += [BadField(row=row, field=column.field, what=column.what) for column in checked.bad for row in wrong]
    if fields:
        raise BadRows(f"rows are no ground truth of {model.name}", tuple(fields))
    nothing = pl.Series([None] * frame.height)
    event_at = nothing.cast(_INSTANT) if checked is None else checked.good[model.at]
    return pl.DataFrame(
        {
            "key": nothing.cast(pl.String) if checked is None else keys(checked.good, model.key),
            "event_at": event_at,
            "prediction_id": frame["prediction_id"].cast(pl.String) if by_id else nothing.cast(pl.String),
            "label": label,
            "known_at": known_at,
            "recorded_at": pl.Series([recorded_at], dtype=_INSTANT).new_from_index(0, frame.height),
            "source": pl.Series([source]).new_from_index(0, frame.height),
            "retracted": label.is_null(),
            "day": pl.select(pl.coalesce(event_at, known_at).dt.date()).to_series(),
        }
    )


def _refuse_columns(model: Model, frame: pl.DataFrame, needed: set[str], known: set[str]) -> None:
    absent = sorted(needed - set(frame.columns) - {"prediction_id"})
    unknown = sorted(set(frame.columns) - known)
    if absent or unknown:
        wanted = f"prediction_id, or {', '.join((*model.key, model.at))}; and {model.label.name}"
        raise DataError(
            f"these columns are no ground truth of {model.name}",
            why="; ".join(
                f"{word} {', '.join(names)}" for word, names in (("missing", absent), ("not known", unknown)) if names
            ),
            mend=f"give {wanted}; {_known_at_name(model)} says when it was known",
            code="data-columns",
        )


def _labels(model: Model, came: pl.Series) -> tuple[pl.Series, list[tuple[str, str, pl.Series]]]:
    """The labels in their type, null where one is taken back, and where they do not fit."""
    label = came.cast(model.label.dtype, strict=False) if came.dtype != pl.String or model.label.classes else came
    wrong = label.is_null() & came.is_not_null()
    if label.dtype != model.label.dtype:
        label, wrong = pl.Series([None] * came.len(), dtype=model.label.dtype), came.is_not_null()
    if model.label.classes:
        wrong = wrong | ~label.is_in(list(model.label.classes)).fill_null(value=True)
    if label.dtype == pl.Float64:
        wrong = wrong | ~label.is_finite().fill_null(value=True)
    return label, [(model.label.name, f"is no {model.label.task} label", wrong)]


def _known_times(frame: pl.DataFrame, name: str, now: datetime) -> pl.Series:
    """When each truth was known; now where it does not say, null where that cannot be read."""
    whole = pl.Series([now], dtype=_INSTANT).new_from_index(0, frame.height)
    if name not in frame.columns or frame[name].dtype == pl.Null:
        return whole
    came = frame[name]
    if not (isinstance(came.dtype, pl.Datetime) and came.dtype.time_zone is not None):
        return pl.Series([None] * frame.height, dtype=_INSTANT)
    return came.cast(_INSTANT).zip_with(came.is_not_null(), whole)


def _truth(model: Model, fields: pydantic.BaseModel, *, now: datetime, recorded_at: datetime, source: str) -> Truth:
    said = fields.model_dump()
    by_id = said.get("prediction_id")
    return Truth(
        prediction_id=by_id,
        key=None if by_id else identity({name: said[name] for name in model.key}),
        event_at=None if by_id else said[model.at],
        label=said[model.label.name],
        known_at=said[_known_at_name(model)] or now,
        recorded_at=recorded_at,
        source=source,
    )


def _known_at_name(model: Model) -> str:
    return model.label.known_at or "known_at"


@lru_cache(maxsize=256)
def _shape(model: Model, by_id: bool) -> type[pydantic.BaseModel]:
    """What a posted row of the model must look like."""
    fields: dict[str, Any] = {
        model.label.name: (_label_type(model) | None, ...),
        _known_at_name(model): (pydantic.AwareDatetime | None, None),
    }
    if by_id:
        fields["prediction_id"] = (pydantic.constr(min_length=1, max_length=200), ...)
    else:
        for name in (*model.key, model.at):
            field = model.row.model_fields[name]
            fields[name] = (field.annotation, field)
    config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)
    return pydantic.create_model(f"{model.row.__name__}Truth", __config__=config, **fields)


def _label_type(model: Model) -> Any:
    if model.label.task is Task.BINARY:
        return bool
    if model.label.task is Task.MULTICLASS:
        return Literal[model.label.classes]
    return float


def _bad_field(row: int, detail: Any) -> BadField:
    return BadField(row=row, field=".".join(str(part) for part in detail["loc"]), what=detail["msg"])
