"""What is new, other and gone between two sets of examples."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from perene.definition.model import Model
from perene.records.dataset import Changes
from perene.storage.envelope import INSTANT

IDENTITY = ("key", "event_at")
COLUMNS = (*IDENTITY, "row", "label", "known_at")
_THERE, _WAS = "there", "was"


def no_examples(model: Model) -> pl.DataFrame:
    """No rows, with the columns of examples as they are compared."""
    row = pl.Struct(dict(model.schema.polars))
    return pl.DataFrame(schema=dict(zip(COLUMNS, (pl.String(), INSTANT, row, model.label.dtype, INSTANT), strict=True)))


def compared(now: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """Both sets side by side, by identity, with what happened to each: ``added, gone, relabelled, restated, redated``.

    The values of before have the suffix ``_before``.
    """
    left = now.select(*COLUMNS).with_columns(pl.lit(value=True).alias(_THERE))
    right = before.select(*COLUMNS).with_columns(pl.lit(value=True).alias(_WAS))
    both = left.join(right, on=IDENTITY, how="full", coalesce=True, suffix="_before")
    stayed = pl.col(_THERE) & pl.col(_WAS)
    return both.with_columns(
        added=pl.col(_WAS).is_null(),
        gone=pl.col(_THERE).is_null(),
        relabelled=stayed.fill_null(value=False) & _differs("label"),
        restated=stayed.fill_null(value=False) & _differs("row"),
        redated=stayed.fill_null(value=False) & _differs("known_at"),
    ).drop(_THERE, _WAS)


def counted(changes: pl.DataFrame) -> Changes:
    """How many rows were added, relabelled, restated and are gone."""
    names = ("added", "relabelled", "restated", "gone")
    return Changes(**{name: int(changes[name].sum()) for name in names})


def to_append(changes: pl.DataFrame, *, now: datetime, origin: str, dated: bool) -> pl.DataFrame:
    """The examples that must be said, so that what holds is what is there now: new and other rows, and retractions.

    ``dated``: labels come with the time at which they were known; else an old label keeps the time of its arrival.
    """
    if not dated:
        known_at = pl.when("relabelled").then("known_at").otherwise(pl.coalesce("known_at_before", "known_at"))
        changes = changes.with_columns(known_at=known_at, redated=pl.lit(value=False))
    said = changes.filter(pl.any_horizontal("added", "relabelled", "restated", "redated")).select(
        *COLUMNS, retracted=pl.lit(value=False)
    )
    gone = changes.filter("gone").select(
        *IDENTITY,
        row="row_before",
        label=pl.lit(None, dtype=changes.schema["label"]),
        known_at=pl.lit(now, dtype=INSTANT),
        retracted=pl.lit(value=True),
    )
    return pl.concat([said, gone]).with_columns(origin=pl.lit(origin))


def last_of_each(rows: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """Which rows are the last of those that agree in these columns."""
    return rows.select(pl.struct(*columns).is_last_distinct()).to_series()


def _differs(column: str) -> pl.Expr:
    return pl.col(column).ne_missing(pl.col(f"{column}_before"))
