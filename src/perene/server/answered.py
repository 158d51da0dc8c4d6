"""What a version said of rows, as columns of plain values: for answers, for journals, beside an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from perene.definition.model import Model
from perene.pipelines.predictor import Output, Predictor
from perene.pipelines.serving import features_of_rows, refuse_no_numbers, steps_of_rows, values


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One value per row in each; ``rank`` is 0 where there is none."""

    raw: Sequence[object]
    steps: Sequence[list[object]]
    final: Sequence[object]
    features: Sequence[str] | None
    rank: Sequence[int] | None
    removed: Sequence[str | None] | None

    def line(self, row: int) -> dict[str, Any]:
        """What of a row a line of the journal keeps."""
        return {
            "raw": self.raw[row],
            "steps": self.steps[row],
            "final": self.final[row],
            "features": self.features[row] if self.features else None,
            "rank": (self.rank[row] or None) if self.rank is not None else None,
            "removed": self.removed[row] if self.removed is not None else None,
        }


def said_of(model: Model, predictor: Predictor, rows: pl.DataFrame, output: Output) -> Said:
    """A version's output as plain values. Raises ServingError where an answer is no number."""
    final = values(output.final)
    refuse_no_numbers(model.name, output.final)
    return Said(
        raw=output.raw.tolist(),
        steps=steps_of_rows(predictor, output),
        final=final,
        features=features_of_rows(model, predictor, rows),
        rank=None if output.rank is None else output.rank.tolist(),
        removed=output.removed,
    )
