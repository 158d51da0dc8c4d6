"""Ids, and which thing a row is about."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from enum import Enum

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def new_id(now: datetime) -> str:
    """A UUID of version 7 (RFC 9562 §5.7): it sorts by the millisecond of ``now``; 74 random bits follow."""
    value = _millisecond(now) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    return _uuid_text(value & ~(0x3 << 62) | 0x2 << 62)


def new_ids(now: datetime, count: int) -> list[str]:
    """``count`` ids that sort after one another in the order of the list."""
    millis = _millisecond(now)
    first = f"{millis >> 16:08x}-{millis & 0xFFFF:04x}-7"
    noise = os.urandom(6 * count).hex()
    ids = []
    for i in range(count):  # 30 bits count: 12 before the variant, 18 behind it; 44 bits are random
        low = f"{0x2 << 18 | i & 0x3FFFF:05x}"
        ids.append(f"{first}{i >> 18 & 0xFFF:03x}-{low[:4]}-{low[4]}{noise[12 * i : 12 * i + 11]}")
    return ids


def _millisecond(now: datetime) -> int:
    """Since 1970, in 48 bits; exact, as floating point would not be."""
    return (now - _EPOCH) // _MILLISECOND & (1 << 48) - 1


def _uuid_text(value: int) -> str:
    """A UUID's usual form; four times as quick as by uuid.UUID."""
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def identity(key: Mapping[str, object]) -> str:
    """The thing that a row is about: its key fields as compact JSON, in the order of the declaration."""
    return json.dumps([plain(value) for value in key.values()], ensure_ascii=False, separators=(",", ":"))


def key_of(names: Iterable[str], identity: str) -> dict[str, object]:
    """The key fields that an identity was made of, by their names."""
    return dict(zip(names, json.loads(identity), strict=True))


def plain(value: object) -> object:
    """A value as JSON can hold it: an instant or a date as ISO 8601 (UTC, with microseconds), an enum as its value."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    if isinstance(value, date):
        return value.isoformat()
    return value


def digest_of(value: object) -> str:
    """The SHA-256, in hex, of a value's canonical JSON (sorted keys, no spaces). Raises TypeError for what has none."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain_for_sure)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain_for_sure(value: object) -> object:
    made = plain(value)
    if made is value:
        raise TypeError(f"a {type(value).__name__} has no JSON form")
    return made
