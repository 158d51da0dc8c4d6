"""The items of a group that is ranked: (item, score, removed), in order; those that are removed lie last."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perene.errors import ServingError

Numbers = NDArray[np.float64]


def staying(items: pl.DataFrame) -> pl.DataFrame:
    """The items that no step has taken out, in order."""
    return items.filter(pl.col("removed").is_null())


def scores_of(items: pl.DataFrame, height: int) -> Numbers:
    """The scores in the order of the rows."""
    scores = np.full(height, np.nan)
    scores[items["item"].to_numpy()] = items["score"].to_numpy()
    return scores


def of_items(values: NDArray[np.generic], items: pl.DataFrame) -> NDArray[np.generic]:
    """The values of rows, in the order of the items."""
    return np.asarray(values[items["item"].to_numpy()])


def placed(items: pl.DataFrame, kept: pl.DataFrame, order: Sequence[int] | NDArray[np.intp]) -> pl.DataFrame:
    """The kept items in another order, and after them those that were taken out before."""
    return pl.concat([kept[list(order)], items.filter(pl.col("removed").is_not_null())])


def by_score(items: pl.DataFrame, kept: pl.DataFrame) -> pl.DataFrame:
    """The kept items by score, best first, and after them the removed ones; equal scores stay as they lay."""
    return placed(items, kept, np.argsort(-kept["score"].to_numpy(), kind="stable"))


def probabilities(items: pl.DataFrame, name: str) -> Numbers:
    """The scores, which must lie between 0 and 1. Raises ServingError where one does not."""
    scores = items["score"].to_numpy()
    if not bool(((scores >= 0) & (scores <= 1)).all()):
        outside = scores[~((scores >= 0) & (scores <= 1))][0]
        raise ServingError(
            f"post {name} needs scores between 0 and 1, but got {outside:g}",
            why="it moves log-odds, or weighs scores against likeness",
            mend="put post.logistic() before it, which makes probabilities of scores and keeps their order",
        )
    return scores
