"""Hooks: the user's functions, called with what their parameters name, in the frames that their annotations choose."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import numpy as np
import polars as pl

from perene.definition.frames import (
    TABLES,
    VECTORS,
    Kind,
    handed_table,
    handed_vector,
    kind_of,
    origin_of,
    series_back,
    table_back,
    vector_back,
)
from perene.definition.gates import Margin, read_margin
from perene.definition.label import Label
from perene.definition.spelling import did_you_mean
from perene.definition.steps import Step
from perene.errors import DataError, DeclarationError, Mistake

_TABLE_NAMES = ("rows", "x", "items")
_VECTOR_NAMES = ("y", "p", "at", "weights", "groups")
_MAY = {
    "source": ("since", "until"),
    "features": ("rows",),
    "train": ("x", "y", "rows", "at", "weights", "groups", "seed"),
    "metric": ("y", "p", "rows", "x", "at", "weights", "groups"),
    "slice": ("rows", "x", "at"),
    "post": ("rows", "x", "p", "items", "at", "folder"),
    "golden": (),
    "population": ("at",),
}
_MUST = {
    "source": ("since", "until"),
    "features": ("rows",),
    "train": ("x", "y"),
    "metric": ("y", "p"),
    "slice": ("rows",),
    "post": (),
    "golden": (),
    "population": ("at",),
}
_ANSWERS: dict[object, pl.DataType] = {
    float: pl.Float64(),
    int: pl.Int64(),
    bool: pl.Boolean(),
    str: pl.String(),
    np.float64: pl.Float64(),
    np.int64: pl.Int64(),
    np.bool_: pl.Boolean(),
    np.str_: pl.String(),
    list: pl.List(pl.Float64()),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One of a model's functions.

    ``frame`` says for each parameter in which frame it comes; ``line`` is where the function stands. ``better``
    ("lower" or "higher"), ``unit``, ``whole`` (one value for all rows), ``per`` ("row" or "group": of what there is one
    value each, else) and ``margin`` belong to metrics; ``answer`` is the type of one answer that a post step's return
    annotation names, ``recheck`` says that it is done again to stored answers when they are given out, and ``step`` is
    what ``perene.post`` made, if it did.
    """

    kind: str
    name: str
    function: Callable[..., Any]
    parameters: tuple[str, ...]
    frame: Mapping[str, Kind]
    line: str
    better: Literal["lower", "higher"] = "lower"
    unit: str | None = None
    whole: bool = False
    per: Literal["row", "group"] = "row"
    margin: Margin | None = None
    answer: pl.DataType | None = None
    recheck: bool = False
    step: Step | None = None

    def __call__(self, **available: Any) -> Any:
        """Call the function with those of the values that it names; what it returns comes back as polars, numpy or, for
        train, as it is. A ready-made step of a ranking gets and gives ``Items``.

        Raises:
            DeclarationError: what it returned is of another kind or length than its rows.
        """
        if self.step is not None and self.step.items is not None and "items" in self.parameters:
            return self.step.items(available["rows"], available["items"], available["folder"])
        returned = self.function(
            **{name: self._handed(name, available[name]) for name in self.parameters if name in available}
        )
        try:
            return self._back(returned, _expected(self, available))
        except DataError as error:
            what = f"returned {_said_of(returned, error.what)}" if error.mend else error.what
            raise self.refused(what, mend=error.mend) from error

    @property
    def removes(self) -> bool:
        """Whether it takes rows out, and changes no values."""
        return self.step is not None and self.step.removal is not None

    @property
    def gives_one(self) -> bool:
        """Whether a metric gives one number at each call: of all rows, or of a group, unless it takes ``groups``."""
        return self.whole or (self.per == "group" and "groups" not in self.parameters)

    def refused(self, what: str, *, mend: str = "") -> DeclarationError:
        """The error that this hook did something that it may not do."""
        mistake = Mistake(where=self.line, what=f"{self.kind} {self.name} {what}", mend=mend)
        return DeclarationError(f"{self.kind} {self.name} cannot be used", (mistake,))

    def _handed(self, name: str, value: Any) -> Any:
        if value is None:
            return None
        if name in _TABLE_NAMES:
            return handed_table(value, self.frame[name])
        return handed_vector(value, self.frame[name]) if name in self.frame else value

    def _back(self, value: Any, height: int) -> Any:
        match self.kind:
            case "train" | "population":
                return value
            case "source" | "golden":
                return table_back(value)
            case "post" if "items" in self.parameters:
                return table_back(value)
            case "features":
                back: Any = table_back(value)
            case "metric" if self.gives_one:
                return _number(value)
            case "slice":
                back = series_back(value)
            case _:
                back = vector_back(value)
        if len(back) != height:
            raise DataError(f"returned {len(back)} values for {height} {self.per}s")
        return _numbers(back) if self.kind == "metric" else back


def _said_of(returned: Any, what: str) -> str:
    """What is wrong with a value, after "returned": a text that begins with the value's type goes on about it."""
    kind = type(returned).__name__
    return f"{kind}, which{what.removeprefix(kind)}" if what.startswith(f"{kind} ") else what


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"returned {type(value).__name__}, which is no number") from error


def _numbers(values: Any) -> Any:
    if values.ndim != 1:
        raise DataError(f"returned values of shape {values.shape}, not one per row")
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"returned {values.dtype}, not numbers") from error


def read_hook(
    kind: str, function: Any, *, line: str, name: str = "", **options: Any
) -> tuple[Hook | None, list[Mistake]]:
    """The hook that a function is, or what is wrong with it."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None, [Mistake(where=line, what=f"{kind}: {function!r} is not a function with a signature")]
    name = name or getattr(function, "__name__", type(function).__name__)
    wrong = [*_wrong_parameters(kind, list(parameters))]
    framed = () if kind == "population" else (*_TABLE_NAMES, *_VECTOR_NAMES)  # whose ``at`` is one instant
    frames, unknown = _frames(function, [p for p in parameters if p.name in framed])
    wrong += unknown
    if wrong:
        return None, [Mistake(where=line, what=f"{kind} {name} {what}") for what in wrong]
    taken = tuple(p.name for p in parameters if p.name in _MAY[kind])
    answer = _answer(_resolved(function, "return")) if kind == "post" else None
    return Hook(
        kind=kind, name=name, function=function, parameters=taken, frame=frames, line=line, answer=answer, **options
    ), []  # fmt: skip


def step_hook(step: Step, label: Label | None) -> tuple[Hook | None, list[Mistake]]:
    """The hook that a ready-made post step is in a model of this label, or what is wrong with it."""
    wrong = step.mistakes(label)
    if wrong:
        return None, wrong
    parts: dict[str, Any] = {"name": step.name, "line": step.line, "recheck": step.recheck, "step": step}
    function = step.function(label)
    if function is not step.items:
        return read_hook("post", function, **parts)
    frame = {"rows": Kind.POLARS, "items": Kind.POLARS}
    return Hook(kind="post", function=step, parameters=("rows", "items", "folder"), frame=frame, **parts), []


def read_options(given: Mapping[str, Any], *, line: str) -> tuple[dict[str, Any], list[Mistake]]:
    """A metric's options as types, and what is wrong with them."""
    options, wrong = dict(given), []
    if options.get("better", "lower") not in ("lower", "higher"):
        wrong.append(f"better={options['better']!r} is not one of lower, higher")
    if options.get("per", "row") not in ("row", "group"):
        wrong.append(f"per={options['per']!r} is not one of row, group")
    elif options.get("per") == "group" and options.get("whole"):
        wrong.append('whole=True is one value for all rows, and per="group" one for each group: it is one of them')
    if options.get("margin") is not None:
        try:
            options["margin"] = read_margin(options["margin"])
        except ValueError as error:
            wrong.append(f"margin={options['margin']!r} {error}")
    return options, [Mistake(where=line, what=f"metric: {what}") for what in wrong]


def metric_hook(name: str, function: Callable[..., Any]) -> Hook:
    """A built-in metric of rows as a hook."""
    frame = {"y": Kind.ARRAY, "p": Kind.ARRAY}
    return Hook(kind="metric", name=name, function=function, parameters=("y", "p"), frame=frame, line="perene")


def group_metric_hook(name: str, function: Callable[..., Any]) -> Hook:
    """A built-in metric of groups as a hook."""
    parameters = ("y", "p", "groups")
    return Hook(
        kind="metric", name=name, function=function, parameters=parameters, frame=dict.fromkeys(parameters, Kind.ARRAY),
        line="perene", better="higher", per="group",
    )  # fmt: skip


def _wrong_parameters(kind: str, parameters: Sequence[inspect.Parameter]) -> Iterator[str]:
    names = [p.name for p in parameters]
    for p in parameters:
        if p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL):
            yield f"takes {p.name} by position; hooks get what their parameters name"
        elif p.name not in _MAY[kind] and p.default is p.empty and p.kind is not p.VAR_KEYWORD:
            yield f"asks for {p.name}, but can have {', '.join(_MAY[kind])}{did_you_mean(p.name, _MAY[kind])}"
    for name in _MUST[kind]:
        if name not in names:
            yield f"does not take {name}"
    if kind == "post" and ("p" in names) is ("items" in names):
        yield "takes both p and items; it gets one of them" if "p" in names else "takes neither p nor items"


def _frames(function: Any, parameters: Sequence[inspect.Parameter]) -> tuple[dict[str, Kind], list[str]]:
    frames, wrong = {}, []
    for name in (p.name for p in parameters):
        table = name in _TABLE_NAMES
        annotation = _resolved(function, name)
        kind = kind_of(annotation)
        if annotation in (inspect.Parameter.empty, Any):
            kind = Kind.POLARS if table else Kind.ARRAY
        if kind is None or kind not in (TABLES if table else VECTORS):
            can = ", ".join(TABLES if table else VECTORS)
            wrong.append(f"wants {name} as {_shown(annotation)}; it can be {can}")
        else:
            frames[name] = kind
    return frames, wrong


def _resolved(function: Any, name: str) -> Any:
    """A parameter's annotation, or the return's; a text where its names are only there for type checkers."""
    plain = inspect.unwrap(function)
    owner = plain if hasattr(plain, "__annotations__") else type(plain).__call__
    annotation = getattr(owner, "__annotations__", {}).get(name, inspect.Parameter.empty)
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, getattr(owner, "__globals__", {}))
    except (NameError, AttributeError, SyntaxError, TypeError):
        return annotation


def _shown(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def _answer(annotation: Any) -> pl.DataType | None:
    """The type of one answer: ``str``, ``list[str]`` or ``NDArray[np.str_]`` name texts.

    A bare array names nothing, nor does one of floats: it may have a column for each class.
    """
    if isinstance(annotation, type) and annotation in _ANSWERS:
        return _ANSWERS[annotation]
    parts = [part for arg in get_args(annotation) for part in (get_args(arg) or (arg,))]
    if get_origin(annotation) in (list, tuple, Sequence) and get_origin(get_args(annotation)[0]) is list:
        return pl.List(pl.Float64())
    named = next((_ANSWERS[part] for part in reversed(parts) if part in _ANSWERS), None)
    return None if origin_of(annotation) is np.ndarray and named == pl.Float64 else named


def _expected(hook: Hook, available: Mapping[str, Any]) -> int:
    """How many values a hook must return: one per row, or per group."""
    if hook.kind == "population":
        return 0
    if hook.per == "group" and not hook.gives_one:
        return int(np.max(available["groups"], initial=-1)) + 1
    return _height(available)


def _height(available: Mapping[str, Any]) -> int:
    for name in (*_TABLE_NAMES, *_VECTOR_NAMES):
        if available.get(name) is not None:
            return len(available[name])
    return 0
