"""Predictions on their way to the log: the same line whether a server answered, or a table was predicted in bulk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
import numpy as np
import polars as pl

from perene.definition.model import Model
from perene.pipelines.predictor import Output, Predictor
from perene.records.identity import identity, new_id, new_ids
from perene.repositories.predictions import Predictions
from perene.storage.envelope import INSTANT, keys, predictions_columns
from perene.storage.journal import Entry, JournalReader

_ENCODER = msgspec.msgpack.Encoder()
Times = datetime | pl.Series
AnswerValue = bool | int | float | str | list[float]


class AnsweredRow(msgspec.Struct, frozen=True, array_like=True):
    """One answered row as the journal keeps it. Fields are only ever added at the end, with a default.

    ``row_digest`` is of the whole row, logged or not, and stands only where the caller gave the id.
    """

    prediction_id: str
    request_id: str
    position: int
    model_version: int
    recipe: str
    key: str
    event_at: datetime
    predicted_at: datetime
    recorded_at: datetime
    request: dict[str, object]
    raw: float | list[float]
    steps: list[object]
    final: AnswerValue
    row_digest: str = ""
    features: dict[str, object] | None = None

    def entry(self, model: str) -> Entry:
        """Its line in the journal."""
        return Entry(kind="prediction", model=model, id=self.prediction_id, body=_ENCODER.encode(self))


_DECODER = msgspec.msgpack.Decoder(AnsweredRow)


def answered_row(body: bytes) -> AnsweredRow:
    """Read a line of the journal."""
    return _DECODER.decode(body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Answered rows as columns of one length. ``rows`` holds at least the fields that are logged."""

    prediction_id: Sequence[str]
    request_id: Sequence[str]
    position: Sequence[int]
    model_version: Sequence[int]
    recipe: Sequence[str]
    key: Sequence[str]
    event_at: pl.Series
    predicted_at: pl.Series
    recorded_at: pl.Series
    rows: pl.DataFrame
    raw: Sequence[object]
    steps: Sequence[Sequence[object]]  # one list per row
    final: Sequence[object]
    features: pl.DataFrame | None = None
    mode: str = "online"


def build_envelope(model: Model, answered: Answered) -> pl.DataFrame:
    """The lines of the prediction log for answered rows, but for the ingest number, which the lake gives."""
    types = predictions_columns(model)
    height = len(answered.prediction_id)
    logged = answered.rows.select(logged_fields(model))
    nothing = pl.Series([None] * height)
    columns = {
        "prediction_id": pl.Series(answered.prediction_id, dtype=pl.String),
        "request_id": pl.Series(answered.request_id, dtype=pl.String),
        "group": nothing.cast(pl.String),
        "position": pl.Series(answered.position, dtype=pl.Int32),
        "propensity": nothing.cast(pl.Float64),
        "exposed": nothing.cast(pl.Boolean),
        "role": pl.Series(["champion"] * height, dtype=pl.String),
        "mode": pl.Series([answered.mode] * height, dtype=pl.String),
        "model_version": pl.Series(answered.model_version, dtype=pl.Int64),
        "recipe": pl.Series(answered.recipe, dtype=pl.String),
        "key": pl.Series(answered.key, dtype=pl.String),
        "event_at": answered.event_at.cast(INSTANT),
        "predicted_at": answered.predicted_at.cast(INSTANT),
        "recorded_at": answered.recorded_at.cast(INSTANT),
        "request": logged.to_struct(),
        "raw": pl.Series(answered.raw, dtype=types["raw"]),
        "steps": pl.Series(answered.steps, dtype=types["steps"]),
        "final": pl.Series(answered.final, dtype=types["final"]),
        "day": answered.event_at.dt.date(),
    }
    if model.log_features and answered.features is not None:
        columns["features"] = answered.features.to_struct()
    return pl.DataFrame(columns)


def envelope_of(model: Model, lines: Sequence[AnsweredRow]) -> pl.DataFrame:
    """The lines of the prediction log for lines of a journal."""
    features = [line.features for line in lines]
    return build_envelope(
        model,
        Answered(
            prediction_id=[line.prediction_id for line in lines],
            request_id=[line.request_id for line in lines],
            position=[line.position for line in lines],
            model_version=[line.model_version for line in lines],
            recipe=[line.recipe for line in lines],
            key=[line.key for line in lines],
            event_at=pl.Series([line.event_at for line in lines], dtype=INSTANT),
            predicted_at=pl.Series([line.predicted_at for line in lines], dtype=INSTANT),
            recorded_at=pl.Series([line.recorded_at for line in lines], dtype=INSTANT),
            rows=_frame_of(model, [line.request for line in lines]),
            raw=[line.raw for line in lines],
            steps=[line.steps for line in lines],
            final=[line.final for line in lines],
            features=pl.DataFrame(features, infer_schema_length=None) if all(features) else None,
        ),
    )


def waiting_predictions(model: Model, journals: JournalReader) -> pl.DataFrame | None:
    """What servers answered and the lake does not hold yet, as lines of the log; None when nothing waits.

    Read it before the lake, and keep one line per prediction id: a drain may come in between.
    """
    entries = journals.entries(model.name, "prediction")
    return envelope_of(model, [answered_row(e.body) for e in entries]) if entries else None


def logged_fields(model: Model) -> list[str]:
    """The fields of the Row that may be logged."""
    return [field.name for field in model.schema.fields if field.logged]


def identities(model: Model, rows: pl.DataFrame) -> list[str]:
    """Which thing each row is about."""
    names = model.key
    return [identity(dict(zip(names, values, strict=True))) for values in rows.select(names).iter_rows()]


def row_digest(row: Mapping[str, object]) -> str:
    """The digest by which the same row is known when its prediction id comes again."""
    return hashlib.sha256(msgspec.json.encode(row, order="sorted")).hexdigest()


def serve_bulk(
    predictor: Predictor,
    rows: pl.DataFrame,
    *,
    model: Model,
    predicted_at: Times,
    recorded_at: datetime,
    log: Predictions | None = None,
    source: str | None = None,
    mode: str = "online",
) -> pl.DataFrame:
    """Predict checked rows at once, as a server would have answered them; returns their lines of the prediction log.

    Args:
        predictor: The version that answers.
        rows: Rows that the model's schema has checked.
        model: The project's newest declaration of the model, whose Row is logged.
        predicted_at: Project time, of all rows or of each.
        recorded_at: Machine time.
        log: Where to append them; nowhere when None.
        mode: "online", or "stored" for answers that are looked up later.
        source: Names the append; a repeat of it writes nothing twice. The request id when None.
    """
    output = predictor.predict(rows)
    request_id = new_id(recorded_at)
    height = rows.height
    answered = Answered(
        prediction_id=new_ids(recorded_at, height),
        request_id=[request_id] * height,
        position=range(height),
        model_version=[predictor.version.version] * height,
        recipe=[predictor.version.recipe] * height,
        key=keys(rows, model.key).to_list(),
        event_at=rows[model.at],
        predicted_at=_times(predicted_at, height),
        recorded_at=_times(recorded_at, height),
        rows=rows,
        raw=output.raw.tolist(),
        steps=steps_of_rows(predictor, output),
        final=values(output.final),
        features=model.compute_features(rows) if model.log_features else None,
        mode=mode,
    )
    envelope = build_envelope(model, answered)
    if log is not None:
        log.append(model, envelope, source or f"request:{request_id}")
    return envelope


def steps_of_rows(predictor: Predictor, output: Output) -> list[list[object]]:
    """What the post steps but the last gave, one list per row. What the last one gave is the answer."""
    steps = output.steps[: max(len(predictor.model.posts) - 1, 0)]
    if not steps:
        return [[] for _ in range(len(output.raw))]
    return [list(row) for row in zip(*(step.tolist() for step in steps), strict=True)]


def values(final: object) -> list[object]:
    """A column of answers as plain values, whatever holds it."""
    if isinstance(final, np.ndarray | pl.Series):
        return list(final.tolist() if isinstance(final, np.ndarray) else final.to_list())
    return list(final)  # type: ignore[call-overload, no-any-return]


def _times(value: Times, height: int) -> pl.Series:
    if isinstance(value, pl.Series):
        return value
    return pl.Series([value], dtype=INSTANT).new_from_index(0, height)


def _frame_of(model: Model, requests: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    """Logged fields as a frame; a field that the Row gained since then is null, days come back from their text."""
    columns: dict[str, pl.Series] = {}
    for name in logged_fields(model):
        dtype = model.schema.polars[name]
        cells = [request.get(name) for request in requests]
        if dtype == pl.Date:
            columns[name] = pl.Series(cells, dtype=pl.String).str.to_date()
        else:
            columns[name] = pl.Series(cells, dtype=dtype)
    return pl.DataFrame(columns)
