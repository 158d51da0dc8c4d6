"""The one way in which features are computed, and the proof that they are row-wise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from perene.definition.model import Model


def compute_features(model: Model, rows: pl.DataFrame) -> pl.DataFrame:
    """The features of rows: the feature code gets the Row's columns, in one chunk, and never one row alone."""
    features: pl.DataFrame = model.features_hook(rows=evaluable(model, rows))
    return features.head(rows.height)


def evaluable(model: Model, rows: pl.DataFrame) -> pl.DataFrame:
    """The Row's columns of rows, so that an expression over them gives the same last bits however many they are.

    polars computes a column of one row, and one that it holds as a constant (a literal, a frame put after itself),
    another way than a longer one: a / 7 differs in the last bit. So each column is spelled out in one chunk, and a
    single row comes twice.
    """
    names = list(model.schema.polars)
    columns = rows.get_columns() if rows.columns == names else [rows.get_column(name) for name in names]
    if rows.height == 1:
        columns = [column.new_from_index(0, 2) for column in columns]
    return pl.DataFrame([column if column.n_chunks() == 1 else column.rechunk() for column in columns])
