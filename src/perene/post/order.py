"""Steps that order a ranking by something else than its scores, and the one that ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from perene.definition.items import Items, Numbers, Places
from perene.definition.label import Label
from perene.definition.places import place_of_caller
from perene.definition.row import RowSchema
from perene.definition.steps import Step, Wrong, named
from perene.post.numbers import not_finite
from perene.post.reading import Read, Reading
from perene.post.scores import probabilities

Likeness = Callable[[int], Numbers]  # how like each item is to the one at a place


def rerank(key: Read, *, name: str = "rerank") -> Step:
    """Order a ranking by another key, highest first; scores stay as they are.

    ``key`` is a field, a polars expression or a function of ``rows`` and ``p`` (the scores): ``rerank("freshness")``,
    ``rerank(lambda rows, p: p * rows["price"])``. Items without a number come last; equal ones stay as they lay.
    """
    reading = Reading("key", key)

    def items(rows: pl.DataFrame, items: Items, folder: Path) -> Items:
        staying = items.staying
        keys = items.values(reading.numbers(rows, items.in_rows()))[staying]
        return items.ordered(staying[np.argsort(-keys, kind="stable")])  # NaN goes last

    def misfits(schema: RowSchema, label: Label) -> Iterator[Wrong]:
        return reading.misfits(schema, kind="numbers")

    return Step(
        name=name, settings={"step": "rerank", "key": reading.shown()}, line=place_of_caller(1),
        wrong=tuple(reading.wrong()), misfits=misfits, items=items, order="own",
    )  # fmt: skip


def diversify(
    balance: float,
    *,
    by: str | Sequence[str] = (),
    vector: Sequence[str] = (),
    name: str = "diversify",
) -> Step:
    """Order a ranking so that its head is good and mixed: maximal marginal relevance.

    Place by place comes the item with the greatest ``balance × score − (1 − balance) × likeness``, where likeness is
    that to the most alike item above it (Carbonell and Goldstein 1998, https://doi.org/10.1145/290941.291025).

    Args:
        balance: between 0 (as mixed as can be) and 1 (by score alone). Scores must lie between 0 and 1.
        by: fields; the likeness of two items is the share of them that are equal. Null is like nothing.
        vector: fields of numbers instead: the likeness is the cosine of the angle between two items' vectors; null
            counts as 0, and a vector of zeros is like nothing.
        name: what the step is called.
    """
    fields = [by] if isinstance(by, str) else list(by)
    numbers = list(vector)
    wrong = [*not_finite(balance=balance)]
    if not wrong and not (balance is not None and 0 <= balance <= 1):
        wrong.append((f"has balance={balance}, which is not between 0 and 1", "1 is by score alone"))
    if bool(fields) == bool(numbers):
        wrong.append(("needs either by or vector", 'diversify(0.7, by="topic")'))

    def items(rows: pl.DataFrame, items: Items, folder: Path) -> Items:
        staying = items.staying
        scores, own = probabilities(items, name), items.item[staying]
        likeness = _cosines(rows, numbers, own) if numbers else _shares(rows, fields, own)
        return items.ordered(staying[_marginal(scores, likeness, balance)])

    def misfits(schema: RowSchema, label: Label) -> Iterator[Wrong]:
        yield from named(schema, *fields)
        for field in numbers:
            yield from Reading("vector", field).misfits(schema, kind="numbers")

    settings = {"step": "diversify", "balance": balance, "by": fields, "vector": numbers}
    return Step(
        name=name, settings=settings, line=place_of_caller(1), wrong=tuple(wrong), misfits=misfits, items=items,
        order="own",
    )  # fmt: skip


def top(count: int, *, name: str = "top") -> Step:
    """End a ranking after so many items; the others are removed, with that reason. It may come after ``block``."""
    is_count = isinstance(count, int) and not isinstance(count, bool) and count > 0
    wrong = () if is_count else ((f"keeps {count!r} items, which is no whole number above 0", "top(10)"),)
    reason = f"not among the first {count}"

    def items(rows: pl.DataFrame, items: Items, folder: Path) -> Items:
        reasons = np.full(len(items.item), None, dtype=object)
        reasons[items.staying[count:]] = reason
        return items.without(reasons)

    settings = {"step": "top", "count": count}
    return Step(name=name, settings=settings, line=place_of_caller(1), wrong=wrong, items=items)


def _marginal(scores: Numbers, likeness: Likeness, balance: float) -> Places:
    """The places of items by maximal marginal relevance; of equals the one that lay first."""
    order: list[int] = []
    nearest = np.zeros(len(scores))
    is_left = np.ones(len(scores), dtype=bool)
    for _ in range(len(scores)):
        worth = np.where(is_left, balance * scores - (1 - balance) * nearest, -np.inf)
        best = int(np.argmax(worth))
        near = likeness(best)
        nearest = np.maximum(nearest, near) if order else near
        is_left[best] = False
        order.append(best)
    return np.asarray(order, dtype=np.int64)


def _shares(rows: pl.DataFrame, fields: Sequence[str], own: Places) -> Likeness:
    """The share of fields in which an item equals another; null equals nothing."""
    table = np.column_stack([_codes(rows[field])[own] for field in fields])

    def likeness(place: int) -> Numbers:
        return np.asarray(((table == table[place]) & (table[place] > 0)).mean(axis=1))

    return likeness


def _codes(values: pl.Series) -> Places:
    """Equal values as equal numbers from 1 on; null is 0."""
    known: dict[object, int] = {None: 0}
    return np.asarray([known.setdefault(value, len(known)) for value in values.to_list()], dtype=np.int64)


def _cosines(rows: pl.DataFrame, fields: Sequence[str], own: Places) -> Likeness:
    """The cosine of the angle between the vectors of two items."""
    columns = [np.asarray(rows[field].cast(pl.Float64).to_numpy())[own] for field in fields]
    table = np.nan_to_num(np.column_stack(columns), nan=0.0)
    largest = np.abs(table).max(axis=1, keepdims=True)  # so that no square is too large or too small
    scaled = table / np.where(largest > 0, largest, 1.0)
    lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
    unit = scaled / np.where(lengths > 0, lengths, 1.0)

    def likeness(place: int) -> Numbers:
        return np.asarray((unit * unit[place]).sum(axis=1))

    return likeness
