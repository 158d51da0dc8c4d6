"""Small projects, written for one test each, and the parts that a test of the loop needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent

import polars as pl
import pytest

from perene.app import App, open_project
from perene.clock import MachineClock, machine_clock
from perene.definition.model import Model
from perene.pipelines.contests import Contest
from perene.pipelines.data import collect, cut
from perene.pipelines.predictor import Predictor
from perene.pipelines.validation import validate
from perene.records.dataset import DatasetVersion
from perene.records.model import ModelVersion
from perene.records.verdict import Evaluation
from perene.statistics.scores import constant_predictor

TODAY = datetime(2026, 11, 25, 9, tzinfo=UTC)

HEAD = '''
import math
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import numpy as np
import polars as pl
from annotated_types import Gt
from pydantic import AwareDatetime

from perene import Label, Model, Row, gate

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Parcel(Row):
    number: int
    sent_at: AwareDatetime
    grams: Annotated[float, Gt(0)]
    zone: Literal["near", "far"] = "near"


def parcels(since, until):
    """A parcel every 30 minutes."""
    every = timedelta(minutes=30)
    numbers = range(math.ceil((since - EPOCH) / every), math.ceil((until - EPOCH) / every))
    rows = pl.DataFrame({"number": numbers}, schema={"number": pl.Int64}).with_columns(
        sent_at=pl.lit(EPOCH) + pl.col("number") * every,
        grams=100.0 + pl.col("number") * 37 % 1900,
        zone=pl.when(pl.col("number") % 3 == 0).then(pl.lit("far")).otherwise(pl.lit("near")),
    )
    noise = pl.col("number") * 7919 % 1000 / 1000
    slowness, slow = pl.col("grams") / 2000 + noise / 2, pl.lit("slow")
    return rows.with_columns(
        hours=pl.col("grams") / 1000 + noise,
        late=(pl.col("grams") / 2000 + noise) > 1.0,
        speed=pl.when(slowness < 0.5).then(pl.lit("fast")).when(slowness < 1).then(pl.lit("usual")).otherwise(slow),
        arrived_at=pl.col("sent_at") + timedelta(minutes=30),
    )


def features(rows):
    return rows.select(kilograms=pl.col("grams") / 1000, far=(pl.col("zone") == "far").cast(pl.Float64))


terms = dict(row=Parcel, key=["number"], at="sent_at", train_on="20d", test_on="10d", every="1d",
             source=parcels, features=features)
WAIT = dict(known_at="arrived_at", wait="1h")
'''
REGRESSION = """

class Mean:
    def __init__(self, value):
        self.value = value

    def predict(self, x):
        return self.value + 0.9 * x["kilograms"].to_numpy()


def train(x, y, seed):
    return Mean(float(np.mean(y) - 0.9 * x["kilograms"].mean()))


m = Model("parcels", label=Label("hours", float, **WAIT), train=train, **terms)
"""


@pytest.fixture
def write_project(tmp_path: Path, new_url: Callable[[], str]) -> Callable[..., Path]:
    """Write a project of one model file (after the usual head) and other files by name; gives its folder."""
    database = new_url()

    def write(body: str = REGRESSION, *, settings: str = "", **files: str) -> Path:
        folder = tmp_path / "project"
        (folder / "models").mkdir(parents=True, exist_ok=True)
        (folder / "perene.toml").write_text(f'project = "test"\ndatabase = "{database}"\n{settings}')
        (folder / "models" / "parcels.py").write_text(HEAD + dedent(body))
        for name, text in files.items():
            (folder / f"{name}.py").write_text(dedent(text))
        return folder

    return write


@pytest.fixture
def open_app(write_project: Callable[..., Path]) -> Iterator[Callable[..., App]]:
    """Write a project and open it; closed at the end."""
    opened: list[App] = []

    def open_(body: str = REGRESSION, *, machine: MachineClock = machine_clock, **more: str) -> App:
        opened.append(open_project(write_project(body, **more), machine=machine))
        return opened[-1]

    yield open_
    for app in opened:
        app.close()


@dataclass
class Bench:
    """A project whose first dataset version is cut, and what a test of validation or release makes up."""

    app: App
    dataset: DatasetVersion

    @property
    def model(self) -> Model:
        """Its only model."""
        return next(iter(self.app.project.models.values()))

    def version(self, number: int = 1, **other: object) -> ModelVersion:
        """A version that learnt from the dataset's training rows, but for what is said otherwise."""
        d = self.dataset
        usual = {
            "model": d.model, "version": number, "run": None, "created_at": d.created_at, "bundle": f"b{number}",
            "recipe": "r", "dataset": d.version, "trained_from": d.since, "trained_until": d.trained_until,
            "trained_through": d.trained_until - timedelta(minutes=30), "rows": d.train_rows, "label_mean": 1.0,
            "seed": 0, "seconds": 1.0, "peak_memory": 1, "parameters": {}, "git_commit": None, "lock": "l", "code": "c",
        }  # fmt: skip
        return ModelVersion(**usual | other)  # type: ignore[arg-type]

    def predictor(self, predict: Callable[[pl.DataFrame], object], number: int = 1, **other: object) -> Predictor:
        """A version that predicts as a function of the features says; its baseline is that of the training labels."""
        train = self.app.datasets.read(self.model, self.dataset, part="train")
        y, label = train["label"].to_numpy(), self.model.label
        baseline = constant_predictor(y, label.task, score=lambda c: c.name != "mean", classes=label.classes)
        return Predictor(self.version(number, **other), self.model, _Fitted(predict), baseline)

    def add_version(self, number: int) -> ModelVersion:
        """Remember a version in the database."""
        return self.app.models.add_version(self.version(number))

    def contest(self, candidate: Predictor, champion: Predictor | None = None, **other: object) -> Contest:
        """Candidate against champion on the dataset."""
        live = None if champion is None else champion.version.version
        terms = {"champion": champion, "champion_version": live} | other
        return Contest(model=self.model, dataset=self.dataset, candidate=candidate, **terms)  # type: ignore[arg-type]

    def judge(self, contest: Contest, *, later: timedelta = timedelta(0)) -> Evaluation:
        """What the gate says."""
        return validate(
            contest, datasets=self.app.datasets, evaluations=self.app.evaluations, now=self.app.time.now() + later
        )


@dataclass(frozen=True)
class _Fitted:
    predict: Callable[[pl.DataFrame], object]


@pytest.fixture
def bench(open_app: Callable[..., App]) -> Callable[..., Bench]:
    """Write a project, open it, collect its examples and cut a dataset version.

    Its examples are those of one date, whenever the tests run.
    """
    began = machine_clock()

    def make(body: str = REGRESSION, **more: str) -> Bench:
        app = open_app(body, machine=lambda: TODAY + (machine_clock() - began), **more)
        model, now = next(iter(app.project.models.values())), app.time.now()
        collect(model, now=now, lake=app.lake, database=app.database)
        return Bench(app, cut(model, now=now, lake=app.lake, database=app.database))

    return make
