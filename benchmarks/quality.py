"""How long it takes to measure nine months of answers by month: 270,000 logged predictions with their ground truth.

    python benchmarks/quality.py              about half a minute, most of it to write the logs
    python benchmarks/quality.py 3000         so many rows a day (1000 otherwise)

The other version that the requests are scored with is trivial: what is measured is reading, joining and statistics.
Memory is the process's peak after the logs were written, less what it was before.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Annotated, Literal

import numpy as np
import polars as pl
import psutil
from annotated_types import Gt, Len
from pydantic import AwareDatetime

from perene.clock import machine_clock
from perene.definition.label import Label
from perene.definition.model import Model
from perene.definition.row import Row
from perene.monitoring.periods import Period, months
from perene.monitoring.quality import measure_quality
from perene.pipelines.predictor import Predictor
from perene.records.model import ModelVersion
from perene.repositories.models import Models
from perene.repositories.predictions import Predictions
from perene.repositories.truths import Truths
from perene.statistics.scores import Constant
from perene.storage.database import Database
from perene.storage.envelope import keys
from perene.storage.lake import Lake

SINCE, DAYS = datetime(2013, 3, 1, tzinfo=UTC), 275
WEEK = 7
KEY = ("carrier", "flight", "origin")


class Flight(Row):
    """A flight that is due to leave."""

    carrier: Annotated[str, Len(2, 2)]
    flight: int
    origin: Literal["EWR", "JFK", "LGA"]
    dest: Annotated[str, Len(3, 3)]
    sched_dep: AwareDatetime
    distance: Annotated[float, Gt(0)]
    temp: float | None = None
    wind: float | None = None
    maker: str | None = None


class Fitted:
    """Predicts by the distance."""

    def predict(self, x: pl.DataFrame) -> np.ndarray:
        return np.clip(x["distance"].to_numpy() / 3000, 0.05, 0.95)


def main(a_day: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/perene.db")
        database.migrate()
        lake = Lake(f"{folder}/store", database, machine_clock)
        model = _model()
        Models(database).register(model.name, {}, SINCE)
        _timed("writing the logs", lambda: _write(model, lake, Predictions(lake, database), Truths(lake), a_day))
        _measure(model, Predictions(lake, database), a_day)
        database.close()


def _measure(model: Model, predictions: Predictions, a_day: int) -> None:
    until = SINCE + timedelta(days=DAYS)
    as_of, every = until + timedelta(days=3), months(SINCE, until)
    recent = [Period(since=until - timedelta(days=14), until=until)]
    again = Predictor(_version(), model, Fitted(), Constant(name="mean", value=np.asarray(0.5)))
    print(f"{a_day * DAYS:,} rows, {len(every)} months")
    _timed(
        "status: 14 days, one metric",
        lambda: measure_quality(model, predictions, recent, as_of=as_of, metrics=["log_loss"]),
    )
    _timed("by month", lambda: measure_quality(model, predictions, every, as_of=as_of))
    _timed("by month, rescored", lambda: measure_quality(model, predictions, every, as_of=as_of, rescore=again))
    whole = [Period(since=SINCE, until=until)]
    _timed("in one, rescored", lambda: measure_quality(model, predictions, whole, as_of=as_of, rescore=again))


def _write(model: Model, lake: Lake, predictions: Predictions, truths: Truths, a_day: int) -> None:
    """The logs as a weekly drain leaves them: predictions a week at a time, their truth two days behind."""
    draw = np.random.default_rng(0)
    for week in range(0, DAYS, WEEK):
        rows = _rows(draw, week, a_day, min(WEEK, DAYS - week))
        common = {"key": keys(rows, KEY), "event_at": rows["sched_dep"], "day": rows["sched_dep"].dt.date()}
        at = rows["sched_dep"] - timedelta(hours=1)
        p = draw.uniform(0.05, 0.95, rows.height)
        answers = common | {
            "prediction_id": [f"{week:08x}-{i:012x}" for i in range(rows.height)], "predicted_at": at,
            "recorded_at": at, "request": rows.to_struct(), "raw": p, "final": p,
        }  # fmt: skip
        filled = {"role": pl.lit("champion"), "mode": pl.lit("online"), "model_version": pl.lit(1)}
        predictions.append(model, pl.DataFrame(answers).with_columns(**filled), f"week-{week}")
        told = common | {"label": draw.uniform(size=rows.height) < p, "known_at": at + timedelta(hours=8)}
        truths.append(model, pl.DataFrame(told).with_columns(retracted=pl.lit(value=False)), f"week-{week}")


def _rows(draw: np.random.Generator, first: int, a_day: int, days: int) -> pl.DataFrame:
    count = a_day * days
    minute = np.arange(count) * (24 * 60) // a_day
    start = pl.Series(np.datetime64(SINCE.replace(tzinfo=None), "us") + (first * 24 * 60 + minute).astype("m8[m]"))
    return pl.DataFrame(
        {
            "carrier": draw.choice(["UA", "AA", "DL", "B6"], count),
            "flight": np.arange(count),
            "origin": draw.choice(["EWR", "JFK", "LGA"], count),
            "dest": draw.choice(["LAX", "SFO", "ORD", "MIA", "ATL"], count),
            "sched_dep": start.dt.replace_time_zone("UTC"),
            "distance": draw.uniform(100, 3000, count),
            "temp": draw.normal(50, 20, count),
            "wind": draw.uniform(0, 40, count),
            "maker": draw.choice(["BOEING", "AIRBUS", "EMBRAER"], count),
        }
    )


def _timed(what: str, deed: Callable[[], object]) -> None:
    process = psutil.Process()
    before = peak = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = perf_counter()
    deed()
    seconds = perf_counter() - start
    done.set()
    watcher.join()
    print(f"{what:32} {seconds:7.2f} s   {(peak - before) / 2**20:6.0f} MiB more, {peak / 2**20:6.0f} MiB in all")


def _model() -> Model:
    return Model(
        "late", row=Flight, key=list(KEY), at="sched_dep", asked="1h before",
        label=Label("late", bool, known_at="landed_at", wait="36h"), train_on="365d", test_on="14d", every="7d",
        examples="log", features=lambda rows: rows.select("distance"), train=lambda x, y: None,
    )  # fmt: skip


def _version() -> ModelVersion:
    return ModelVersion(
        model="late", version=1, run=None, created_at=SINCE, bundle="b", recipe="r", dataset=1, trained_from=SINCE,
        trained_until=SINCE, trained_through=SINCE, rows=1, label_mean=0.2, seed=0, seconds=0.0, peak_memory=0,
        parameters={}, git_commit=None, lock="l", code="c",
    )  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
