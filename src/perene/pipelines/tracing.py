"""One prediction, found again with all that is known of it: in the journals while it waits for its drain, in the lake
after."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import polars as pl

from perene.definition.model import Model
from perene.pipelines.journaling import answered_row, envelope_of
from perene.pipelines.listing import Answers
from perene.pipelines.predictor import Predictor
from perene.records.identity import key_of
from perene.repositories.predictions import Predictions
from perene.storage.envelope import predictions_columns
from perene.storage.journal import JournalReader


def find_prediction(
    model: Model, prediction_id: str, *, journals: JournalReader, predictions: Predictions
) -> dict[str, Any] | None:
    """A prediction's line of the log, with ``model``; None when there is none.

    The journals are read before the lake: what is drained in between is found in the lake.
    """
    waiting = journals.find(model.name, [prediction_id])
    if waiting:
        return {"model": model.name, **envelope_of(model, [answered_row(waiting[prediction_id])]).row(0, named=True)}
    return predictions.get(model, prediction_id)


def find_truth(model: Model, line: Mapping[str, Any], answers: Answers) -> dict[str, object] | None:
    """The ground truth that holds of a line of the log."""
    dtypes = predictions_columns(model)
    columns = ("prediction_id", "key", "event_at", "predicted_at")
    lines = pl.DataFrame([pl.Series(name, [line[name]], dtype=dtypes[name]) for name in columns])
    found = answers.with_truth(model, lines).row(0, named=True)
    return None if found["label"] is None else {"label": found["label"], "known_at": found["known_at"]}


def traced(
    model: Model,
    line: Mapping[str, Any],
    truth: Mapping[str, object] | None,
    *,
    predictor: Callable[[int], Predictor],
) -> dict[str, object]:
    """A prediction's way: request, features, raw output, each post step, answer, and what came true.

    Features are computed again by the code of the version that answered; they are null when fields that are not logged
    would be needed.
    """
    own = predictor(int(line["model_version"]))
    return {
        "prediction_id": line["prediction_id"],
        "model": model.name,
        "model_version": line["model_version"],
        "dataset_version": own.version.dataset,
        "request_id": line["request_id"],
        "position": line["position"],
        "role": line["role"],
        "mode": line["mode"],
        "key": key_of(model.key, line["key"]),
        "event_at": _utc(line["event_at"]),
        "predicted_at": _utc(line["predicted_at"]),
        "recorded_at": _utc(line["recorded_at"]),
        "request": line["request"],
        "features": _features(own, line),
        "raw": line["raw"],
        "steps": _steps(own.model, line),
        "answer": line["final"],
        "truth": truth,
    }


def _features(own: Predictor, line: Mapping[str, Any]) -> Mapping[str, object] | None:
    if line.get("features"):
        return dict(json.loads(line["features"]))
    if any(not field.logged for field in own.model.schema.fields):
        return None
    rows = pl.DataFrame(
        {name: pl.Series([line["request"].get(name)], dtype=dtype) for name, dtype in own.model.schema.polars.items()}
    )
    return own.model.compute_features(rows).row(0, named=True)


def _steps(model: Model, line: Mapping[str, Any]) -> list[dict[str, object]]:
    """What each post step gave; the last gave the answer."""
    names = [hook.name for hook in model.posts]
    outputs = [*(line["steps"] or []), line["final"]]
    return [{"name": name, "output": output} for name, output in zip(names, outputs, strict=False)]


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC)
