"""The model of the case *native* as peers serve it: raw rows in a pandas frame in, answers out.

The features are the project's own code, word for word; a peer has no place for them, so they go into the object.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from sklearn.base import BaseEstimator, RegressorMixin

CATEGORIES = ["carrier", "origin", "dest", "maker"]
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]


class Whole(RegressorMixin, BaseEstimator):
    """Features, fitted model and post step as one object."""

    def __init__(self, fitted: Any = None) -> None:
        self.fitted = fitted

    def __sklearn_is_fitted__(self) -> bool:
        return self.fitted is not None

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        """The answers for raw rows; ``sched_dep`` comes as text."""
        at = pl.col("sched_dep").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")
        chances = self.fitted.predict_proba(features(pl.from_pandas(rows).with_columns(at)))
        return chances[:, 1].clip(0.01, 0.99)


def features(rows: pl.DataFrame) -> pl.DataFrame:
    """As in models/late_arrival.py of the demo."""
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
