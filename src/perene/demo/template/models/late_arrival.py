"""Will a flight out of New York arrive more than 15 minutes late? Asked one hour before its scheduled departure."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import polars as pl
from annotated_types import Gt, Len
from pydantic import AwareDatetime
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from perene import Label, Model, Row, gate

ARCHIVE = Path(__file__).parent.parent / "data" / "archive.parquet"  # what an airline's database would hold
CATEGORIES = ["carrier", "origin", "dest", "maker"]
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]


class Flight(Row):
    """A flight that is due to leave. These fields are what a caller sends."""

    carrier: Annotated[str, Len(2, 2)]
    flight: int
    origin: Literal["EWR", "JFK", "LGA"]
    dest: Annotated[str, Len(3, 3)]
    sched_dep: AwareDatetime
    distance: Annotated[float, Gt(0)]  # miles
    # the plane; not always known
    maker: str | None = None
    plane_year: int | None = None
    seats: int | None = None
    engines: int | None = None
    # the weather at the origin, at the last full hour before the question; not always observed
    temp: float | None = None  # °F
    dewp: float | None = None  # °F
    humid: float | None = None  # %
    wind_dir: float | None = None  # degrees
    wind_speed: float | None = None  # mph
    wind_gust: float | None = None  # mph
    precip: float | None = None  # inches
    pressure: float | None = None  # millibars
    visib: float | None = None  # miles


late = Model(
    "late-arrival",
    row=Flight,
    key=["carrier", "flight", "origin"],  # which thing; with the time below, which flight
    at="sched_dep",  # when it happens
    asked="1h before",  # when it is predicted: nothing known later may be used
    label=Label("late", bool, known_at="landed_at", wait="36h"),  # after 36 h, what has landed has its label
    train_on="365d",
    test_on="14d",  # the newest days judge: the new model against the one that is live
    every="7d",
    stale_after="30d",
    examples="source+log",  # the archive below, and from March on what this model was asked and what came of it
    gate=gate(metric="log_loss", margin="5%"),
    release="auto",
    owner="ops-forecast",
)


@late.source
def flights(since: datetime, until: datetime) -> pl.DataFrame:
    """The flights due to leave in [since, until): an archive, which ends with February 2013."""
    return pl.scan_parquet(ARCHIVE).filter(pl.col("sched_dep").is_between(since, until, closed="left")).collect()


@late.features
def features(rows: pl.DataFrame) -> pl.DataFrame:
    """What the model sees: the same code for training, serving and replay."""
    local = pl.col("sched_dep").dt.convert_time_zone("America/New_York")
    return rows.select(
        *CATEGORIES,
        (local.dt.hour().cast(pl.Float64) + local.dt.minute() / 60).alias("hour"),
        local.dt.weekday().cast(pl.Float64).alias("weekday"),
        local.dt.ordinal_day().cast(pl.Float64).alias("day_of_year"),
        "distance",
        (local.dt.year() - pl.col("plane_year")).cast(pl.Float64).alias("plane_age"),
        pl.col("seats", "engines").cast(pl.Float64),
        *WEATHER,
    )


@late.train
def train(x: pl.DataFrame, y: np.ndarray, *, seed: int):
    """Fit to the training rows. Anything may be returned that predicts; what is learnt from many rows is in it."""
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan)
    trees = HistGradientBoostingClassifier(categorical_features=[0, 1, 2, 3], random_state=seed)
    return make_pipeline(make_column_transformer((codes, CATEGORIES), remainder="passthrough"), trees).fit(x, y)


@late.metric(better="lower")
def log_loss(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """One value per flight: minus the logarithm of the probability that was given to what happened.

    AUC comes with every true-or-false label; a metric of your own of all rows together says whole=True.
    """
    return -np.log(np.where(y, p, 1 - p))


@late.slice
def haul(rows: pl.DataFrame) -> pl.Series:
    """Parts of the flights that are looked at apart."""
    return rows.select(pl.when(pl.col("distance") > 1500).then(pl.lit("long")).otherwise(pl.lit("short"))).to_series()


@late.post
def bounds(p: np.ndarray) -> np.ndarray:
    """Nobody is told that a flight will surely be late, or surely not."""
    return p.clip(0.01, 0.99)
