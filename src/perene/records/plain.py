"""Records as JSON can hold them: the same on the command line and over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from math import isfinite
from pathlib import PurePath
from uuid import UUID

from perene.records.identity import plain


def plain_data(value: object) -> object:
    """A value made of objects, lists, texts and numbers only.

    Instants are ISO 8601 in UTC, durations seconds, enums their values; numbers that JSON does not know (NaN, infinity)
    are null.
    """
    value = plain(value)
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, date):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain_data(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(plain(name)): plain_data(item) for name, item in value.items()}
    if isinstance(value, Sequence | Set) and not isinstance(value, bytes | bytearray):
        return [plain_data(item) for item in value]
    if hasattr(value, "item"):  # a number of numpy
        return plain_data(value.item())
    return str(value) if isinstance(value, PurePath | UUID | Decimal | time) else repr(value)
