"""The columns of the three logs, and how a frame is brought into them.

Every log has ``key`` and ``event_at`` (the identity of what a row is about), ``recorded_at``, ``ingest`` (the number of
the append) and ``day`` (the partition: the UTC day of the event). Logs are append-only: a correction is a new row, a
retraction is a row that says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TypeAlias

import polars as pl

from perene.definition.label import Task
from perene.definition.model import Model
from perene.errors import StorageError
from perene.records.identity import plain

INSTANT = pl.Datetime("us", "UTC")
Columns: TypeAlias = Mapping[str, pl.DataType]


class Log(StrEnum):
    """The logs of a model, one Delta table each."""

    PREDICTIONS = "predictions"
    TRUTHS = "ground_truth"
    EXAMPLES = "examples"


def predictions_columns(model: Model) -> dict[str, pl.DataType]:
    """The prediction log: one row per prediction, as it was asked for and answered.

    Of candidates that are ranked together, ``group`` names them, ``rank`` is the place in the answer (1 is the first)
    and ``removed`` the reason why a post step took one out; each of their ``steps`` is score and rank. ``computed_at``
    is when an answer was computed that was stored until it was asked for. ``features`` (JSON, as text) comes with it
    when the model declares ``log_features``.
    """
    number = _number(model)
    return {
        "prediction_id": pl.String(),
        "request_id": pl.String(),
        "group": pl.String(),
        "position": pl.Int32(),
        "propensity": pl.Float64(),
        "exposed": pl.Boolean(),
        "role": pl.String(),
        "mode": pl.String(),
        "model_version": pl.Int64(),
        "recipe": pl.String(),
        "key": pl.String(),
        "event_at": INSTANT,
        "predicted_at": INSTANT,
        "recorded_at": INSTANT,
        "request": pl.Struct({f.name: f.dtype for f in model.schema.fields if f.logged}),
        "raw": number,
        "steps": pl.List(pl.List(pl.Float64()) if model.label.task is Task.RANKING else number),
        "final": model.answer_dtype,
        "rank": pl.Int32(),
        "removed": pl.String(),
        "computed_at": INSTANT,
        "ingest": pl.Int64(),
        "day": pl.Date(),
    }


def truths_columns(model: Model) -> dict[str, pl.DataType]:
    """The ground-truth log: what was said about an outcome, when it was known, and by whom.

    A row is about one prediction (``prediction_id``) or about every prediction of an identity (``key`` and
    ``event_at``). ``day`` is that of the event, or of ``known_at`` where only the prediction is named.
    """
    return {
        "key": pl.String(),
        "event_at": INSTANT,
        "prediction_id": pl.String(),
        "label": model.label.dtype,
        "known_at": INSTANT,
        "recorded_at": INSTANT,
        "source": pl.String(),
        "retracted": pl.Boolean(),
        "ingest": pl.Int64(),
        "day": pl.Date(),
    }


def examples_columns(model: Model) -> dict[str, pl.DataType]:
    """The examples: a row and its label, null while it has none.

    ``known_at`` is when the label was known, of a row without one when it was asked for, of a retracted one when it
    went. ``origin`` is source, import or log.
    """
    return {
        "key": pl.String(),
        "event_at": INSTANT,
        "row": pl.Struct(dict(model.schema.polars)),
        "label": model.label.dtype,
        "known_at": INSTANT,
        "origin": pl.String(),
        "retracted": pl.Boolean(),
        "recorded_at": INSTANT,
        "ingest": pl.Int64(),
        "day": pl.Date(),
    }


def conform(frame: pl.DataFrame, columns: Columns, *, more: Sequence[str] = ()) -> pl.DataFrame:
    """The frame with these columns, in order, but for ``ingest``, which the lake gives; what is missing is null.

    Columns named in ``more`` are kept as they are.

    Raises:
        StorageError: a column is not known, or does not fit its type.
    """
    unknown = [name for name in frame.columns if name not in columns and name not in more]
    if unknown:
        raise StorageError(f"the log has no column {', '.join(unknown)}", mend=f"its columns are {', '.join(columns)}")
    wanted = [(name, dtype) for name, dtype in columns.items() if name != "ingest"]
    present = [
        pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in wanted
    ]
    try:
        return frame.select(*present, *(name for name in more if name in frame.columns))
    except pl.exceptions.PolarsError as error:
        why, mend = str(error).splitlines()[0], "give each column its type: these are of the model's Row and label"
        raise StorageError("a frame does not fit its log", why=why, mend=mend) from error


def conform_lazily(lazy: pl.LazyFrame, columns: Columns) -> pl.LazyFrame:
    """A table's rows with these columns; those that came into the log later are null in older rows."""
    present = lazy.collect_schema()
    return lazy.select(
        pl.lit(None, dtype=dtype).alias(name) if name not in present
        else pl.col(name) if present[name] == dtype
        else pl.col(name).cast(dtype)
        for name, dtype in columns.items()
    )  # fmt: skip


def keys(rows: pl.DataFrame, key: Sequence[str]) -> pl.Series:
    """The identity of each row: what ``records.identity.identity`` gives for its key fields, by column."""
    parts = [_as_json(rows[name]) for name in key]
    commas = [part for column in parts for part in (pl.lit(","), column)][1:]
    return pl.select(key=pl.concat_str(pl.lit("["), *commas, pl.lit("]"))).to_series()


def _as_json(values: pl.Series) -> pl.Series:
    """Each value as compact JSON; every distinct value is written once, by Python's own writer."""
    if values.dtype.is_integer():
        return values.cast(pl.String).fill_null("null")
    known = values.unique()
    texts = [json.dumps(plain(value), ensure_ascii=False) for value in known]
    return values.replace_strict(known, pl.Series(texts, dtype=pl.String), return_dtype=pl.String)


def _number(model: Model) -> pl.DataType:
    return pl.List(pl.Float64()) if model.label.task is Task.MULTICLASS else pl.Float64()
