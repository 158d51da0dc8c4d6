"""Labels: what is predicted, and when its truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, StrEnum
from typing import Any, Literal, get_args, get_origin

import polars as pl

from perene.definition.durations import duration
from perene.errors import Mistake


class Task(StrEnum):
    """What kind of prediction a label asks for."""

    REGRESSION = "regression"
    BINARY = "binary"
    MULTICLASS = "multiclass"
    RANKING = "ranking"


_DTYPES: dict[object, pl.DataType] = {float: pl.Float64(), bool: pl.Boolean()}


@dataclass(frozen=True, slots=True, init=False)
class Label:
    """What is predicted: ``Label("late", bool, known_at="landed_at", wait="36h")``.

    Args:
        name: the column of the source, and the field of posted ground truth, that holds it.
        type: ``float`` (regression), ``bool`` (binary), a ``Literal`` or ``Enum`` of texts (multiclass).
        known_at: the column that says when it was known; without one it counts as known when it arrives.
        wait: how long after its event a label may still come; rows younger than that are not learnt from.
        unit: of a regression's label, for people.
        group: makes it a ranking: the field, or fields, that the rows of a request share, as ``"visit"``. Rows with the
            same of these and the same event time are one group. The type is then ``bool`` (chosen or not) or ``float``
            (how good, 0 is not at all).
    """

    name: str
    task: Task
    dtype: pl.DataType
    classes: tuple[str, ...]
    group: tuple[str, ...]
    known_at: str | None
    wait: timedelta
    unit: str | None
    mistakes: tuple[Mistake, ...] = field(repr=False, compare=False)

    def __init__(
        self,
        name: str,
        type: Any,
        *,
        known_at: str | None = None,
        wait: str | timedelta = "0s",
        unit: str | None = None,
        group: str | Sequence[str] | None = None,
    ) -> None:
        wrong: list[str] = []
        if not (isinstance(name, str) and name.isidentifier()):
            wrong.append(f"the label's name {name!r} is not a column's name")
        if known_at is not None and not (isinstance(known_at, str) and known_at.isidentifier() and known_at != name):
            wrong.append(f"the label's known_at={known_at!r} is not the name of another column")
        groups, unread = _group(group)
        wrong += unread
        task, dtype = Task.REGRESSION, _DTYPES[float]
        classes: tuple[str, ...] = ()
        try:
            task, dtype, classes = _task(type, is_ranked=group is not None)
        except ValueError as error:
            wrong.append(str(error))
        try:
            waits = duration(wait)
        except ValueError as error:
            waits = timedelta(0)
            wrong.append(f"the label's wait: {error}")
        mistakes = tuple(Mistake(where="", what=what) for what in wrong)
        parts = (name, task, dtype, classes, groups, known_at, waits, unit, mistakes)
        for part, value in zip(self.__slots__, parts, strict=True):
            object.__setattr__(self, part, value)


def _group(given: Any) -> tuple[tuple[str, ...], list[str]]:
    """The fields that a group's rows share, and what is wrong with them."""
    if given is None:
        return (), []
    names = (given,) if isinstance(given, str) and given else tuple(given) if isinstance(given, list | tuple) else ()
    if names and all(isinstance(name, str) for name in names) and len(set(names)) == len(names):
        return names, []
    return (), [f'the label\'s group={given!r} names no fields: say which the rows of a request share, as "visit"']


def _task(kind: Any, *, is_ranked: bool) -> tuple[Task, pl.DataType, tuple[str, ...]]:
    if kind in (float, bool):
        task = Task.RANKING if is_ranked else Task.REGRESSION if kind is float else Task.BINARY
        return task, _DTYPES[kind], ()
    if is_ranked:
        raise ValueError(f"the label's type {_name(kind)} cannot be ranked by: use float or bool")
    classes = get_args(kind) if get_origin(kind) is Literal else ()
    if isinstance(kind, type) and issubclass(kind, Enum):
        classes = tuple(member.value for member in kind)
    if len(set(classes)) < 2 or not all(isinstance(name, str) for name in classes):
        hint = "float" if kind is int else "float, bool, or a Literal or Enum of at least two texts"
        raise ValueError(f"the label's type {_name(kind)} gives no task: use {hint}")
    return Task.MULTICLASS, pl.String(), tuple(dict.fromkeys(classes))


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)
