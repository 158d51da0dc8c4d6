"""The items of a group that is ranked, in the order of its answer so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Places = NDArray[np.int64]
COLUMNS = {"item": pl.UInt32(), "score": pl.Float64(), "removed": pl.String()}


@dataclass(frozen=True, slots=True)
class Items:
    """Arrays of one length, best first: each item's place among the group's rows, its score, and why it was removed.

    ``removed`` holds None for an item that stays. A frame of them has the same names as columns.
    """

    item: Places
    score: Numbers
    removed: NDArray[np.object_]

    @staticmethod
    def by_score(scores: Numbers) -> Items:
        """Rows with these scores, best first; equals stay as they came."""
        order = np.argsort(-scores, kind="stable")
        return Items(order, scores[order], np.full(len(scores), None, dtype=object))

    @staticmethod
    def of(frame: pl.DataFrame) -> Items:
        """The items of a frame with the columns ``COLUMNS``."""
        removed = np.empty(frame.height, dtype=object)
        removed[:] = frame["removed"].to_list()
        return Items(frame["item"].to_numpy().astype(np.int64), frame["score"].to_numpy(), removed)

    def frame(self) -> pl.DataFrame:
        """The items as a frame, for steps that users write."""
        return pl.DataFrame({"item": self.item, "score": self.score, "removed": list(self.removed)}, schema=COLUMNS)

    @property
    def staying(self) -> Places:
        """Where in the order the items lie that no step has taken out."""
        return np.flatnonzero(self.removed == None)  # noqa: E711 - of each

    def values(self, of_rows: NDArray[Any]) -> NDArray[Any]:
        """The values of rows, in the order of the items."""
        return np.asarray(of_rows[self.item])

    def in_rows(self) -> Numbers:
        """The scores, in the order of the rows."""
        scores = np.empty(len(self.item))
        scores[self.item] = self.score
        return scores

    def at(self, order: Places) -> Items:
        """The items in another order."""
        return Items(self.item[order], self.score[order], self.removed[order])

    def ordered(self, staying: Places) -> Items:
        """Those that stay in this order of their places, and after them the removed ones as they lay."""
        return self.at(np.concatenate([staying, np.flatnonzero(self.removed != None)]))  # noqa: E711 - of each

    def scored(self, scores: Numbers) -> Items:
        """Those that stay with new scores, by them; equals stay as they lay, and the removed ones lie last."""
        staying = self.staying
        changed = self.score.copy()
        changed[staying] = scores
        return Items(self.item, changed, self.removed).ordered(staying[np.argsort(-scores, kind="stable")])

    def without(self, reasons: NDArray[np.object_]) -> Items:
        """With these reasons, in the order of the items, for those that stay so far; None takes nothing out."""
        return Items(self.item, self.score, np.where(self.removed == None, reasons, self.removed))  # noqa: E711
