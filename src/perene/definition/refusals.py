"""Why a value was refused, in the same words for a request and for a column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from perene.definition.columns import Field
from perene.definition.spelling import did_you_mean

_RULE_OF = {
    "greater_than": "gt",
    "greater_than_equal": "ge",
    "less_than": "lt",
    "less_than_equal": "le",
    "multiple_of": "multiple_of",
    "string_too_short": "min_length",
    "string_too_long": "max_length",
    "string_pattern_mismatch": "pattern",
}
_TEXTS = {
    "gt": "must be greater than {}",
    "ge": "must be at least {}",
    "lt": "must be less than {}",
    "le": "must be at most {}",
    "multiple_of": "must be a multiple of {}",
    "min_length": "must have at least {} characters",
    "max_length": "must have at most {} characters",
    "pattern": "must match {}",
}
_LONGEST = 100  # characters of a name that may have been meant to be another
NULL = "must not be null"
MISSING = "is missing"


def broken(rule: str, value: object) -> str:
    """What a value that breaks a rule must be."""
    shown = value.isoformat() if isinstance(value, date) else value
    return _TEXTS[rule].format(int(value) if isinstance(value, float) and value.is_integer() else shown)


def wrong(field: Field) -> str:
    """What a value of another type, or of none of the choices, must be."""
    return f"must be {field.expected()}"


def unknown(name: str, known: Iterable[str]) -> str:
    """That a name is not known, with the one that was probably meant."""
    return f"is not known{did_you_mean(name, known) if len(name) < _LONGEST else ''}"


def refusal(detail: Mapping[str, Any], fields: Sequence[Field], item: object) -> str:
    """One of pydantic's errors, in our words."""
    if len(detail["loc"]) < 2 or not isinstance(item, Mapping):
        return "must be an object with the Row's fields"
    name, kind = detail["loc"][1], detail["type"]
    field = next((field for field in fields if field.name == name), None)
    if kind == "missing":
        return MISSING
    if field is None:
        return unknown(str(name), (field.name for field in fields))
    if item.get(field.name) is None:
        return NULL
    rules = dict(field.rules)
    rule = _RULE_OF.get(kind)
    return broken(rule, rules[rule]) if rule in rules else wrong(field)
