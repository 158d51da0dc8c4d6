"""The steps of a run as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from perene.cli.words import counted, size, span, version

if TYPE_CHECKING:
    from perene.records.run import Step

CHANGES = ("added", "relabelled", "restated", "gone")


def took(step: Step) -> str:
    """How long a step took; nothing while it works."""
    return span(step.ended_at - step.started_at) if step.ended_at else ""


def made_by(step: Step) -> str:
    """What a step made, in a few words."""
    result = step.result
    if not result:
        return ""
    match step.name:
        case "collect":
            return _collected(result)
        case "dataset":
            rows = f"{_count(result, 'train_rows'):,} to train on, {_count(result, 'test_rows'):,} to test on"
            return f"dataset {version(_count(result, 'version'))}: {rows}"
        case "train":
            learnt = f"{version(_count(result, 'version'))} learnt from {counted(_count(result, 'rows'), 'row')}"
            return f"{learnt}, in {size(_count(result, 'peak_memory'))} of memory"
        case "validate":
            return f"{result.get('decision')}: {result.get('reason')}"
        case "store":
            stored = counted(_count(result, "rows"), "prediction")
            return f"generation {_count(result, 'generation')}: {stored} by {version(_count(result, 'version'))}"
        case _:
            return str(result.get("outcome", ""))


def _collected(result: Mapping[str, object]) -> str:
    origins = [part for part in (result.get("source"), result.get("log")) if isinstance(part, Mapping)]
    return changes_of({word: sum(_count(part, word) for part in origins) for word in CHANGES}, result)


def changes_of(changes: Mapping[str, object], result: Mapping[str, object]) -> str:
    """What examples that came in changed, and how many were bad."""
    said = [f"{_count(changes, word):,} {word}" for word in CHANGES if _count(changes, word)] or ["nothing new"]
    if aside := _count(result, "quarantined"):
        said.append(f"{counted(aside, 'bad row')} set aside")
    return ", ".join(said)


def _count(result: Mapping[str, object], name: str) -> int:
    return int(str(result.get(name) or 0))
