"""The proof that features are row-wise: what training, load and ``perene check`` compare before they trust a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from perene.definition.model import Model

SAMPLE = 64


def check_features_rowwise(model: Model, rows: pl.DataFrame, seed: int) -> None:
    """Compare the features of up to 64 rows, shuffled, with those of each of them alone, cell for cell.

    Raises:
        DeclarationError: a cell differs, so the feature code looks at other rows or keeps state.
    """
    order = np.random.default_rng(seed).permutation(rows.height)[:SAMPLE]
    sample = rows[order.tolist()]
    together = model.compute_features(sample)
    for i in range(sample.height):
        alone = model.compute_features(sample[i : i + 1])
        row = together[i : i + 1]
        if alone.schema != row.schema:
            raise model.features_hook.refused(
                f"gives {_columns(alone)} for one row, but {_columns(row)} for {sample.height}",
                mend="let the columns and their types depend on nothing but the Row",
            )
        for name in row.columns:
            if not _same(alone[name], row[name]):
                here, there = alone[name][0], row[name][0]
                raise model.features_hook.refused(
                    f"is not row-wise: {name} is {here!r} for a row alone and {there!r} among {sample.height}",
                    mend="let a row's features depend on that row only; what is fitted to many rows belongs to train",
                )


def _columns(frame: pl.DataFrame) -> str:
    return ", ".join(f"{name} ({dtype})" for name, dtype in frame.schema.items())


def _same(left: pl.Series, right: pl.Series) -> bool:
    if isinstance(left.dtype, pl.Categorical):
        left, right = left.cast(pl.String), right.cast(pl.String)
    return left.equals(right, null_equal=True)
