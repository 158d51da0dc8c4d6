"""Labels: what is predicted, and when its truth is known."""

from __future__ import annotations

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


_DTYPES: dict[Task, pl.DataType] = {
    Task.REGRESSION: pl.Float64(),
    Task.BINARY: pl.Boolean(),
    Task.MULTICLASS: pl.String(),
    Task.RANKING: pl.Float64(),
}


@dataclass(frozen=True, slots=True, init=False)
class Label:
    """What is predicted: ``Label("late", bool, known_at="landed_at", wait="36h")``.

    Args:
        name: the column of the source, and the field of posted ground truth, that holds it.
        type: ``float`` (regression), ``bool`` (binary), a ``Literal`` or ``Enum`` of texts (multiclass).
        known_at: the column that says when it was known; without one it counts as known when it arrives.
        wait: how long after its event a label may still come; rows younger than that are not learnt from.
        unit: of a regression's label, for people.
        group: whether a request's rows are one group to be ranked.
    """

    name: str
    task: Task
    classes: tuple[str, ...]
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
        group: bool = False,
    ) -> None:
        wrong: list[str] = []
        if not (isinstance(name, str) and name.isidentifier()):
            wrong.append(f"the label's name {name!r} is not a column's name")
        if known_at is not None and not (isinstance(known_at, str) and known_at.isidentifier() and known_at != name):
            wrong.append(f"the label's known_at={known_at!r} is not the name of another column")
        task = Task.REGRESSION
        classes: tuple[str, ...] = ()
        try:
            task, classes = _task(type, group=group)
        except ValueError as error:
            wrong.append(str(error))
        try:
            waits = duration(wait)
        except ValueError as error:
            waits = timedelta(0)
            wrong.append(f"the label's wait: {error}")
        parts = (name, task, classes, known_at, waits, unit, tuple(Mistake(where="", what=what) for what in wrong))
        for part, value in zip(self.__slots__, parts, strict=True):
            object.__setattr__(self, part, value)

    @property
    def dtype(self) -> pl.DataType:
        """The label's column: numbers, true or false, or the classes' names."""
        return _DTYPES[self.task]


def _task(kind: Any, *, group: bool) -> tuple[Task, tuple[str, ...]]:
    if group:
        if kind not in (float, bool):
            raise ValueError(f"the label's type {_name(kind)} cannot be ranked by: use float or bool")
        return Task.RANKING, ()
    if kind is float:
        return Task.REGRESSION, ()
    if kind is bool:
        return Task.BINARY, ()
    classes = get_args(kind) if get_origin(kind) is Literal else ()
    if isinstance(kind, type) and issubclass(kind, Enum):
        classes = tuple(member.value for member in kind)
    if len(set(classes)) < 2 or not all(isinstance(name, str) for name in classes):
        hint = "float" if kind is int else "float, bool, or a Literal or Enum of at least two texts"
        raise ValueError(f"the label's type {_name(kind)} gives no task: use {hint}")
    return Task.MULTICLASS, tuple(dict.fromkeys(classes))


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)
