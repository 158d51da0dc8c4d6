"""How long a taxi ride takes: the made-up project of the benchmarks of data.

``RIDES_A_DAY`` says how many rides there are, ``RIDES_TEST_DAYS`` on how many days a candidate is tested. The table
that source() reads lives: of each day's rides, one in 200 is corrected on each of the six days that follow, and three
in 100 get their label two days late.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import numpy as np
import polars as pl
from annotated_types import Ge, Gt
from pydantic import AwareDatetime

from perene import Label, Model, Row, gate

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ZONES = [f"zone-{i}" for i in range(40)]
A_DAY, TEST_DAYS = int(os.environ.get("RIDES_A_DAY", "1000")), int(os.environ.get("RIDES_TEST_DAYS", "7"))
CORRECTED, LATE = 200, 33


class Ride(Row):
    """A ride that is ordered."""

    number: int
    ordered_at: AwareDatetime
    driver: str
    start: str
    end: str
    tariff: Literal["basic", "comfort", "van"]
    paid_by: Literal["cash", "card", "app"] | None
    km: Annotated[float, Gt(0)]
    straight_km: Annotated[float, Gt(0)]
    passengers: Annotated[int, Ge(1)]
    bags: int
    rating: float | None
    waiting: int
    degrees: float | None
    rain: float | None
    wind: float | None
    traffic: float
    is_airport: bool


rides = Model(
    "ride-minutes", row=Ride, key="number", at="ordered_at",
    label=Label("minutes", float, known_at="ended_at", wait="6h"), train_on="365d",
    test_on=f"{TEST_DAYS}d", every="1d", revisit="8d", gate=gate(margin="5%", min_days=TEST_DAYS),
)  # fmt: skip


@rides.source
def source(since: datetime, until: datetime) -> pl.DataFrame:
    """The rides of these days as the table has them when ``until`` is its newest day."""
    days = range(max((since - FIRST).days, 0), (until - FIRST).days)
    return pl.concat([_rides(day, age=(until - FIRST).days - day - 1) for day in days] or [_rides(0, age=0).clear()])


def _rides(day: int, *, age: int) -> pl.DataFrame:
    """A day's rides, as the table has them so many days later."""
    count, draw = A_DAY, np.random.default_rng(day)
    turn = draw.permutation(count)
    km = draw.gamma(2, 4, count) + 0.5
    km += 0.1 * (turn % CORRECTED < min(age, 6))
    seconds = np.arange(count) * 86_400.0 / count
    ordered = (
        pl.Series((FIRST.timestamp() + day * 86_400 + seconds) * 1e6).cast(pl.Int64).cast(pl.Datetime("us", "UTC"))
    )
    traffic = 1 + np.sin(seconds / 86_400 * 2 * np.pi) ** 2 + draw.normal(0, 0.1, count)
    minutes = 4 + 2.2 * km * traffic + draw.gamma(2, 1.5, count)
    told = pl.Series(np.where(turn % LATE == 0, draw.uniform(40, 60, count) * 60, minutes) * 60e6).cast(pl.Int64)
    return pl.DataFrame(
        {
            "number": day * count + np.arange(count),
            "ordered_at": ordered,
            "driver": pl.Series(draw.integers(0, 5000, count)).cast(pl.String),
            "start": pl.Series(ZONES).gather(draw.integers(0, 40, count)),
            "end": pl.Series(ZONES).gather(draw.integers(0, 40, count)),
            "tariff": pl.Series(["basic", "comfort", "van"]).gather(draw.integers(0, 3, count)),
            "paid_by": pl.Series(["cash", "card", "app", None]).gather(draw.integers(0, 4, count)),
            "km": km,
            "straight_km": km * draw.uniform(0.6, 0.95, count),
            "passengers": draw.integers(1, 5, count),
            "bags": draw.integers(0, 4, count),
            "rating": pl.Series(draw.integers(30, 51, count) / 10).replace(3.0, None),
            "waiting": draw.integers(0, 20, count),
            "degrees": np.round(draw.normal(12, 8, count), 1),
            "rain": np.round(draw.gamma(0.3, 2, count), 1),
            "wind": np.round(draw.gamma(2, 6, count), 1),
            "traffic": traffic,
            "is_airport": draw.uniform(size=count) < 0.1,
            "minutes": minutes,
            "ended_at": ordered + told.cast(pl.Duration("us")),
        }
    )


@rides.features
def features(rows: pl.DataFrame) -> pl.DataFrame:
    """Twelve numbers."""
    hour, at = pl.col("ordered_at").dt.hour(), pl.col("ordered_at")
    return rows.select(
        "km",
        "traffic",
        "waiting",
        "passengers",
        slow_km=pl.col("km") * pl.col("traffic"),
        detour=pl.col("km") / pl.col("straight_km"),
        is_van=(pl.col("tariff") == "van").cast(pl.Float64),
        is_near=(pl.col("start") == pl.col("end")).cast(pl.Float64),
        is_rush=hour.is_between(7, 9).cast(pl.Float64),
        is_weekend=(at.dt.weekday() > 5).cast(pl.Float64),
        rain=pl.col("rain").fill_null(0.0),
        is_airport=pl.col("is_airport").cast(pl.Float64),
    )


class Line:
    """A weighted sum of the features."""

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights

    def predict(self, x: pl.DataFrame) -> np.ndarray:
        """Minutes."""
        return x.with_columns(one=1.0).to_numpy().astype(float) @ self.weights


@rides.train
def train(x: pl.DataFrame, y: np.ndarray, seed: int) -> Line:
    """Least squares, by the normal equations."""
    table = x.with_columns(one=1.0).to_numpy().astype(float)
    return Line(np.linalg.solve(table.T @ table + 1e-6 * np.eye(table.shape[1]), table.T @ y))
