"""Steps that move items of a ranking up or down by log-odds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from perene.definition.items import Items, Numbers
from perene.definition.label import Label
from perene.definition.places import place_of_caller
from perene.definition.row import RowSchema
from perene.definition.steps import Step, Wrong
from perene.errors import ServingError
from perene.post.numbers import not_finite
from perene.post.reading import Read, Reading
from perene.post.scores import probabilities

_MOST = 700.0  # exp of more is no number of 64 bits; log-odds of 700 are certainty


def boost(what: Read, by: float, *, name: str = "boost") -> Step:
    """Raise items of a ranking: the log-odds of a score gain ``by``, where ``what`` is true.

    ``what`` is a field, a polars expression or a function of rows. Where it gives numbers, the log-odds gain ``by``
    times the number: ``boost("trust", 0.5)``. Null moves nothing. Scores must lie between 0 and 1; 0 and 1 stay.
    Items that gain the same keep their order.
    """
    return _moving("boost", Reading("what", what), by, 1.0, name=name, line=place_of_caller(1))


def demote(what: Read, by: float, *, name: str = "demote") -> Step:
    """Lower items of a ranking: the log-odds of a score lose ``by``, where ``what`` is true; see ``boost``."""
    return _moving("demote", Reading("what", what), by, -1.0, name=name, line=place_of_caller(1))


def _moving(kind: str, what: Reading, by: float, sign: float, *, name: str, line: str) -> Step:
    wrong = [*what.wrong(), *not_finite(by=by)]
    if by is None or (not wrong and by <= 0):
        wrong.append((f"has by={by}, which is not above 0", "boost raises, demote lowers"))

    def items(rows: pl.DataFrame, items: Items, folder: Path) -> Items:
        read = what.numbers(rows, items.in_rows())
        weights = np.where(np.isnan(read), 0.0, read)
        if np.isinf(weights).any():
            raise ServingError(f"post {name} read an infinite number from {what.shown()}", mend="give finite numbers")
        staying = items.staying
        return items.scored(moved(probabilities(items, name), sign * by * items.values(weights)[staying]))

    def misfits(schema: RowSchema, label: Label) -> Iterator[Wrong]:
        return what.misfits(schema, kind="numbers")

    settings = {"step": kind, "what": what.shown(), "by": by}
    return Step(
        name=name, settings=settings, line=line, wrong=tuple(wrong), misfits=misfits, items=items, order="score"
    )


def moved(p: Numbers, by: Numbers) -> Numbers:
    """Probabilities with their log-odds moved; those that are moved by nothing stay bit for bit.

    Written so that equally moved probabilities never change their order, whatever is rounded.
    """
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        against = (1 - p) / (p * np.exp(np.clip(by, -_MOST, _MOST)))
        return np.where(by == 0, p, 1 / (1 + against))
