"""A model's declaration as JSON: what the database remembers of it, and what recipes and cards are made from."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perene.definition.hooks import Hook
    from perene.definition.model import Model


def declared(model: Model) -> dict[str, Any]:
    """The declaration of a sound model; durations in seconds, null for never. No lines and no code, which change
    without it.
    """
    gate, label = model.gate, model.label
    assert gate.margin is not None
    return {
        "name": model.name,
        "description": model.description,
        "owner": model.owner,
        "row": {"name": model.schema.name, "description": model.schema.description, "digest": model.schema.digest},
        "fields": [field.facts() for field in model.schema.fields],
        "key": list(model.key),
        "at": model.at,
        "asked": model.asked.total_seconds(),
        "label": {
            "name": label.name,
            "task": label.task.value,
            "type": str(label.dtype),
            "classes": list(label.classes),
            "group": list(label.group),
            "known_at": label.known_at,
            "wait": label.wait.total_seconds(),
            "unit": label.unit,
        },
        "train_on": model.train_on.total_seconds(),
        "test_on": model.test_on.total_seconds(),
        "every": _seconds(model.every),
        "stale_after": _seconds(model.stale_after),
        "gate": {
            "metric": gate.metric,
            "margin": gate.margin.value,
            "relative": gate.margin.relative,
            "rule": gate.rule,
            "on_deadline": gate.on_deadline,
            "alpha": gate.alpha,
            "min_days": gate.min_days,
        },
        "release": model.release,
        "examples": model.examples,
        "revisit": model.revisit.total_seconds(),
        "max_bad": model.max_bad,
        "log_features": model.log_features,
        "metrics": [
            {"name": m.name, "better": m.better, "unit": m.unit, "whole": m.whole, "per": m.per} for m in model.metrics
        ],
        "slices": [hook.name for hook in model.slices],
        "posts": [_step(hook) for hook in model.posts],
        "golden": None if model.golden_hook is None else model.golden_hook.name,
        "population": None if model.population_hook is None else model.population_hook.name,
        "offline": _seconds(model.offline),
        "max_age": _seconds(model.max_age),
        "fallback": model.fallback,
        "latency": _seconds(model.latency),
        "memory": model.memory,
        "canary": [[step.share, step.lasts.total_seconds()] for step in model.canary],
        "watch": _seconds(model.watch),
        "answer": str(model.answer_dtype),
    }


def _step(hook: Hook) -> dict[str, Any]:
    """A post step; of a ready-made one all that it was given."""
    return {"name": hook.name, "recheck": hook.recheck, **(hook.step.settings if hook.step else {})}


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()
