"""The one way in which features are computed, and the proof that they are row-wise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from perene.definition.model import Model


def compute_features(model: Model, rows: pl.DataFrame) -> pl.DataFrame:
    """The features of rows: the feature code gets the Row's columns, in one chunk, and never one row alone.

    polars' last bits differ between a frame of one row and a longer one, so a single row is doubled and the answer cut.
    """
    known = rows.select(list(model.schema.polars)).rechunk()
    if known.height == 1:
        features: pl.DataFrame = model.features_hook(rows=pl.concat([known, known], rechunk=True))
        return features.head(1)
    whole: pl.DataFrame = model.features_hook(rows=known)
    return whole
