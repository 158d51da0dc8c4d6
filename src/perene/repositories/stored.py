"""Values as the JSON columns of every dialect hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from numbers import Integral, Real

from perene.records.identity import plain


def storable(value: object, where: str = "the value") -> object:
    """A value as JSON: instants as ISO 8601, numpy's values and arrays as Python's, NaN and infinities as null.

    PostgreSQL would refuse the latter. Raises TypeError, which names the place, for what JSON cannot hold.
    """
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, datetime) and value.tzinfo is None:
        raise TypeError(f"{where} is a time without a zone")
    value = plain(value)
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(plain(name)): storable(item, f"{where}[{name!r}]") for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise TypeError(f"{where} is a {type(value).__qualname__}, which JSON cannot hold")


def storable_mapping(value: Mapping[str, object], where: str = "the value") -> dict[str, object]:
    """A mapping whose values are ``storable``."""
    return {name: storable(item, f"{where}[{name!r}]") for name, item in value.items()}
