"""Answered rows as a journal keeps them, and back into lines of the prediction log.

Instants are kept as microseconds since 1970, and days as days: integers cost neither server nor drain anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec
import polars as pl

from perene.definition.model import Model
from perene.pipelines.serving import Answered, build_envelope, logged_fields
from perene.storage.envelope import INSTANT, keys
from perene.storage.journal import Entry, JournalReader

AnswerValue = bool | int | float | str | list[float]
_ENCODER = msgspec.msgpack.Encoder()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class AnsweredRow(msgspec.Struct, frozen=True, array_like=True):
    """One answered row. Fields are only ever added at the end, with a default.

    ``request`` holds the fields that may be logged; ``key`` stands only where they do not give it. ``row_digest`` is of
    the whole row, and stands only where the caller gave the id.
    """

    prediction_id: str
    request_id: str
    position: int
    model_version: int
    recipe: str
    event_at: int
    predicted_at: int
    recorded_at: int
    request: dict[str, object]
    raw: float | list[float]
    steps: list[object]
    final: AnswerValue
    key: str = ""
    row_digest: str = ""
    features: str | None = None  # a JSON object
    role: str = "champion"
    mode: str = "online"
    group: str = ""  # of rows that are ranked together
    rank: int | None = None  # 1 is the first; None of what is not ranked, or was removed
    removed: str | None = None  # why a post step took it out
    computed_at: int | None = None  # of an answer that was stored: when it was computed

    def entry(self, model: str) -> Entry:
        """Its line in the journal."""
        body, is_given = _ENCODER.encode(self), bool(self.row_digest)
        return Entry(kind="prediction", model=model, id=self.prediction_id, body=body, is_given=is_given)


_DECODER = msgspec.msgpack.Decoder(AnsweredRow)


def answered_row(body: bytes) -> AnsweredRow:
    """Read a line of the journal."""
    return _DECODER.decode(body)


def instant(value: datetime) -> int:
    """An instant as the journal keeps it."""
    return (value - _EPOCH) // _MICROSECOND


def at_instant(kept: int) -> datetime:
    """The instant that the journal kept."""
    return _EPOCH + kept * _MICROSECOND


def day_of(kept: int) -> date:
    """The UTC day of a kept instant."""
    return at_instant(kept).date()


def row_digest(record: Mapping[str, object]) -> str:
    """The digest by which the same row is known when its prediction id comes again."""
    return hashlib.sha256(msgspec.json.encode(record, order="sorted")).hexdigest()


def envelope_of(model: Model, lines: Sequence[AnsweredRow]) -> pl.DataFrame:
    """The lines of the prediction log for lines of a journal."""
    rows = _frame_of(model, [line.request for line in lines])
    features = [line.features for line in lines]
    has_keys = all(line.key for line in lines)
    return build_envelope(
        model,
        Answered(
            prediction_id=[line.prediction_id for line in lines],
            request_id=[line.request_id for line in lines],
            position=[line.position for line in lines],
            model_version=[line.model_version for line in lines],
            recipe=[line.recipe for line in lines],
            key=pl.Series([line.key for line in lines]) if has_keys else keys(rows, model.key),
            event_at=_instants(line.event_at for line in lines),
            predicted_at=_instants(line.predicted_at for line in lines),
            recorded_at=_instants(line.recorded_at for line in lines),
            rows=rows,
            raw=[line.raw for line in lines],
            steps=[line.steps for line in lines],
            final=[line.final for line in lines],
            features=features if any(features) else None,
            role=[line.role for line in lines],
            mode=[line.mode for line in lines],
            group=[line.group or None for line in lines],
            rank=[line.rank for line in lines],
            removed=[line.removed for line in lines],
            computed_at=_instants(line.computed_at for line in lines),
        ),
    )


def waiting_predictions(model: Model, journals: JournalReader) -> pl.DataFrame | None:
    """What servers answered and the lake does not hold yet, as lines of the log; None when nothing waits.

    Read it before the lake, and keep one line per prediction id: a drain may come in between.
    """
    entries = journals.entries(model.name, "prediction")
    return envelope_of(model, [answered_row(e.body) for e in entries]) if entries else None


def _instants(values: Iterable[int | None]) -> pl.Series:
    return pl.Series(list(values), dtype=pl.Int64).cast(INSTANT)


def _frame_of(model: Model, requests: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    """Logged fields as a frame; a field that the Row gained since then is null, one of another type is an error."""
    columns: dict[str, pl.Series] = {}
    for name in logged_fields(model):
        dtype = model.schema.polars[name]
        cells = [request.get(name) for request in requests]
        columns[name] = pl.Series(cells, dtype=pl.Int64 if dtype.is_temporal() else dtype).cast(dtype)
    return pl.DataFrame(columns)
