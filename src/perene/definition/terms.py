"""The terms of a model: its arguments, read into types, with everything that is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from perene.definition.canary import CanaryStep, read_canary
from perene.definition.durations import duration
from perene.definition.gates import Gate, gate
from perene.definition.label import Label
from perene.definition.row import Row, RowSchema
from perene.definition.sizes import size_in_bytes
from perene.definition.spelling import did_you_mean
from perene.errors import DeclarationError, Mistake

RELEASE = ("auto", "review")
EXAMPLES = ("source", "log", "source+log")
FALLBACK = ("online",)
_SLUG = re.compile(r"[a-z][a-z0-9-]*")


class Default:
    """The type of ``DEFAULT``: the value that perene works out itself."""

    def __repr__(self) -> str:
        return "default"


DEFAULT: Final = Default()


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """A model's arguments as types. What could not be read is None here, and a mistake in the list beside it."""

    name: str
    row: type[Row]
    schema: RowSchema | None
    key: tuple[str, ...]
    at: str
    asked: timedelta
    label: Label | None
    train_on: timedelta
    test_on: timedelta
    every: timedelta | None
    stale_after: timedelta | Default | None
    gate: Gate
    release: str
    owner: str | None
    examples: str | None
    revisit: timedelta
    max_bad: float
    log_features: bool
    offline: timedelta | None
    max_age: timedelta | None
    fallback: str | None
    latency: timedelta | None
    memory: int | None
    canary: tuple[CanaryStep, ...]
    watch: timedelta | None


@dataclass(slots=True)
class _Reader:
    """Reads arguments and notes what is wrong with them."""

    where: str
    mistakes: list[Mistake] = field(default_factory=list)

    def wrong(self, what: str, mend: str = "") -> None:
        self.mistakes.append(Mistake(where=self.where, what=what, mend=mend))

    def duration(self, name: str, value: Any, *, least: timedelta = timedelta(0)) -> timedelta:
        try:
            read = duration(value)
        except ValueError as error:
            self.wrong(f"{name}: {error}")
            return timedelta(days=1)
        if read < least:
            self.wrong(f"{name}={value!r} must be longer than nothing")
        return read

    def choice(self, name: str, value: Any, among: Iterable[str]) -> Any:
        if value not in among:
            self.wrong(f"{name}={value!r} is not one of {', '.join(among)}{did_you_mean(str(value), among)}")
        return value

    def row(self, value: Any) -> RowSchema | None:
        if not (isinstance(value, type) and issubclass(value, Row)):
            self.wrong(f"row={value!r} is not a subclass of Row", "class Flight(Row): …, then row=Flight")
            return None
        try:
            return RowSchema(value)
        except DeclarationError as error:
            self.mistakes += error.mistakes
            return None

    def part(self, name: str, value: Any, kind: type[Any]) -> Any:
        """A Label or a Gate, with the mistakes that it noted when it was made."""
        if not isinstance(value, kind):
            self.wrong(
                f"{name}={value!r} is not a {kind.__name__}",
                f"{name}={kind.__name__.lower()}(…)" if kind is Gate else "",
            )
            return None
        for mistake in value.mistakes:
            self.wrong(mistake.what, mistake.mend)
        return value


def read_terms(where: str, given: dict[str, Any]) -> tuple[Terms, list[Mistake]]:
    """The terms that a Model's arguments say, and all mistakes in them, at ``where``."""
    reader = _Reader(where)
    name, key, owner, every, stale = (given[part] for part in ("name", "key", "owner", "every", "stale_after"))
    if not (isinstance(name, str) and _SLUG.fullmatch(name)):
        reader.wrong(f"the model's name {name!r} is not of small letters, digits and hyphens, a letter first")
    if owner is not None and not isinstance(owner, str):
        reader.wrong(f"owner={owner!r} is not a text")
    tick = timedelta(microseconds=1)
    return Terms(
        name=str(name),
        row=given["row"],
        schema=reader.row(given["row"]),
        key=_key(reader, key),
        at=given["at"],
        asked=reader.duration("asked", given["asked"]),
        label=reader.part("label", given["label"], Label),
        train_on=reader.duration("train_on", given["train_on"], least=tick),
        test_on=reader.duration("test_on", given["test_on"], least=tick),
        every=None if every is None else reader.duration("every", every, least=tick),
        stale_after=stale if stale is None or stale is DEFAULT else reader.duration("stale_after", stale, least=tick),
        gate=reader.part("gate", given["gate"], Gate) or gate(),
        release=reader.choice("release", given["release"], RELEASE),
        owner=owner,
        examples=None if given["examples"] is None else reader.choice("examples", given["examples"], EXAMPLES),
        revisit=timedelta(0) if given["revisit"] is None else reader.duration("revisit", given["revisit"]),
        max_bad=_share(reader, given["max_bad"]),
        log_features=bool(given["log_features"]),
        offline=_span(reader, "offline", given["offline"]),
        max_age=_span(reader, "max_age", given["max_age"]),
        fallback=None if given["fallback"] is None else reader.choice("fallback", given["fallback"], FALLBACK),
        latency=_span(reader, "latency", given["latency"]),
        memory=_size(reader, "memory", given["memory"]),
        canary=_canary(reader, given["canary"]),
        watch=_span(reader, "watch", given["watch"]),
    ), reader.mistakes


def _span(reader: _Reader, name: str, value: Any) -> timedelta | None:
    """A duration that is longer than nothing, or None."""
    return None if value is None else reader.duration(name, value, least=timedelta.resolution)


def _size(reader: _Reader, name: str, value: Any) -> int | None:
    """A number of bytes, or None."""
    try:
        return None if value is None else size_in_bytes(value)
    except ValueError as error:
        reader.wrong(f"{name}: {error}")
        return None


def _key(reader: _Reader, key: Any) -> tuple[str, ...]:
    names = (key,) if isinstance(key, str) else tuple(key) if isinstance(key, list | tuple) else ()
    if not names or not all(isinstance(name, str) for name in names):
        reader.wrong(
            f"key={key!r} is not a list of fields", 'name the fields that say which thing a row is about: key=["id"]'
        )
        return ()
    if len(set(names)) < len(names):
        reader.wrong(f"key={key!r} names a field twice")
    return names


def _canary(reader: _Reader, value: Any) -> tuple[CanaryStep, ...]:
    try:
        return () if value is None else read_canary(value)
    except ValueError as error:
        reader.wrong(f"canary: {error}")
        return ()


def _share(reader: _Reader, value: Any) -> float:
    try:
        share = (
            float(value.strip().removesuffix("%")) / 100 if isinstance(value, str) and "%" in value else float(value)
        )
    except (TypeError, ValueError):
        share = -1.0
    if not 0 <= share <= 1:
        reader.wrong(f'max_bad={value!r} is not a share: write "1%" or 0.01')
    return share
