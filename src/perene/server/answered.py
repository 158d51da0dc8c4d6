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

    def columns(self, start: int = 0, stop: int | None = None) -> dict[str, Any]:
        """What of some rows, or of all, the journal keeps."""
        some = slice(start, stop)
        return {
            "raw": self.raw[some],
            "steps": self.steps[some],
            "final": self.final[some],
            "features": None if self.features is None else self.features[some],
            "rank": None if self.rank is None else [rank or None for rank in self.rank[some]],
            "removed": None if self.removed is None else self.removed[some],
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
