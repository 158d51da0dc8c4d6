"""One prediction, found again with all that is known of it: in the journals while it waits for its drain, in the lake
after."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl

from perene.definition.label import Task
from perene.definition.model import Model
from perene.pipelines.journaling import envelope_of, waiting_predictions, waiting_rows
from perene.pipelines.listing import Answers
from perene.pipelines.predictor import Predictor
from perene.records.identity import key_of
from perene.records.roles import SHADOW, answered_id
from perene.repositories.predictions import Predictions
from perene.storage.envelope import predictions_columns
from perene.storage.journal import JournalReader


def find_prediction(
    model: Model, prediction_id: str, *, journals: JournalReader, predictions: Predictions
) -> dict[str, Any] | None:
    """A prediction's line of the log, with ``model``; None when there is none.

    The journals are read before the lake: what is drained in between is found in the lake.
    """
    for rows in waiting_rows(model, journals):
        if prediction_id in rows.prediction_id:
            line = rows.take([rows.prediction_id.index(prediction_id)])
            return {"model": model.name, **envelope_of(model, [line]).row(0, named=True)}
    return predictions.get(model, prediction_id)


def find_group(
    model: Model, line: Mapping[str, Any], *, journals: JournalReader, predictions: Predictions
) -> list[dict[str, Any]]:
    """The lines of the rows that were ranked together with this one, by the same version, in the request's order."""
    if model.label.task is not Task.RANKING or line["group"] is None:
        return []
    waiting = waiting_predictions(model, journals)
    shadow = line["model_version"] if line["role"] == SHADOW else None
    lines = predictions.group(model, str(line["group"]), day=line["event_at"].astimezone(UTC).date(), shadow=shadow)
    if waiting is not None:
        of_group = waiting.filter(pl.col("group") == line["group"])
        lines = pl.concat([lines, of_group], how="diagonal_relaxed").unique("prediction_id", maintain_order=True)
    same = [pl.col(name) == line[name] for name in ("role", "model_version")]
    return lines.filter(*same).sort("position").to_dicts()


def find_truth(model: Model, line: Mapping[str, Any], answers: Answers) -> dict[str, object] | None:
    """The ground truth that holds of a line of the log; of a shadow's, what holds of the answer beside it."""
    dtypes = predictions_columns(model)
    columns = ("prediction_id", "key", "event_at", "predicted_at")
    lines = pl.DataFrame([pl.Series(name, [line[name]], dtype=dtypes[name]) for name in columns])
    lines = lines.with_columns(prediction_id=pl.lit(answered_id(str(line["prediction_id"]))))
    found = answers.with_truth(model, lines).row(0, named=True)
    return None if found["label"] is None else {"label": found["label"], "known_at": found["known_at"]}


def traced(
    model: Model,
    line: Mapping[str, Any],
    truth: Mapping[str, object] | None,
    *,
    predictor: Callable[[int], Predictor],
    group: Sequence[Mapping[str, Any]] = (),
) -> dict[str, object]:
    """A prediction's way: request, features, raw output, each post step, answer, and what came true.

    Features are computed again by the code of the version that answered; they are null when fields that are not logged
    would be needed. What a step got and gave is an output; of a ranking, with ``group`` its lines, it is score and
    rank, and ``group`` tells the whole answer, best first, and then what was removed.
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
        "computed_at": None if line["computed_at"] is None else _utc(line["computed_at"]),
        "recorded_at": _utc(line["recorded_at"]),
        "request": line["request"],
        "features": _features(own, line),
        "raw": line["raw"],
        "steps": _steps(own.model, line, group),
        "answer": line["final"],
        "rank": line["rank"],
        "removed": line["removed"],
        "group": _told(model, line, group) if group else None,
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


def _steps(model: Model, line: Mapping[str, Any], group: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """What each post step got and gave; the last gave the answer."""
    outputs: list[object] = [line["raw"], *(line["steps"] or []), line["final"]]
    if group:
        between = [_placed(score, rank) for score, rank in line["steps"] or []]
        outputs = [_placed(line["raw"], _first_rank(line, group)), *between, _placed(line["final"], line["rank"])]
    return [
        {"name": hook.name, "before": before, "after": after}
        for hook, before, after in zip(model.posts, outputs, outputs[1:], strict=False)
    ]


def _placed(score: float, rank: float | None) -> dict[str, object]:
    """A score, and a rank that may be no number where the item was removed."""
    return {"score": score, "rank": None if rank is None or rank != rank else int(rank)}


def _first_rank(line: Mapping[str, Any], group: Sequence[Mapping[str, Any]]) -> int:
    """The rank that the raw score gave: the best is first, and of equals the one that came first."""
    own = (-line["raw"], line["position"])
    return 1 + sum((-other["raw"], other["position"]) < own for other in group)


def _told(model: Model, line: Mapping[str, Any], group: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """A group as it was answered: best first, and after them what was removed."""
    items = [
        {
            "prediction_id": item["prediction_id"],
            "key": key_of(model.key, item["key"]),
            "raw": item["raw"],
            "score": item["final"],
            "rank": item["rank"],
            "removed": item["removed"],
        }
        for item in sorted(group, key=lambda item: (item["rank"] is None, item["rank"] or item["position"]))
    ]
    return {"id": line["group"], "items": items}


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC)
