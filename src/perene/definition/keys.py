"""The keys of perene.toml: which there are, and what their values may be."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from sys import float_info
from typing import Any

from perene.definition.durations import duration
from perene.definition.sizes import size_in_bytes
from perene.definition.spelling import did_you_mean
from perene.errors import Mistake

MOST_WORKERS = 64
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def read_value(shown: str, key: str, value: Any, *, mistakes: list[Mistake]) -> Any:
    """A value as its type; what is wrong with it goes to the mistakes, under the name that it was given by."""
    reader = _READERS.get(key)
    if key.startswith("model."):
        reader = _OVERRIDES.get(key.rpartition(".")[2]) if key.count(".") == 2 else None
    if reader is None:
        of_model = [f"{'.'.join(key.split('.')[:2])}.{name}" for name in _OVERRIDES]
        tables = [name.partition(".")[0] for name in _READERS if is_table(name.partition(".")[0])]
        known = of_model if key.startswith("model.") else [*_READERS, *tables]
        mistakes.append(Mistake(where=shown, what=f"is not a setting{did_you_mean(key, known)}"))
        return None
    try:
        return reader(value)
    except ValueError as error:
        mistakes.append(Mistake(where=shown, what=str(error)))
        return None


def is_table(key: str) -> bool:
    """Whether a key holds other keys, not a value."""
    of_model = key == "model" or (key.startswith("model.") and key.count(".") == 1)
    return of_model or any(known.startswith(f"{key}.") for known in _READERS)


def typed_as_toml(key: str, text: str) -> Any:
    """A variable's text as TOML would have typed it."""
    if key in ("models", "bundle.include"):
        return [part.strip() for part in text.split(",") if part.strip()]
    if key in _NUMBERS:
        try:
            return int(text)
        except ValueError:
            try:
                return float(text)
            except ValueError:
                return text
    return text


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"must be a text, not {_kind(value)}")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValueError(f"must be a list of texts, not {_kind(value)}")
    return tuple(value)


def _number(value: Any, *, least: float, above: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -float_info.max <= value <= float_info.max:
        raise ValueError(f"must be a number, not {_kind(value)}")
    if value < least or (above and value == least):
        raise ValueError(f"must be {'more than' if above else 'at least'} {least:g}, not {value:g}")
    return float(value)


def _whole(value: Any, *, least: int, most: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"must be a whole number, not {_kind(value)}")
    if value < least or (most is not None and value > most):
        raise ValueError(f"must be at least {least}{f' and at most {most}' if most else ''}, not {value}")
    return value


def _choice(value: Any, among: tuple[str, ...]) -> str:
    if value not in among:
        raise ValueError(f"must be one of {', '.join(among)}, not {value!r}{did_you_mean(str(value), among)}")
    return str(value)


def _host(value: Any) -> str:
    if value not in _LOOPBACK:
        raise ValueError(f"must be one of {', '.join(_LOOPBACK)}, not {value!r}: there is no authentication yet")
    return str(value)


def _span(value: Any) -> str:
    if _text(value) != "never" and duration(value) == timedelta(0):
        raise ValueError("must be longer than nothing")
    return str(value)


def _kind(value: Any) -> str:
    return {
        str: "an empty text" if value == "" else "a text",
        bool: "true or false",
        dict: "a table",
        list: "a list",
    }.get(type(value), f"{value!r}")


_READERS: dict[str, Callable[[Any], Any]] = {
    "project": _text,
    "models": _texts,
    "database": _text,
    "storage": _text,
    "engine": lambda value: _choice(value, ("local",)),
    "serve.host": _host,
    "serve.port": lambda value: _whole(value, least=0, most=65535),
    "serve.workers": lambda value: _whole(value, least=1, most=MOST_WORKERS),
    "serve.max_rows": lambda value: _whole(value, least=1),
    "serve.max_body": size_in_bytes,
    "serve.queue_rows": lambda value: _whole(value, least=1),
    "serve.deadline": lambda value: None if _span(value) == "never" else duration(value),
    "serve.on_log_failure": lambda value: _choice(value, ("answer", "refuse")),
    "serve.durability": lambda value: _choice(value, ("group", "fsync", "background")),
    "serve.journal_rows": lambda value: _whole(value, least=1),
    "serve.journal_seconds": lambda value: _number(value, least=0, above=True),
    "time.speed": lambda value: _number(value, least=0),
    "bundle.include": _texts,
}
_OVERRIDES: dict[str, Callable[[Any], Any]] = {
    "every": _span,
    "release": lambda value: _choice(value, ("auto", "review")),
    "stale_after": _span,
}
ATTRIBUTES = {"bundle.include": "bundle_include"}
_NUMBERS = (
    "serve.port", "serve.workers", "serve.max_rows", "serve.max_body", "serve.queue_rows", "serve.journal_rows",
    "serve.journal_seconds", "time.speed",
)  # fmt: skip
