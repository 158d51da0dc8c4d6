"""Keys as callers give them, typed by the Row, as the identity by which stored predictions are found."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import lru_cache

from pydantic_core import SchemaValidator, ValidationError

from perene.definition.model import Model
from perene.definition.row import RowSchema, bad_fields, validator
from perene.errors import BadField, BadRows
from perene.records.identity import identity

_WHOLE = re.compile(r"-?\d+")
_FLAGS = {"true": True, "false": False}


def parse_keys(model: Model, given: Sequence[object], *, is_json: bool = True) -> list[str]:
    """The identity of each key: an object of the key's fields, a list of their values, or the value of the only one.

    ``is_json``: instants and dates come as texts; else as Python's.

    Raises BadRows: with each key that does not fit the Row.
    """
    named = [_named(model, place, key) for place, key in enumerate(given)]
    try:
        rows = _validator(model.schema, model.key, is_json).validate_python(named)
    except ValidationError as error:
        raise _refused(model, bad_fields(error, [model.schema[name] for name in model.key], named)) from None
    return [identity({name: row[name] for name in model.key}) for row in rows]


def read_key(model: Model, text: str, *, decode: Callable[[str], str] = str) -> object:
    """A key as a text says it: its values with commas between, or a JSON array; for ``parse_keys``.

    ``decode`` is done to each value after the commas are found, as percent-decoding is.
    """
    whole = decode(text)
    if whole.startswith("["):
        try:
            return json.loads(whole)
        except ValueError:
            pass  # a text that begins so
    parts = [decode(part) for part in text.split(",")] if len(model.key) > 1 else [whole]
    kinds = [model.schema[name].kind for name in model.key]
    if len(parts) != len(kinds):
        raise _refused(model, (_wrong_count(model, 0, len(parts)),))
    return [_typed(part, kind) for part, kind in zip(parts, kinds, strict=True)]


@lru_cache(maxsize=64)
def _validator(schema: RowSchema, key: tuple[str, ...], is_json: bool) -> SchemaValidator:
    return validator([schema[name] for name in key], json=is_json)


def _named(model: Model, place: int, key: object) -> Mapping[str, object]:
    if isinstance(key, Mapping):
        return {name: _plain(value) for name, value in key.items()}
    parts = list(key) if isinstance(key, list | tuple) else [key]
    if len(parts) != len(model.key):
        raise _refused(model, (_wrong_count(model, place, len(parts)),))
    return {name: _plain(value) for name, value in zip(model.key, parts, strict=True)}


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def _typed(text: str, kind: str) -> object:
    """A value that JSON would have without quotes."""
    if kind == "int" and _WHOLE.fullmatch(text):
        return int(text)
    return _FLAGS.get(text, text) if kind == "bool" else text


def _wrong_count(model: Model, place: int, count: int) -> BadField:
    what = f"has {count} value{'s' if count != 1 else ''}, but a key is {', '.join(model.key)}"
    return BadField(row=place, field="", what=what)


def _refused(model: Model, bad: tuple[BadField, ...]) -> BadRows:
    example = ",".join(f"<{name}>" for name in model.key)
    mend = f"a key of {model.name} is {example}, or a JSON array of these"
    return BadRows(f"these are no keys of {model.name}", bad, mend=mend)
