"""A verdict as people read it."""

from __future__ import annotations

from dataclasses import fields
from datetime import date, timedelta
from typing import TYPE_CHECKING

from perene.cli.words import between, counted, number, state

if TYPE_CHECKING:
    from perene.definition.model import Model
    from perene.records.verdict import Evaluation, Verdict

_EPOCH = date(1970, 1, 1)


def verdict_fields(verdict: Verdict, *, unit: str | None = None) -> list[tuple[str, object]]:
    """What the gate said, the numbers that it rests on, and on how much."""
    fields: list[tuple[str, object]] = [("verdict", f"{state(verdict.decision)}: {verdict.reason}")]
    if verdict.candidate_score is not None:
        other = f" against {number(verdict.champion_score, unit)} of the {verdict.against}"
        scored = number(verdict.candidate_score, unit) + (other if verdict.champion_score is not None else "")
        fields.append((verdict.metric, scored))
    if verdict.difference is not None:
        found = between(verdict.difference, verdict.lower, verdict.upper, unit, signed=True)
        allowed = f", allowed {number(verdict.margin, unit)}" if verdict.margin is not None else ""
        fields.append(("difference", f"{found}{allowed}; below 0 is better"))
    fields += [("margin beside", text) for text in [_references(verdict, unit)] if text]
    judged = f"{counted(verdict.rows, verdict.per)} of {counted(verdict.days, 'day')}"
    more = f"; {counted(verdict.days_needed, 'day')} would decide" if verdict.days_needed else ""
    fields.append(("judged on", judged + more))
    if len(verdict.checks) > 1:
        fields += [(check.name, f"{state(check.decision)}: {check.reason}") for check in verdict.checks]
    if verdict.released_on_deadline:
        fields.append(("deadline", "released because the live version was past its limit, and it was not worse"))
    return fields


def _references(verdict: Verdict, unit: str | None) -> str:
    """What the margin may be held against."""
    texts = {
        "half_gain": "half of the live version's gain over a constant",
        "skipped": "what skipping one release costs",
        "mde": "the least that this window shows",
    }
    told = verdict.references or {}
    return "; ".join(
        f"{text} {number(value, unit)}" for name, text in texts.items() if (value := told.get(name)) is not None
    )


def evaluation_data(evaluation: Evaluation | None) -> dict[str, object] | None:
    """An evaluation as JSON; its days as dates."""
    if evaluation is None:
        return None
    days = [(_EPOCH + timedelta(days=int(day))).isoformat() for day in evaluation.by_day.get("day", ())]
    told = {field.name: getattr(evaluation, field.name) for field in fields(evaluation)}
    return told | {"by_day": {**evaluation.by_day, "day": days}}


def unit_of(model: Model, verdict: Verdict) -> str | None:
    """The unit of a verdict's metric, where the project still judges by it."""
    return model.gate_metric.unit if model.gate_metric.name == verdict.metric else None
