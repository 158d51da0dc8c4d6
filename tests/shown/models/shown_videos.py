"""Which of the videos that a visitor is shown is watched, for the tests of rankings: simulated, quick to train."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from pydantic import AwareDatetime

from perene import Label, Model, Row, gate

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EVERY = timedelta(minutes=90)
SHOWN = 6


class Shown(Row):
    """A video that may be shown to a visitor."""

    visit: str
    video: int
    at: AwareDatetime
    fit: float
    age: float
    is_withdrawn: bool = False


videos = Model(
    "shown-videos",
    row=Shown,
    key=["video", "visit"],
    at="at",
    label=Label("watched", bool, group="visit", known_at="seen_at", wait="1h"),
    train_on="20d",
    test_on="10d",
    every="1d",
    gate=gate(metric="ndcg@3", rule="not-worse"),
)


@videos.source
def shown(since: datetime, until: datetime) -> pl.DataFrame:
    """Two visits every three hours, with six videos each; one is watched: most often that which fits best."""
    first, last = math.ceil((since - EPOCH) / EVERY), math.ceil((until - EPOCH) / EVERY)
    visits = np.repeat(np.arange(first, last), SHOWN)
    fit = (visits * 7919 + np.arange(len(visits)) * 104729) % 997 // 100 / 10
    mood = (visits * 31 + np.arange(len(visits)) * 17) % 13 / 13
    rows = pl.DataFrame({"visit": visits, "video": np.tile(np.arange(SHOWN), last - first), "fit": fit, "mood": mood})
    rows = rows.with_columns(age=pl.int_range(pl.len()) % 7.0)
    liking = pl.col("fit") + 0.5 * pl.col("mood") - 0.01 * pl.col("age")
    return (
        rows.with_columns(
            at=pl.lit(EPOCH) + pl.col("visit") // 2 * 2 * EVERY, watched=liking == liking.max().over("visit")
        )
        .select(pl.exclude("mood"))
        .with_columns(visit=pl.format("v{}", "visit"), seen_at=pl.col("at") + timedelta(minutes=30))
    )


@videos.features
def features(rows: pl.DataFrame) -> pl.DataFrame:
    """How well a video fits, and its age."""
    return rows.select("fit", "age")


class Line:
    """A weighted sum of the features."""

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights

    def predict(self, x: pl.DataFrame) -> np.ndarray:
        return self.weights[0] * x["fit"].to_numpy() + self.weights[1] * x["age"].to_numpy()


@videos.train
def train(x: pl.DataFrame, y: np.ndarray, groups: np.ndarray) -> Line:
    """Least squares of what is watched, each group from its own mean; the rows of a group lie side by side."""
    assert bool((np.diff(groups) >= 0).all())
    sizes = np.bincount(groups)[:, None]
    known = x.to_numpy()
    means = np.column_stack([np.bincount(groups, column) for column in known.T]) / sizes
    weights, *_ = np.linalg.lstsq(known - means[groups], y - (np.bincount(groups, y) / sizes[:, 0])[groups], rcond=None)
    return Line(weights)


@videos.post
def young_first(rows: pl.DataFrame, p: np.ndarray) -> np.ndarray:
    """A little for what is new."""
    return p - 0.001 * rows["age"].to_numpy()


@videos.post
def withdrawn(rows: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """What was withdrawn is not shown."""
    is_out = rows["is_withdrawn"][items["item"].to_list()]
    return items.with_columns(removed=pl.when(is_out).then(pl.lit("withdrawn")).otherwise("removed"))
