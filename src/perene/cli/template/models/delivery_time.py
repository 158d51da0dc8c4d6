"""How many minutes a delivery takes: a first model, on orders that are made up. Put your own in place, part by part."""

from datetime import datetime, timedelta
from typing import Annotated, Literal

import numpy as np
import polars as pl
from annotated_types import Ge, Gt
from pydantic import AwareDatetime

from perene import Label, Model, Row, gate


class Order(Row):
    """An order that is about to leave. These fields are what a caller sends."""

    order: int
    district: Literal["centre", "harbour", "north"]
    leaves_at: AwareDatetime
    km: Annotated[float, Gt(0)]
    items: Annotated[int, Ge(1)]
    rain: bool | None = None


delivery = Model(
    "delivery-time",
    row=Order,
    key=["order"],  # which thing
    at="leaves_at",  # when it happens
    asked="5m before",  # when it is predicted: nothing known later may be used
    label=Label("minutes", float, known_at="arrived_at", wait="3h", unit="min"),  # after 3 h, all are known
    train_on="90d",
    test_on="14d",  # the newest days judge: the new model against the one that is live
    every="1d",
    gate=gate(metric="absolute_error", margin="5%"),
    owner="you",
)


@delivery.source
def orders(since: datetime, until: datetime) -> pl.DataFrame:
    """The orders that left in [since, until). Read your database here; these are made up, the same for the same day."""
    first = since.replace(hour=0, minute=0, second=0, microsecond=0)
    days = [first + timedelta(days=n) for n in range((until - first).days + 1)]
    asked = pl.col("leaves_at").is_between(since, until, closed="left")
    rows = pl.concat([_orders_of(day) for day in days]).filter(asked)
    arrived = pl.col("arrived_at") <= until  # what has not arrived has no label yet: it comes with a later call
    return rows.with_columns(pl.when(arrived).then(pl.col(name)).alias(name) for name in ("minutes", "arrived_at"))


@delivery.features
def features(rows: pl.DataFrame) -> pl.DataFrame:
    """The numbers that the model sees: the same code in training and in serving."""
    hour = pl.col("leaves_at").dt.hour()
    return rows.select(
        "km",
        pl.col("items").cast(pl.Float64),
        pl.col("rain").fill_null(False).cast(pl.Float64),
        (pl.col("district") == "harbour").cast(pl.Float64).alias("harbour"),
        hour.is_between(17, 19).cast(pl.Float64).alias("rush_hour"),
    )


class LeastSquares:
    """A straight line through the training rows. Anything with predict(x) does: scikit-learn, LightGBM, your own."""

    def __init__(self, x: pl.DataFrame, y: np.ndarray):
        self.weights = np.linalg.lstsq(self._with_constant(x), y, rcond=None)[0]

    def predict(self, x: pl.DataFrame) -> np.ndarray:
        return self._with_constant(x) @ self.weights

    @staticmethod
    def _with_constant(x: pl.DataFrame) -> np.ndarray:
        return np.column_stack([x.to_numpy(), np.ones(x.height)])


@delivery.train
def train(x: pl.DataFrame, y: np.ndarray) -> LeastSquares:
    """Learn from the training rows; what is returned is the model."""
    return LeastSquares(x, y)


@delivery.metric(better="lower", unit="min")
def absolute_error(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """By how many minutes each prediction is off: one value per row."""
    return np.abs(y - p)


@delivery.slice
def distance(rows: pl.DataFrame) -> pl.Series:
    """A part of the rows that must not get worse while the whole gets better."""
    return rows.select(pl.when(pl.col("km") > 5).then(pl.lit("far")).otherwise(pl.lit("near"))).to_series()


@delivery.post
def bounds(p: np.ndarray) -> np.ndarray:
    """Nobody is told less than five minutes, or more than two hours."""
    return np.clip(p, 5, 120)


def _orders_of(day: datetime) -> pl.DataFrame:
    """A day's made-up orders. Traffic changes over half a year, so a model that is not retrained gets worse."""
    number = day.toordinal()
    rng = np.random.default_rng([8780, number])
    count = int(rng.integers(80, 140))
    minute = np.sort(rng.integers(10 * 60, 23 * 60, count))
    km = np.round(rng.gamma(2.0, 1.6, count) + 0.3, 1)
    items = 1 + rng.poisson(1.5, count)
    rain = rng.random(count) < rng.choice([0.0, 0.9], p=[0.7, 0.3])
    district = rng.choice(["centre", "harbour", "north"], count, p=[0.5, 0.2, 0.3])
    rush = (minute // 60 >= 17) & (minute // 60 <= 19)
    per_km = 3.0 + 0.8 * np.sin(2 * np.pi * number / 180)
    minutes = 6 + per_km * km + 0.8 * items + 4 * rain + 5 * (district == "harbour") + 6 * rush
    minutes = np.maximum(minutes + rng.normal(0, 3, count), 3)
    leaves_at = pl.Series([day + timedelta(minutes=int(m)) for m in minute], dtype=pl.Datetime("us", "UTC"))
    taken = pl.Series([timedelta(minutes=float(m)) for m in minutes], dtype=pl.Duration("us"))
    return pl.DataFrame(
        {
            "order": number * 1000 + np.arange(count),
            "district": district.tolist(),
            "leaves_at": leaves_at,
            "km": km,
            "items": items,
            "rain": rain,
            "minutes": minutes,
            "arrived_at": leaves_at + taken,
        }
    )
