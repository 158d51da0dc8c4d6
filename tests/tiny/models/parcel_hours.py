"""How long a parcel takes, for the tests of serving: quick to train, and plain Python throughout."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Annotated

import numpy as np
import polars as pl
from annotated_types import Gt
from pydantic import AwareDatetime

from perene import Label, Log, Model, Row, gate

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Parcel(Row):
    """A parcel that is handed in."""

    number: int
    sent_at: AwareDatetime
    grams: Annotated[float, Gt(0)]
    note: Annotated[str | None, Log(False)] = None


hours = Model(
    "parcel-hours",
    row=Parcel,
    key=["number"],
    at="sent_at",
    label=Label("hours", float, known_at="arrived_at", wait="1h"),
    train_on="20d",
    test_on="10d",
    every="1d",
    gate=gate(rule="not-worse"),
)


@hours.source
def parcels(since: datetime, until: datetime) -> pl.DataFrame:
    """A parcel every 90 minutes; it takes an hour per kilogram, and a little more or less."""
    every = timedelta(minutes=90)
    first = math.ceil((since - EPOCH) / every)
    numbers = range(first, math.ceil((until - EPOCH) / every))
    rows = pl.DataFrame({"number": numbers}, schema={"number": pl.Int64}).with_columns(
        sent_at=pl.lit(EPOCH) + pl.col("number") * every, grams=100.0 + pl.col("number") * 37 % 1900
    )
    return rows.with_columns(
        hours=pl.col("grams") / 1000 + 0.01 * (pl.col("number") % 3),
        arrived_at=pl.col("sent_at") + timedelta(minutes=30),
    )


@hours.features
def features(rows: pl.DataFrame) -> pl.DataFrame:
    """Kilograms."""
    return rows.select(kilograms=pl.col("grams") / 1000)


class Line:
    """Hours per kilogram, and a base."""

    def __init__(self, slope: float, base: float) -> None:
        self.slope, self.base = slope, base

    def predict(self, x: pl.DataFrame) -> np.ndarray:
        return self.base + self.slope * x["kilograms"].to_numpy()


@hours.train
def train(x: pl.DataFrame, y: np.ndarray, seed: int) -> Line:
    """Least squares; the seed moves the base a little, so that versions can be told apart."""
    slope, base = np.polyfit(x["kilograms"].to_numpy(), y, 1)
    return Line(float(slope), float(base) + seed % 1000 * 1e-9)
