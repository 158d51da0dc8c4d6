"""A scikit-learn Pipeline on pandas, as somebody had it before: perene serves it unchanged."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import pandas as pd
import polars as pl
from annotated_types import Gt, Len
from lightgbm import LGBMRegressor
from models.late_arrival import ARCHIVE
from pydantic import AwareDatetime
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

from perene import Label, Model, Row

TEXTS = ["carrier", "origin", "dest", "maker"]
NUMBERS = [
    "flight", "month", "day", "hour", "minute", "distance", "plane_year", "seats", "engines",
    "temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib",
]  # fmt: skip


class Flight(Row):
    """A flight that is due to leave, as a table has it."""

    carrier: Annotated[str, Len(2, 2)]
    origin: Literal["EWR", "JFK", "LGA"]
    dest: Annotated[str, Len(3, 3)]
    maker: str
    sched_dep: AwareDatetime
    flight: int
    month: int
    day: int
    hour: int
    minute: int
    distance: Annotated[float, Gt(0)]
    plane_year: int
    seats: int
    engines: int
    temp: float
    dewp: float
    humid: float
    wind_dir: float
    wind_speed: float
    precip: float
    pressure: float
    visib: float


def source(since, until) -> pl.DataFrame:
    """The archive's flights in [since, until)."""
    return pl.scan_parquet(ARCHIVE).filter(pl.col("sched_dep").is_between(since, until, closed="left")).collect()


def features(rows: pl.DataFrame) -> pl.DataFrame:
    """The columns that the pipeline was made for."""
    return rows.select(*TEXTS, *NUMBERS)


def train(x: pd.DataFrame, y: np.ndarray, *, seed: int):
    """The pipeline, unchanged."""
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    trees = LGBMRegressor(n_estimators=200, num_leaves=63, random_state=seed, n_jobs=1, verbose=-1)
    columns = ColumnTransformer([("codes", codes, TEXTS), ("numbers", "passthrough", NUMBERS)])
    return Pipeline([("columns", columns), ("trees", trees)]).fit(x, y)


minutes = Model(
    "arrival-minutes",
    row=Flight,
    key=["carrier", "flight", "origin"],
    at="sched_dep",
    asked="1h before",
    label=Label("minutes", float, known_at="landed_at", wait="36h"),
    train_on="365d",
    test_on="28d",
    stale_after="45d",
    examples="source",
    source=source,
    features=features,
    train=train,
)
