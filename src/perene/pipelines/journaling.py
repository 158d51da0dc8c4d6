"""Answered rows as a journal keeps them, and back into lines of the prediction log.

Instants are kept as microseconds since 1970, and days as days: integers cost neither server nor drain anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import chain, repeat
from operator import attrgetter, itemgetter
from typing import Any

import msgspec
import polars as pl

from perene.definition.model import Model
from perene.pipelines.serving import Answered, build_envelope, logged_fields
from perene.storage.envelope import INSTANT, keys
from perene.storage.journal import Entry, JournalReader

_ENCODER = msgspec.msgpack.Encoder()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class AnsweredRows(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Rows that one version answered together: scalars, and columns of one length, in the order of the rows.

    Fields are only ever added at the end, with a default. ``request`` holds the fields that may be logged; ``key``
    stands only where they do not give it. ``row_digest`` is of the whole row, of those whose id the caller gave, else
    "".
    """

    model_version: int
    recipe: str
    predicted_at: int
    recorded_at: int
    prediction_id: list[str]
    request_id: list[str]
    position: list[int]
    event_at: list[int]
    request: dict[str, list[Any]]
    raw: list[Any]
    steps: list[list[Any]]  # one list per row
    final: list[Any]
    key: list[str] | None = None
    row_digest: list[str] | None = None
    features: list[str | None] | None = None  # JSON objects
    role: str = "champion"
    mode: str = "online"
    group: list[str] | None = None  # of rows that are ranked together
    rank: list[int | None] | None = None  # 1 is the first; None of what was removed
    removed: list[str | None] | None = None  # why a post step took it out
    computed_at: int | None = None  # of answers that were stored: when they were computed

    def __len__(self) -> int:
        return len(self.prediction_id)

    def take(self, places: Sequence[int]) -> AnsweredRows:
        """Those at these places."""
        columns: dict[str, Any] = {
            name: [column[i] for i in places] for name in _COLUMNS if (column := getattr(self, name)) is not None
        }
        columns["request"] = {name: [column[i] for i in places] for name, column in self.request.items()}
        return msgspec.structs.replace(self, **columns)

    def entries(self, model: str) -> list[Entry]:
        """Their entries in the journal: one of all, and one of each whose id the caller gave."""
        if not self.row_digest:
            return [self._entry(model, None)] if self.prediction_id else []
        given = [place for place, digest in enumerate(self.row_digest) if digest]
        made = [self.take([place])._entry(model, self.prediction_id[place]) for place in given]
        rest = [place for place, digest in enumerate(self.row_digest) if not digest]
        return made + ([msgspec.structs.replace(self.take(rest), row_digest=None)._entry(model, None)] if rest else [])

    def _entry(self, model: str, id_: str | None) -> Entry:
        return Entry(kind="prediction", model=model, lines=len(self), id=id_, body=_ENCODER.encode(self))


_COLUMNS = [
    "prediction_id", "request_id", "position", "event_at", "raw", "steps", "final", "key", "row_digest", "features",
    "group", "rank", "removed",
]  # fmt: skip
_DECODER = msgspec.msgpack.Decoder(AnsweredRows)


def answered_rows(body: bytes) -> AnsweredRows:
    """Read an entry of the journal."""
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


def envelope_of(model: Model, parts: Sequence[AnsweredRows]) -> pl.DataFrame:
    """The lines of the prediction log for what a journal holds, part after part."""
    heights = [*map(len, parts)]

    def of_rows(name: str) -> list[Any]:
        return [*chain.from_iterable(map(attrgetter(name), parts))]

    def of_parts(name: str) -> list[Any]:
        return [*chain.from_iterable(map(repeat, map(attrgetter(name), parts), heights))]

    def of_some(name: str) -> list[Any] | None:
        columns = [*map(attrgetter(name), parts)]
        if not any(columns):
            return None
        whole = (repeat(None, n) if column is None else column for column, n in zip(columns, heights, strict=True))
        return [*chain.from_iterable(whole)]

    rows = _frame_of(model, parts)
    return build_envelope(
        model,
        Answered(
            prediction_id=of_rows("prediction_id"),
            request_id=of_rows("request_id"),
            position=of_rows("position"),
            model_version=of_parts("model_version"),
            recipe=of_parts("recipe"),
            key=keys(rows, model.key) if any(part.key is None for part in parts) else pl.Series(of_rows("key")),
            event_at=_instants(of_rows("event_at")),
            predicted_at=_instants(of_parts("predicted_at")),
            recorded_at=_instants(of_parts("recorded_at")),
            rows=rows,
            raw=of_rows("raw"),
            steps=of_rows("steps"),
            final=of_rows("final"),
            features=of_some("features"),
            role=of_parts("role"),
            mode=of_parts("mode"),
            group=of_some("group"),
            rank=of_some("rank"),
            removed=of_some("removed"),
            computed_at=_instants(of_parts("computed_at")),
        ),
    )


def waiting_predictions(model: Model, journals: JournalReader) -> pl.DataFrame | None:
    """What servers answered and the lake does not hold yet, as lines of the log; None when nothing waits.

    Read it before the lake, and keep one line per prediction id: a drain may come in between.
    """
    parts = waiting_rows(model, journals)
    return envelope_of(model, parts) if parts else None


def waiting_rows(model: Model, journals: JournalReader) -> list[AnsweredRows]:
    """What servers answered and the lake does not hold yet."""
    return [answered_rows(entry.body) for entry in journals.entries(model.name, "prediction")]


def _instants(values: Sequence[int | None]) -> pl.Series:
    return pl.Series(values, dtype=pl.Int64).cast(INSTANT)


def _frame_of(model: Model, parts: Sequence[AnsweredRows]) -> pl.DataFrame:
    """Logged fields as a frame; a field that the Row gained since then is null, one of another type is an error."""
    requests = [part.request for part in parts]
    columns: dict[str, pl.Series] = {}
    for name in logged_fields(model):
        dtype = model.schema.polars[name]
        try:
            cells = [*chain.from_iterable(map(itemgetter(name), requests))]
        except KeyError:
            cells = [*chain.from_iterable(part.request.get(name) or repeat(None, len(part)) for part in parts)]
        columns[name] = pl.Series(cells, dtype=pl.Int64 if dtype.is_temporal() else dtype).cast(dtype)
    return pl.DataFrame(columns)
