"""A prediction's trace as people read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from perene.cli.words import instant, pairs, span, value_words, version

if TYPE_CHECKING:
    from perene.definition.model import Model


def trace_fields(model: Model, trace: Mapping[str, Any]) -> list[tuple[str, object]]:
    """The way of a prediction, step by step, from the request to what came true."""
    unit = model.label.unit
    features = trace["features"]
    way: list[tuple[str, str]] = [
        ("request", pairs(trace["request"])),
        ("features", "not known: the request has fields that are not logged" if features is None else pairs(features)),
        (f"model {version(trace['model_version'])}", f"raw {value_words(trace['raw'])}"),
        *_steps(trace),
        ("answer", value_words(trace["answer"], unit)),
        ("truth", _truth(trace, unit)),
    ]
    learnt = f"learnt from dataset {version(trace['dataset_version'])}"
    return [
        ("prediction", trace["prediction_id"]),
        ("model", f"{trace['model']} {version(trace['model_version'])}, {learnt}"),
        ("about", f"{key_words(trace['key'])} at {instant(trace['event_at'])}"),
        ("predicted", f"{instant(trace['predicted_at'])}, {trace['mode']}"),
        *((f"{place} {name}", said) for place, (name, said) in enumerate(way, start=1)),
    ]


def key_words(key: Mapping[str, object]) -> str:
    """A key as its values."""
    return " ".join(str(part) for part in key.values())


def _steps(trace: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What each post step made of what came before it."""
    before, said = trace["raw"], []
    for step in trace["steps"]:
        said.append((step["name"], f"{value_words(before)} → {value_words(step['output'])}"))
        before = step["output"]
    return said


def _truth(trace: Mapping[str, Any], unit: str | None) -> str:
    truth = trace["truth"]
    if truth is None:
        return "not known yet"
    known, predicted = truth["known_at"], trace["predicted_at"]
    when = f"{span(known - predicted)} after" if known >= predicted else f"{span(predicted - known)} before"
    return f"{value_words(truth['label'], unit)}, known {instant(known)}, {when} the prediction"
