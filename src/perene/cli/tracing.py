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
    role = "" if trace["role"] == "champion" else f", as {trace['role']}"
    made = "" if trace["computed_at"] is None else f", computed {instant(trace['computed_at'])}"
    way: list[tuple[str, str]] = [
        ("request", pairs(trace["request"])),
        ("features", "not known: the request has fields that are not logged" if features is None else pairs(features)),
        (f"model {version(trace['model_version'])}", f"raw {value_words(trace['raw'])}"),
        *((step["name"], f"{_output(step['before'])} → {_output(step['after'])}") for step in trace["steps"]),
        ("answer", _answer(trace, unit)),
        *([("group", _group(trace))] if trace["group"] else []),
        ("truth", _truth(trace, unit)),
    ]
    learnt = f"learnt from dataset {version(trace['dataset_version'])}"
    return [
        ("prediction", trace["prediction_id"]),
        ("model", f"{trace['model']} {version(trace['model_version'])}, {learnt}"),
        ("about", f"{key_words(trace['key'])} at {instant(trace['event_at'])}"),
        ("predicted", f"{instant(trace['predicted_at'])}, {trace['mode']}{made}{role}"),
        *((f"{place} {name}", said) for place, (name, said) in enumerate(way, start=1)),
    ]


def key_words(key: Mapping[str, object]) -> str:
    """A key as its values."""
    return " ".join(str(part) for part in key.values())


def _output(value: object) -> str:
    """What a step got or gave; of a ranked item its score and its place."""
    if not isinstance(value, Mapping):
        return value_words(value)
    place = "removed" if value["rank"] is None else f"#{value['rank']}"
    return f"{value_words(value['score'])} {place}"


def _answer(trace: Mapping[str, Any], unit: str | None) -> str:
    """The answer, the place in the group's, and why there is none."""
    value = value_words(trace["answer"], unit)
    if trace["group"] is None:
        return value if trace["removed"] is None else f"{value}, removed: {trace['removed']}"
    items = trace["group"]["items"]
    if trace["rank"] is None:
        return f"removed: {trace['removed']}"
    return f"#{trace['rank']} of {len(items)}, score {value}"


def _group(trace: Mapping[str, Any]) -> str:
    """The group as it was answered, an item a line; the arrow shows the one that was asked for."""
    lines = []
    for item in trace["group"]["items"]:
        sign = "→" if item["prediction_id"] == trace["prediction_id"] else " "
        place = "-" if item["rank"] is None else str(item["rank"])
        why = "" if item["removed"] is None else f"  removed: {item['removed']}"
        score = f"{value_words(item['raw'])} → {value_words(item['score'])}"
        lines.append(f"{sign} {place:>3}  {key_words(item['key'])}  {score}{why}")
    return "\n".join(lines)


def _truth(trace: Mapping[str, Any], unit: str | None) -> str:
    truth = trace["truth"]
    if truth is None:
        return "not known yet"
    known, predicted = truth["known_at"], trace["predicted_at"]
    when = f"{span(known - predicted)} after" if known >= predicted else f"{span(predicted - known)} before"
    return f"{value_words(truth['label'], unit)}, known {instant(known)}, {when} the prediction"
