"""One field of a Row, read from pydantic's schema: what the checks of a request and of a million rows both come from.

Only what can be checked on a whole column is accepted: str, int, float, bool, date, AwareDatetime, Literal and Enum
of str, each with ``| None``; bounds, lengths, patterns and multiples. Numbers are finite and integers fit 64 bits;
instants lie in the years 1 to 9999.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum
from math import isfinite
from typing import Any

import polars as pl
from pydantic_core import CoreSchema, SchemaValidator, ValidationError, core_schema

INSTANT = pl.Datetime("us", "UTC")
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_BOUNDS = ("gt", "ge", "lt", "le")
_DTYPES: dict[str, pl.DataType] = {
    "str": pl.String(),
    "int": pl.Int64(),
    "float": pl.Float64(),
    "bool": pl.Boolean(),
    "datetime": INSTANT,
    "date": pl.Date(),
    "literal": pl.String(),
    "enum": pl.String(),
}
_RULES: dict[str, tuple[str, ...]] = {
    "str": ("min_length", "max_length", "pattern"),
    "int": (*_BOUNDS, "multiple_of"),
    "float": _BOUNDS,
    "datetime": _BOUNDS,
    "date": _BOUNDS,
}
# What else pydantic writes into a leaf that changes nothing, or says what is required below.
_SILENT: dict[str, object] = {
    "strict": True,
    "microseconds_precision": "truncate",
    "allow_inf_nan": False,
    "tz_constraint": "aware",
}
_IGNORED = {"type", "metadata", "ref", "serialization", "expected", "cls", "members", "sub_type"}
WORDS = {
    "str": "a text",
    "int": "an integer",
    "float": "a finite number",
    "bool": "true or false",
    "datetime": "an instant with its time zone, as 2013-01-31T17:00:00Z",
    "date": "a date, as 2013-01-31",
}
MEND = "use str, int, float, bool, date, AwareDatetime, Literal or Enum of str, each with | None if it may be missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a Row, as a column.

    ``rules`` are its bounds, lengths and pattern by pydantic's names; ``choices`` the texts of a Literal or Enum. A
    field that is not ``required`` gets ``default`` where it is not sent. ``logged`` and ``pii`` come from the markers
    ``Log`` and ``PII``.
    """

    name: str
    kind: str
    dtype: pl.DataType
    nullable: bool
    required: bool
    default: object
    choices: tuple[str, ...] | None
    rules: tuple[tuple[str, Any], ...]
    logged: bool
    pii: bool

    def validator(self, *, json: bool) -> CoreSchema:
        """pydantic's strict check of one value, of decoded JSON or of Python."""
        leaf = _strict(self, json=json)
        whole = core_schema.nullable_schema(leaf) if self.nullable else leaf
        return whole if self.required else core_schema.with_default_schema(whole, default=self.default)

    def expected(self) -> str:
        """What a value must be, in words."""
        return f"one of {', '.join(self.choices)}" if self.choices else WORDS[self.kind]

    def facts(self) -> dict[str, object]:
        """What defines the field, as JSON."""
        rules = {name: _as_json(value) for name, value in self.rules}
        facts: dict[str, object] = {"name": self.name, "type": self.kind, "nullable": self.nullable, **rules}
        if not self.required:
            facts["default"] = _as_json(self.default)
        if self.choices:
            facts["choices"] = list(self.choices)
        return facts | {"logged": self.logged, "pii": self.pii}


def read_field(
    name: str, declared: Mapping[str, Any], *, definitions: Mapping[str, Any], logged: bool, pii: bool
) -> Field:
    """The field that pydantic's schema of a model field declares.

    Raises:
        ValueError: it declares something that perene cannot check on a column; the message says what.
    """
    if any(declared.get(alias) is not None for alias in ("validation_alias", "serialization_alias")):
        raise ValueError("has an alias; a field has one name everywhere")
    leaf, nullable, default = _leaf(declared["schema"], definitions)
    kind = leaf["type"]
    if kind not in _DTYPES:
        raise ValueError(_refusal(kind))
    for key in leaf.keys() - _IGNORED - set(_RULES.get(kind, ())):
        if leaf[key] != _SILENT.get(key):
            raise ValueError(_unsupported(key, leaf[key]))
    if kind == "datetime" and leaf.get("tz_constraint") != "aware":
        raise ValueError("is a time without a zone; declare AwareDatetime")
    choices = _choices(leaf)
    rules = [(rule, leaf[rule]) for rule in _RULES.get(kind, ()) if leaf.get(rule) is not None]
    field = Field(
        name=name,
        kind="str" if choices else kind,
        dtype=_DTYPES[kind],
        nullable=nullable,
        required=not default,
        default=_plain_value(default[0]) if default else None,
        choices=choices,
        rules=tuple((rule, _bound(kind, rule, value)) for rule, value in rules),
        logged=logged,
        pii=pii,
    )
    _check_default(field)
    return field


def _leaf(
    schema: Mapping[str, Any], definitions: Mapping[str, Any]
) -> tuple[Mapping[str, Any], bool, tuple[object, ...]]:
    nullable = False
    default: tuple[object, ...] = ()
    while (kind := schema["type"]) in ("default", "nullable", "definition-ref"):
        if kind == "default":
            if "default_factory" in schema:
                raise ValueError("has a default_factory; a default is one value")
            default = (schema["default"],)
        nullable = nullable or kind == "nullable"
        schema = definitions[schema["schema_ref"]] if kind == "definition-ref" else schema["schema"]
    return schema, nullable, default


def _refusal(kind: str) -> str:
    if kind.startswith("function"):
        return "has a validator; rows are checked by column, so only bounds, lengths and patterns can be declared"
    return f"is of a type that a column cannot hold ({kind})"


def _unsupported(key: str, value: object) -> str:
    if key == "allow_inf_nan":
        return "allows NaN and infinity, which JSON cannot say; use | None for a missing number"
    if key == "tz_constraint":
        return "is a time without a zone; declare AwareDatetime"
    return f"declares {key}={value!r}, which perene cannot check on a column"


def _choices(leaf: Mapping[str, Any]) -> tuple[str, ...] | None:
    if leaf["type"] not in ("literal", "enum"):
        return None
    values = [_plain_value(value) for value in leaf["expected" if leaf["type"] == "literal" else "members"]]
    if not all(isinstance(value, str) for value in values):
        raise ValueError("has choices that are not all texts; write | None beside the Literal if it may be missing")
    return tuple(dict.fromkeys(str(value) for value in values))


def _bound(kind: str, rule: str, value: Any) -> Any:
    if rule in ("min_length", "max_length"):
        return int(value)
    fits = {
        "str": isinstance(value, str),
        "int": isinstance(value, int | float) and value == int(value) and (rule != "multiple_of" or value > 0),
        "float": isinstance(value, int | float) and isfinite(value),
        "date": isinstance(value, date) and not isinstance(value, datetime),
        "datetime": isinstance(value, datetime) and value.tzinfo is not None,
    }[kind]
    if not fits:
        raise ValueError(f"declares {rule}={value!r}, which does not fit {WORDS[kind]}")
    return {"int": int, "float": float}.get(kind, lambda same: same)(value)


def _plain_value(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def _as_json(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else value


def _check_default(field: Field) -> None:
    if field.required:
        return
    try:
        SchemaValidator(field.validator(json=False)).validate_python(field.default)
    except ValidationError as error:
        raise ValueError(f"has the default {field.default!r}, which it refuses: {error.errors()[0]['msg']}") from error


def _strict(field: Field, *, json: bool) -> CoreSchema:
    """The core schema of a leaf. Each says ``strict`` itself, so that no configuration of the class loosens it."""
    rules: dict[str, Any] = dict(field.rules)
    if field.choices:
        return core_schema.literal_schema(list(field.choices))
    match field.kind:
        case "str":
            return core_schema.str_schema(strict=True, **{"pattern": ""} | rules)  # a pattern refuses lone surrogates
        case "int":
            fits = core_schema.int_schema(strict=True, ge=-(2**63), le=2**63 - 1)
            return core_schema.chain_schema([fits, core_schema.int_schema(strict=True, **rules)])
        case "float":
            return core_schema.float_schema(strict=True, allow_inf_nan=False, **rules)
        case "bool":
            return core_schema.bool_schema(strict=True)
        case "date":
            checked = core_schema.date_schema(strict=not json, **rules)
            return _written(r"^\d{4}-\d\d-\d\d$", checked) if json else checked
        case _:
            years = core_schema.datetime_schema(strict=not json, tz_constraint="aware", ge=_FIRST, le=_LAST)
            ruled = core_schema.datetime_schema(strict=True, tz_constraint="aware", **rules)
            return core_schema.chain_schema([_written(r"^\d{4}-\d\d-\d\d[Tt ]", years) if json else years, ruled])


def _written(pattern: str, then: CoreSchema) -> CoreSchema:
    """JSON writes times as text of one form; pydantic alone would take a number's text for seconds since 1970 too."""
    return core_schema.chain_schema([core_schema.str_schema(strict=True, pattern=pattern), then])
