"""Predictions on their way to the log: the same line whether a server answered, or a table was predicted in bulk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, cast

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from perene.definition.groups import Groups, groups_of, numbered
from perene.definition.label import Task
from perene.definition.model import Model
from perene.errors import ServingError
from perene.pipelines.predictor import Output, Predictor
from perene.records.identity import new_id, new_ids
from perene.repositories.predictions import Predictions
from perene.storage.envelope import INSTANT, keys, predictions_columns

Times = datetime | pl.Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Answered rows as columns of one length. ``rows`` holds at least the fields that are logged; ``features`` one JSON
    object per row, where they are logged.
    """

    prediction_id: Sequence[str]
    request_id: Sequence[str]
    position: Sequence[int]
    model_version: Sequence[int]
    recipe: Sequence[str]
    key: pl.Series
    event_at: pl.Series
    predicted_at: pl.Series
    recorded_at: pl.Series
    rows: pl.DataFrame
    raw: Sequence[object]
    steps: Sequence[Sequence[object]]  # one list per row
    final: Sequence[object]
    features: Sequence[str | None] | None = None
    role: str | Sequence[str] = "champion"
    mode: str | Sequence[str] = "online"
    group: Sequence[str | None] | None = None
    rank: Sequence[int | None] | None = None
    removed: Sequence[str | None] | None = None
    computed_at: pl.Series | None = None  # null where it was computed when it was asked for


def build_envelope(model: Model, answered: Answered) -> pl.DataFrame:
    """The lines of the prediction log for answered rows, but for the ingest number, which the lake gives."""
    types = predictions_columns(model)
    height = len(answered.prediction_id)
    logged = answered.rows.select(logged_fields(model))
    columns = {
        "prediction_id": pl.Series(answered.prediction_id, dtype=pl.String),
        "request_id": pl.Series(answered.request_id, dtype=pl.String),
        "group": _column(answered.group, types["group"], height),
        "position": pl.Series(answered.position, dtype=pl.Int32),
        "propensity": _column(None, types["propensity"], height),
        "exposed": _column(None, types["exposed"], height),
        "role": _column(answered.role, types["role"], height),
        "mode": _column(answered.mode, types["mode"], height),
        "model_version": pl.Series(answered.model_version, dtype=pl.Int64),
        "recipe": pl.Series(answered.recipe, dtype=pl.String),
        "key": answered.key,
        "event_at": answered.event_at.cast(INSTANT),
        "predicted_at": answered.predicted_at.cast(INSTANT),
        "recorded_at": answered.recorded_at.cast(INSTANT),
        "request": logged.to_struct(),
        "raw": _numbers(answered.raw, types["raw"]),
        "steps": _numbers(answered.steps, types["steps"]),
        "final": pl.Series(answered.final, dtype=types["final"]),
        "rank": _column(answered.rank, types["rank"], height),
        "removed": _column(answered.removed, types["removed"], height),
        "computed_at": _times(answered.computed_at, height),
        "day": answered.event_at.dt.date(),
    }
    if answered.features is not None:
        columns["features"] = pl.Series(answered.features, dtype=pl.String)
    return pl.DataFrame(columns)


def logged_fields(model: Model) -> list[str]:
    """The fields of the Row that may be logged."""
    return [field.name for field in model.schema.fields if field.logged]


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

    Raises:
        ServingError: an answer is no number ("no-number"); then none is given.
    """
    groups = groups_of(model, rows) if model.label.task is Task.RANKING else None
    output = predictor.predict(rows, groups=groups)
    final = values(output.final)
    refuse_no_numbers(model.name, output.final)
    request_id = new_id(recorded_at)
    height = rows.height
    answered = Answered(
        prediction_id=new_ids(recorded_at, height),
        request_id=[request_id] * height,
        position=range(height),
        model_version=[predictor.version.version] * height,
        recipe=[predictor.version.recipe] * height,
        key=keys(rows, model.key),
        event_at=rows[model.at],
        predicted_at=_times(predicted_at, height),
        recorded_at=_times(recorded_at, height),
        rows=rows,
        raw=output.raw.tolist(),
        steps=steps_of_rows(predictor, output),
        final=final,
        features=features_of_rows(model, predictor, rows),
        mode=mode,
        group=None if groups is None else _names_of(groups, recorded_at),
        rank=None if output.rank is None else ranks(output.rank),
        removed=output.removed,
    )
    envelope = build_envelope(model, answered)
    if log is not None:
        log.append(model, envelope, source or f"request:{request_id}")
    return envelope


def ranking_of(lines: pl.DataFrame, named: pl.DataFrame) -> pl.DataFrame:
    """What a ranking's lines of the log tell, with the columns that name them: groups as they came, best first."""
    told = lines.select(score="final", rank="rank", removed="removed", model_version="model_version")
    order = pl.DataFrame({"group": numbered(lines["group"].rank("dense").to_numpy()), "rank": lines["rank"]})
    placed = order.with_row_index().sort("group", "rank", "index", nulls_last=True)["index"]
    return pl.concat([lines.select("prediction_id"), named, told], how="horizontal")[placed]


def steps_of_rows(predictor: Predictor, output: Output) -> list[list[object]]:
    """What the post steps but the last gave, one list per row. What the last one gave is the answer.

    True is 1; a text, which only a removal can come after, is null.
    """
    steps = output.steps[: max(len(predictor.model.posts) - 1, 0)]
    if not steps:
        return [[] for _ in range(len(output.raw))]
    return [list(row) for row in zip(*map(_as_numbers, steps), strict=True)]


def _as_numbers(step: NDArray[np.generic]) -> list[object]:
    if step.dtype == object:
        return [None] * len(step)
    return list(step.astype(np.float64).tolist() if step.dtype.kind in "bi" else step.tolist())


def ranks(rank: NDArray[np.int64]) -> list[int | None]:
    """Places in an answer as the log keeps them: none of what was removed."""
    return [place or None for place in rank.tolist()]


def features_of_rows(model: Model, predictor: Predictor, rows: pl.DataFrame) -> list[str] | None:
    """What the version that answers makes of rows, one JSON object per row; None for a model that does not log it.

    As text, for versions may have features of one name and of different types, which no table holds.
    """
    if not model.log_features:
        return None
    features = predictor.model.compute_features(rows)
    return [msgspec.json.encode(row).decode() for row in features.iter_rows(named=True)]


def values(final: object) -> list[object]:
    """A column of answers as plain values, whatever holds it."""
    if isinstance(final, np.ndarray | pl.Series):
        return list(final.tolist() if isinstance(final, np.ndarray) else final.to_list())
    return list(final)  # type: ignore[call-overload, no-any-return]


def refuse_no_numbers(model: str, final: Sequence[object] | NDArray[Any]) -> None:
    """Refuse NaN and infinities: JSON has none, and a caller can do nothing with one. Raises ServingError."""
    if isinstance(final, np.ndarray) and final.dtype.kind == "f":
        are_numbers = bool(np.isfinite(final).all())
    else:
        numbers = values(final)
        if numbers and isinstance(numbers[0], list):
            numbers = [*chain.from_iterable(cast(list[list[object]], numbers))]
        are_numbers = not any(isinstance(number, float) and not math.isfinite(number) for number in numbers)
    if not are_numbers:
        mend = "see what it gives for nulls; a post step can put a number in its place"
        raise ServingError(f"{model} gave a prediction that is no number", mend=mend, code="no-number")


def _names_of(groups: Groups, recorded_at: datetime) -> list[str]:
    """An id for each group, given to all its rows."""
    names = new_ids(recorded_at, int(groups.max(initial=-1)) + 1)
    return [names[group] for group in groups]


def _column(cells: str | Sequence[object] | None, dtype: pl.DataType, height: int) -> pl.Series:
    """A value per row: those given, or the one of all."""
    if cells is None or isinstance(cells, str):
        return pl.Series([cells], dtype=dtype).new_from_index(0, height)
    return pl.Series(cells, dtype=dtype)


def _times(value: Times | None, height: int) -> pl.Series:
    if isinstance(value, pl.Series):
        return value
    return pl.Series([value], dtype=INSTANT).new_from_index(0, height)


def _numbers(values: Sequence[object], dtype: pl.DataType) -> pl.Series:
    """Numbers, or lists of them of one length, as a column; a column of lists is made at once, not list by list."""
    if dtype != pl.List(pl.Float64):
        return pl.Series(values, dtype=dtype)
    lists = cast(Sequence[Sequence[float]], values)
    widths = {len(numbers) for numbers in lists}
    if widths == {0}:
        return pl.Series([[]], dtype=dtype).new_from_index(0, len(lists))
    if len(widths) != 1:
        return pl.Series(lists, dtype=dtype)
    flat = pl.Series([number for numbers in lists for number in numbers], dtype=pl.Float64)
    return flat.reshape((len(lists), widths.pop())).arr.to_list()
