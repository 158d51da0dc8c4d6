"""What of a model's declaration may change while there is data of it.

Rows, labels and answers that are kept are read by today's declaration, and rows of today are sent to versions of before
(a rollback, the champion in a comparison). So the Row may gain optional fields only, and what identifies, labels or
answers a row stays as it is. Whatever else changes, changes freely.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from perene.errors import Mistake

_MEND = "take it back, or declare it as a model of another name"


def unfit_changes(before: Mapping[str, Any], now: Mapping[str, Any], *, line: str) -> list[Mistake]:
    """What a declaration (as JSON) changes of the one before that its data cannot follow; ``line`` is the model's."""
    return [Mistake(where=line, what=what, mend=_MEND) for what in (*_of_row(before, now), *_of_rest(before, now))]


def _of_row(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    there = {field["name"]: field for field in now["fields"]}
    known = {field["name"]: field for field in before["fields"]}
    for name, field in known.items():
        if name not in there:
            yield f"the field {name} is gone; versions that were trained with it need it"
        elif there[name]["type"] != field["type"]:
            yield f"the field {name} is {there[name]['type']} now; what is kept of it is {field['type']}"
    for name, field in there.items():
        if name not in known and "default" not in field:
            yield f"the field {name} is new and has no default; rows that are kept lack it"


def _of_rest(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for what, old, new in (
        ("the key", ", ".join(before["key"]), ", ".join(now["key"])),
        ("the field of the time", before["at"], now["at"]),
        ("the label", _label(before), _label(now)),
        ("an answer", before["answer"], now["answer"]),
    ):
        if old != new:
            yield f"{what} is {new} now; in what is kept it is {old}"


def _label(declaration: Mapping[str, Any]) -> str:
    label = declaration["label"]
    ranked = f"ranking of {label['type']} by {', '.join(label['group'])}" if label["group"] else label["task"]
    return f"{label['name']} ({', '.join(label['classes']) or ranked})"
