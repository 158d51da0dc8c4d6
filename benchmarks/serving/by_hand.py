"""The service that one writes by hand: pydantic → pandas → predict, one row at a time.

    FITTED=model.joblib uvicorn by_hand:app --workers 2

Its features are those of the demo's model, in pandas.
"""

from __future__ import annotations

import os
from typing import Literal

import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import AwareDatetime, BaseModel, Field

WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
COLUMNS = [
    "carrier", "origin", "dest", "maker", "hour", "weekday", "day_of_year", "distance", "plane_age", "seats",
    "engines", *WEATHER,
]  # fmt: skip
TEXTS = ["carrier", "origin", "dest", "maker"]


class Flight(BaseModel):
    """A flight that is due to leave."""

    carrier: str = Field(min_length=2, max_length=2)
    flight: int
    origin: Literal["EWR", "JFK", "LGA"]
    dest: str = Field(min_length=3, max_length=3)
    sched_dep: AwareDatetime
    distance: float = Field(gt=0)
    maker: str | None = None
    plane_year: int | None = None
    seats: int | None = None
    engines: int | None = None
    temp: float | None = None
    dewp: float | None = None
    humid: float | None = None
    wind_dir: float | None = None
    wind_speed: float | None = None
    wind_gust: float | None = None
    precip: float | None = None
    pressure: float | None = None
    visib: float | None = None


class Request(BaseModel):
    """The rows to predict."""

    rows: list[Flight]


app = FastAPI()
fitted = joblib.load(os.environ["FITTED"])


@app.post("/predict")
def predict(request: Request) -> dict[str, list[float]]:
    """Features, model, bounds."""
    frame = pd.DataFrame([row.model_dump() for row in request.rows])
    local: pd.Series = pd.to_datetime(frame["sched_dep"], utc=True).dt.tz_convert("America/New_York")
    frame["hour"] = local.dt.hour + local.dt.minute / 60
    frame["weekday"] = local.dt.dayofweek + 1.0
    frame["day_of_year"] = local.dt.dayofyear.astype(float)
    frame["plane_age"] = local.dt.year - frame["plane_year"].astype(float)
    numbers = [name for name in COLUMNS if name not in TEXTS]
    frame[numbers] = frame[numbers].astype(float)
    frame[TEXTS] = frame[TEXTS].astype(object).where(frame[TEXTS].notna(), None)
    return {"predictions": fitted.predict_proba(frame[COLUMNS])[:, 1].clip(0.01, 0.99).tolist()}
