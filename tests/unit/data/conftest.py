"""A bench for the tests of data: one model with a source, a lake and a database in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import polars as pl
import pytest
from annotated_types import Gt
from pydantic import AwareDatetime

from perene.clock import machine_clock
from perene.definition.gates import gate
from perene.definition.label import Label
from perene.definition.model import Model
from perene.definition.row import Row
from perene.pipelines.data import collect, cut, import_examples
from perene.records.dataset import DatasetVersion
from perene.repositories import Fence
from perene.repositories.datasets import Datasets
from perene.repositories.models import Models
from perene.repositories.predictions import Predictions
from perene.repositories.sources import Sources
from perene.repositories.truths import Truths
from perene.storage.database import Database
from perene.storage.envelope import Log, examples_columns, keys
from perene.storage.lake import Lake

INSTANT = pl.Datetime("us", "UTC")


class Trip(Row):
    """A trip that is due to begin."""

    rider: str
    starts: AwareDatetime
    miles: Annotated[float, Gt(0)]
    note: str | None = None


def instant(text: str) -> datetime:
    """``"2013-03-01"`` or ``"2013-03-01 12:00"`` as an instant in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def trips(since: str, days: int, *, a_day: int = 3, late: bool = False, wait_h: float = 2.0) -> pl.DataFrame:
    """Rows as a source gives them: ``a_day`` trips on each day, whose label is known ``wait_h`` hours after."""
    start = [instant(since) + timedelta(days=day, hours=6 + hour) for day in range(days) for hour in range(a_day)]
    return pl.DataFrame(
        {
            "rider": [f"r{i % a_day}" for i in range(len(start))],
            "starts": pl.Series(start, dtype=INSTANT),
            "miles": [1.0 + i % 7 for i in range(len(start))],
            "late": [late or i % 4 == 0 for i in range(len(start))],
            "ended": pl.Series([at + timedelta(hours=wait_h) for at in start], dtype=INSTANT),
        }
    )


@dataclass
class Bench:
    """What a test needs; ``told`` is what the source knows, ``asked`` the ranges of days that it was asked for.

    The source knows of trips at 6, 7 and 8 o'clock of riders r0, r1 and r2, of January and February 2013.
    """

    trips = staticmethod(trips)
    instant = staticmethod(instant)

    folder: Path
    database: Database
    lake: Lake
    told: pl.DataFrame = field(default_factory=lambda: trips("2013-01-01", 60))
    asked: list[tuple[str, str]] = field(default_factory=list)
    model: Model = field(init=False)

    def __post_init__(self) -> None:
        self.model = self.declare()
        self.datasets = Datasets(self.database, self.lake)
        self.predictions = Predictions(self.lake, self.database)
        self.truths = Truths(self.lake)
        self.sources = Sources(self.database)

    def declare(self, *, sound: bool = True, **other: object) -> Model:
        """The model, with other arguments than the usual ones; it becomes the bench's."""
        usual: dict[str, object] = {
            "row": Trip, "key": ["rider"], "at": "starts", "asked": "1h before",
            "label": Label("late", bool, known_at="ended", wait="24h"), "train_on": "10d", "test_on": "3d",
            "gate": gate(min_days=2), "every": "1d",
            "source": self.source, "features": _features, "train": _train,
        }  # fmt: skip
        self.model = Model("trip-late", **{**usual, **other})
        if sound:
            self.model.ensure_sound()
        Models(self.database).register(self.model.name, {}, instant("2013-01-01"))
        return self.model

    def source(self, since: datetime, until: datetime) -> pl.DataFrame:
        """The source of the model."""
        self.asked.append((f"{since:%m-%d}", f"{until:%m-%d}"))
        return self.told.filter(pl.col("starts").is_between(since, until, closed="left"))

    def collect(self, now: str, *, run: int | None = None, fence: Fence | None = None) -> dict[str, object]:
        """Collect at a project time."""
        return collect(self.model, now=instant(now), lake=self.lake, database=self.database, run=run, fence=fence)

    def cut(self, now: str, *, run: int | None = None, fence: Fence | None = None) -> DatasetVersion:
        """Cut a version at a project time."""
        return cut(self.model, now=instant(now), lake=self.lake, database=self.database, run=run, fence=fence)

    def bring(self, rows: pl.DataFrame, now: str, *, who: str = "trips.csv") -> dict[str, object]:
        """Import rows at a project time."""
        return import_examples(
            self.model, rows, now=instant(now), lake=self.lake, database=self.database, who=who
        )  # fmt: skip

    def said(self) -> pl.DataFrame:
        """Every line of the examples, in the order of its appends."""
        columns = examples_columns(self.model)
        lines = self.lake.scan(self.model.name, Log.EXAMPLES, columns=columns)
        return lines.sort("ingest", "event_at", "key").collect()

    def predict(self, rows: pl.DataFrame, ids: list[str], *, source: str, made_at: datetime | None = None) -> None:
        """Log predictions of these trips, made an hour before each when it is not said."""
        made = rows["starts"] - timedelta(hours=1) if made_at is None else [made_at] * rows.height
        request = rows.select("rider", "starts", "miles", note=pl.lit(None, dtype=pl.String))
        self.predictions.append(
            self.model,
            pl.DataFrame(
                {
                    "prediction_id": ids, "key": keys(rows, ["rider"]), "event_at": rows["starts"],
                    "predicted_at": pl.Series(made, dtype=INSTANT), "recorded_at": rows["starts"],
                    "role": ["champion"] * len(ids), "model_version": [1] * len(ids), "request": request.to_struct(),
                    "raw": [0.5] * len(ids), "final": [0.5] * len(ids), "day": rows["starts"].dt.date(),
                }
            ),
            source,
        )  # fmt: skip

    def tell(
        self, rows: pl.DataFrame, *, source: str, ids: list[str] | None = None, known_at: datetime | None = None,
        retracted: bool = False,
    ) -> None:  # fmt: skip
        """Log the truth of these trips: by prediction id where ids are given, else by key and time."""
        known = rows["ended"] if known_at is None else pl.Series([known_at] * rows.height, dtype=INSTANT)
        columns: dict[str, object] = {"label": rows["late"] if not retracted else [None] * rows.height}
        if ids is None:
            columns |= {"key": keys(rows, ["rider"]), "event_at": rows["starts"], "day": rows["starts"].dt.date()}
        else:
            columns |= {"prediction_id": ids, "day": known.dt.date()}
        columns |= {"known_at": known, "source": ["test"] * rows.height, "retracted": [retracted] * rows.height}
        self.truths.append(self.model, pl.DataFrame(columns), source)

    def read(self, version: DatasetVersion | int) -> list[tuple[object, ...]]:
        """The rows of a version."""
        return self.datasets.read(self.model, version).rows()

    def labels(self, version: DatasetVersion | int) -> dict[tuple[str, str], bool | None]:
        """The label of each rider and hour (``"01-17 06"``) of a version."""
        rows = self.datasets.read(self.model, version).select("rider", "starts", "label").rows()
        return {(rider, f"{starts:%m-%d %H}"): late for rider, starts, late in rows}


def _features(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("miles")


def _train(x: pl.DataFrame, y: pl.Series) -> object:
    return None


MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(new_database: Callable[[], Database]) -> MakeBench:
    """Makes benches, each with a database of its own when none is given; for tests that need one per example."""

    def make(folder: Path, database: Database | None = None) -> Bench:
        database = database or new_database()
        return Bench(folder=folder, database=database, lake=Lake(f"{folder}/store", database, machine_clock))

    return make


@pytest.fixture
def bench(tmp_path: Path, make_bench: MakeBench) -> Bench:
    """One bench."""
    return make_bench(tmp_path)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Model]:
    """Makes models without a place: of a wait."""

    def make(wait: timedelta) -> Model:
        return Model(
            "trip-late", row=Trip, key=["rider"], at="starts", label=Label("late", bool, known_at="ended", wait=wait),
            train_on="10d", test_on="3d", features=_features, train=_train,
        )  # fmt: skip

    return make
