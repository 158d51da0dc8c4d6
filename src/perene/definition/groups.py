"""Groups: the rows that are ranked together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

if TYPE_CHECKING:
    from perene.definition.model import Model

Groups = NDArray[np.int64]
Places = NDArray[np.int64]


def group_fields(model: Model) -> list[str]:
    """The fields that the rows of one group share: those that the label names, and the event's time."""
    return list(dict.fromkeys((*model.label.group, model.at)))


def groups_of(model: Model, rows: pl.DataFrame) -> Groups:
    """The number of each row's group: 0 for that of the first row, 1 for the next other one, and so on."""
    codes = np.zeros(rows.height, dtype=np.int64)
    for name in group_fields(model):
        codes = numbered(codes * (rows.height + 1) + rows[name].rank("dense").fill_null(0).to_numpy())
    return codes


def numbered(values: NDArray[np.generic]) -> Groups:
    """Equal values as equal numbers, in the order in which they first come."""
    _, first, index = np.unique(values, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first)).astype(np.int64)[index]


def places_by_group(groups: Groups) -> Iterator[Places]:
    """For each group, in the order of their numbers, the places of its rows, in their order."""
    order = np.argsort(groups, kind="stable")
    cuts = np.flatnonzero(np.diff(groups[order])) + 1
    yield from np.split(order, cuts) if len(order) else ()
