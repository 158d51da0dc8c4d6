"""Steps of numbers: bounds, rounding, log-odds to probabilities, and yes or no by a threshold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perene.definition.label import Label, Task
from perene.definition.places import place_of_caller
from perene.definition.row import RowSchema
from perene.definition.spelling import did_you_mean
from perene.definition.steps import Step, Wrong, named
from perene.errors import ServingError

Numbers = NDArray[np.float64]
_INT64 = 2.0**63
_SEE = "see what the model gives for nulls; a step before it can put a number in its place"


def clip(least: float | None = None, most: float | None = None, *, name: str = "clip") -> Step:
    """Bring what is below ``least`` up to it, and what is above ``most`` down to it; None is no bound."""
    wrong = [*not_finite(least=least, most=most)]
    if least is None and most is None:
        wrong.append(("has no bound", "clip(least, most), or one of them"))
    elif not wrong and least is not None and most is not None and least > most:
        wrong.append((f"has least={least} above most={most}", "exchange them"))

    def values(p: Numbers) -> Numbers:
        return np.clip(p, least, most)

    settings = {"step": "clip", "least": least, "most": most}
    return Step(name=name, settings=settings, line=place_of_caller(1), wrong=tuple(wrong), values=values)


def round(decimals: int | None = None, *, name: str = "round") -> Step:
    """Round to so many decimals, or to whole numbers, which the answers then are; halves go to the even neighbour.

    ``round(-2)`` rounds to hundreds; ``round()`` makes integers of numbers and must be the last step but ``block``.
    """
    wrong: list[Wrong] = []
    if decimals is not None and not (isinstance(decimals, int) and not isinstance(decimals, bool)):
        wrong.append((f"has decimals={decimals!r}, which is no whole number", "round(2), or round() for integers"))

    def whole(p: Numbers) -> NDArray[np.int64]:
        rounded = np.round(p)
        if not bool((np.abs(rounded) < _INT64).all()):
            what = f"post {name} got a prediction that is no number of 64 bits"
            raise ServingError(what, mend=_SEE, code="no-number")
        return rounded.astype(np.int64)

    def values(p: Numbers) -> Numbers:
        return np.round(p, decimals or 0)

    def misfits(schema: RowSchema, label: Label) -> Iterator[Wrong]:
        if decimals is None and label.task in (Task.RANKING, Task.MULTICLASS):
            yield f"makes integers, but a {label.task} model answers with several numbers", "round(0), or round(2)"

    return Step(
        name=name, settings={"step": "round", "decimals": decimals}, line=place_of_caller(1), wrong=tuple(wrong),
        misfits=misfits, values=whole if decimals is None else values,
    )  # fmt: skip


def logistic(scale: float = 1.0, shift: float = 0.0, *, name: str = "logistic") -> Step:
    """Make probabilities of log-odds, or of any score: 1 / (1 + exp(-(scale × score + shift))).

    Args:
        scale: above 0, so that the order stays.
        shift: added after scaling.
    """
    wrong = [*not_finite(scale=scale, shift=shift)]
    if not wrong and scale <= 0:
        wrong.append((f"has scale={scale}, which would turn the order around", "give a scale above 0"))

    def values(p: Numbers) -> Numbers:
        odds = np.clip(scale * p + shift, -700.0, 700.0)  # exp of more is no number of 64 bits
        return np.asarray(1 / (1 + np.exp(-odds)))

    def misfits(schema: RowSchema, label: Label) -> Iterator[Wrong]:
        if label.task is Task.MULTICLASS:
            yield "changes one number, but the model gives one for each class", "take it away"

    settings = {"step": "logistic", "scale": scale, "shift": shift}
    return Step(
        name=name, settings=settings, line=place_of_caller(1), wrong=tuple(wrong), misfits=misfits, values=values
    )


def threshold(
    at: float | Mapping[Any, float] = 0.5,
    *,
    by: str | None = None,
    otherwise: float | None = None,
    name: str = "threshold",
) -> Step:
    """Answer true where the output reaches a threshold.

    Args:
        at: the threshold, or one for each value of the field ``by``: ``threshold({"JFK": 0.4, "LGA": 0.6}, by="origin")``.
        by: the field that says which threshold holds.
        otherwise: the threshold of every other value of it, and of null; needed unless ``at`` names them all.
        name: what the step is called.
    """  # noqa: E501
    levels = dict(at) if isinstance(at, Mapping) else {}
    wrong = tuple(_wrong_levels(at, levels, by, otherwise))

    def one(p: Numbers) -> NDArray[np.bool_]:
        return _reached(name, p, at)  # type: ignore[arg-type]

    def each(rows: pl.DataFrame, p: Numbers) -> NDArray[np.bool_]:
        assert by is not None
        values, default = rows[by], math.nan if otherwise is None else otherwise
        keys, marks = pl.Series(list(levels), dtype=values.dtype), pl.Series(list(levels.values()), dtype=pl.Float64)
        found = values.replace_strict(keys, marks, default=default, return_dtype=pl.Float64)
        return _reached(name, p, found.to_numpy())

    def misfits(schema: RowSchema, label: Label) -> Iterator[Wrong]:
        if label.task in (Task.RANKING, Task.MULTICLASS):
            yield f"answers true or false, but a {label.task} model answers with several numbers", "take it away"
        if by is not None:
            yield from named(schema, by) if by not in schema else _misfit_levels(schema, by, levels, otherwise)

    shown = {str(value): level for value, level in levels.items()} or at
    settings = {"step": "threshold", "at": shown, "by": by, "otherwise": otherwise}
    return Step(
        name=name, settings=settings, line=place_of_caller(1), wrong=wrong, misfits=misfits,
        values=one if by is None else each,
    )  # fmt: skip


def not_finite(**numbers: object) -> Iterator[Wrong]:
    """Those arguments that are no finite numbers; None is passed over."""
    for argument, value in numbers.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if value is not None and not is_number:
            yield f"has {argument}={value!r}, which is no finite number", ""


def _reached(name: str, p: Numbers, level: float | Numbers) -> NDArray[np.bool_]:
    """Whether each output reaches its level; what is no number does not silently count as false."""
    if not bool(np.isfinite(p).all() and np.isfinite(level).all()):
        raise ServingError(f"post {name} got a prediction that is no number", mend=_SEE, code="no-number")
    return np.asarray(p >= level)


def _wrong_levels(at: object, levels: Mapping[Any, float], by: object, otherwise: object) -> Iterator[Wrong]:
    mend = 'threshold(0.5), or threshold({"a": 0.4, "b": 0.6}, by="field")'
    if by is None:
        yield from not_finite(at=at) if not isinstance(at, Mapping) else [("has a threshold for each group", mend)]
        if otherwise is not None:
            yield "says otherwise=…, but no groups", mend
        return
    if not isinstance(by, str):
        yield f"has by={by!r}, which is no name of a field", mend
    if not isinstance(at, Mapping) or not levels:
        yield "names a field, but no threshold for each of its values", mend
    yield from not_finite(**{f"at[{value!r}]": level for value, level in levels.items()}, otherwise=otherwise)


def _misfit_levels(schema: RowSchema, by: str, levels: Mapping[Any, float], otherwise: float | None) -> Iterator[Wrong]:
    field = schema[by]
    kinds: dict[str, type] = {"str": str, "literal": str, "enum": str, "int": int, "bool": bool}
    kind = kinds.get(field.kind)
    if kind is None:
        yield f"groups by {by}, which is {field.expected()}", "use a field of texts, integers, or true and false"
        return
    for value in levels:
        if type(value) is not kind or (field.choices and value not in field.choices):
            hint = did_you_mean(str(value), field.choices or ())
            yield f"has a threshold for {value!r}, which {by} never is: it is {field.expected()}{hint}", ""
    every = set(field.choices or ()) | ({True, False} if kind is bool else set())
    left = sorted(str(value) for value in every - set(levels))
    if otherwise is None and (left or not every or field.nullable):
        missing = ", ".join([*left, *(["null"] if field.nullable else [])]) or "every other value"
        yield f"has no threshold for {by} = {missing}", "say otherwise=0.5"
