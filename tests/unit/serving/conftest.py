"""Models of every task that need no training, and a bench on which they answer, in bulk and as a server does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import sqlalchemy as sa
from pydantic import AwareDatetime

from perene import Label, Log, Model, Row
from perene.pipelines.drain import Drained, Logs, drain, drain_orphans
from perene.pipelines.journaling import AnsweredRows, row_digest
from perene.pipelines.predictor import Predictor
from perene.pipelines.serving import serve_bulk
from perene.records.model import ModelVersion
from perene.repositories.models import Models
from perene.repositories.predictions import Predictions
from perene.repositories.truths import Truths
from perene.server.answering import Answering
from perene.server.aside import Aside
from perene.server.batch import Desk, PredictRequest
from perene.server.given import GivenIds
from perene.server.lineup import Lineup
from perene.server.losses import Losses
from perene.server.tally import Tally
from perene.statistics.scores import Constant
from perene.storage import tables
from perene.storage.database import Database
from perene.storage.journal import Journal, read_open
from perene.storage.lake import Lake

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
ANSWERED = datetime(2026, 5, 1, 13, 30, 0, 5, tzinfo=UTC)
CLASSES = Literal["lost", "late", "came"]


class Parcel(Row):
    """A field of each kind, and one that is not logged."""

    number: int
    owner: str
    sent_at: AwareDatetime
    grams: float
    zone: Literal["near", "far"] | None
    due: date | None
    paid: bool | None
    secret: Annotated[str | None, Log(False)] = None


class Open(Row):
    """The same without the secret."""

    number: int
    owner: str
    sent_at: AwareDatetime
    grams: float
    zone: Literal["near", "far"] | None
    due: date | None
    paid: bool | None


def features(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        sevenths=pl.col("grams") / 7,
        far=(pl.col("zone") == "far").cast(pl.UInt8),
        zone=pl.col("zone").cast(pl.Categorical),
        due="due",
        nothing=pl.lit(None),
    )


def double(p: pl.Series) -> pl.Series:
    return p * 2


def thirds(rows: pl.DataFrame, p: pl.Series) -> pl.Series:
    return p / 3 + rows["grams"] / 7


def twice(p: pl.Series) -> pl.Series:
    return p * 2


def as_words(p: npt.NDArray[np.float64]) -> list[str]:
    return ["long" if value > 100 else "short" for value in p]


def as_flags(p: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return p > 0.5


def as_whole(p: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    return np.round(p).astype(np.int64)


def sharpened(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return p**2 / (p**2).sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def again(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return sharpened(p)


def best(p: npt.NDArray[np.float64]) -> list[str]:
    return [("lost", "late", "came")[n] for n in p.argmax(axis=1)]


class Fitted:
    """Says something of a row's features, as what train() returns does."""

    def __init__(self, classes: int = 0) -> None:
        self.classes = classes

    def predict(self, x: pl.DataFrame) -> npt.NDArray[np.float64]:
        return x["sevenths"].to_numpy() / 3

    def predict_proba(self, x: pl.DataFrame) -> npt.NDArray[np.float64]:
        weights = np.column_stack([x["sevenths"].to_numpy() % (n + 5) + 1 for n in range(self.classes or 2)])
        return weights / weights.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def a_model(name: str, label: Label, *posts: Callable[..., Any], row: type[Row] = Parcel, **more: Any) -> Model:
    terms = {"key": ["number", "owner"], "at": "sent_at", "train_on": "20d", "test_on": "10d", "features": features}
    terms |= {"train": lambda x, y: None, "source": lambda since, until: None, "post": posts}
    model = Model(name, row=row, label=label, **terms | more)
    assert model.mistakes == []
    return model


HOURS = Label("hours", float, known_at="came_at")
MODELS = {
    model.name: model
    for model in (
        a_model("plain", HOURS),
        a_model("steps", HOURS, double, thirds, twice),
        a_model("words", HOURS, double, as_words),
        a_model("whole", HOURS, as_whole),
        a_model("binary", Label("late", bool), as_flags),
        a_model("chances", Label("late", bool)),
        a_model("classes", Label("fate", CLASSES)),
        a_model("sharp", Label("fate", CLASSES), sharpened, again),
        a_model("best", Label("fate", CLASSES), sharpened, best),
        a_model("featured", HOURS, row=Open, log_features=True),
    )
}


@dataclass
class Clock:
    """Project time and machine time in one; it stands until it is moved."""

    value: datetime = ANSWERED

    def now(self) -> datetime:
        return self.value

    def __call__(self) -> datetime:
        return self.value

    def move(self, **by: float) -> datetime:
        self.value += timedelta(**by)
        return self.value


@dataclass
class Bench:
    """A project's logs, and versions that answer."""

    folder: Path
    database: Database
    clock: Clock = field(default_factory=Clock)
    models: dict[str, Model] = field(default_factory=lambda: dict(MODELS))

    def __post_init__(self) -> None:
        self.lake = Lake(str(self.folder / "lake"), self.database, self.clock)
        self.predictions = Predictions(self.lake, self.database)
        self.truths = Truths(self.lake)
        self.journals = self.folder / "journal"
        for name in self.models:
            Models(self.database).register(name, {}, START)

    @property
    def logs(self) -> Logs:
        """Where journals are drained to."""
        return Logs(models=self.models, predictions=self.predictions, truths=self.truths, database=self.database)

    def predictor(self, name: str, version: int = 3, *, code: Model | None = None) -> Predictor:
        """A version of a model, by the model's own code or another's."""
        model = code or self.models[name]
        of = {f.name: None for f in ModelVersion.__dataclass_fields__.values()}
        made = ModelVersion(
            **of | {"model": name, "version": version, "recipe": f"recipe-{version}", "bundle": f"b{version}"}
        )
        classes = len(model.label.classes)
        return Predictor(made, model, Fitted(classes), Constant(name="mean", value=np.zeros(max(classes, 1))))

    def bulk(self, name: str, rows: pl.DataFrame, **more: Any) -> pl.DataFrame:
        """Predict a table, logged; its lines."""
        terms = {"predicted_at": self.clock.now(), "recorded_at": self.clock(), "log": self.predictions}
        return serve_bulk(self.predictor(name), rows, model=self.models[name], **terms | more)

    def desk(self, journal: Journal) -> Desk:
        """What a server's models share."""
        given, tally = GivenIds(read_open(self.journals), self.database, self.predictions), Tally()
        return Desk(
            time=self.clock, machine=self.clock, journal=journal, given=given, losses=Losses(), tally=tally,
            aside=Aside(journal, tally), durability="group", refuse_unlogged=True,
        )  # fmt: skip

    def serve(
        self,
        name: str,
        requests: Sequence[Sequence[dict[str, Any]]],
        *,
        journal: Journal,
        ids: Sequence[list[str | None]] | None = None,
        version: int = 3,
        code: Model | None = None,
    ) -> list[dict[str, Any]]:
        """Answer requests in one batch, as a server does; they are in the journal then."""
        answering = Answering(self.models[name], self.desk(journal))
        answering.lineup = Lineup(champion=self.predictor(name, version, code=code))
        answers: list[bytes] = []
        batch = [PredictRequest(list(rows), None if ids is None else ids[n]) for n, rows in enumerate(requests)]
        answering._work(batch, answers.extend)
        answering.batcher.close()
        return [json.loads(answer) for answer in answers]

    def drain(self, journal: Journal) -> Drained:
        """Rotate a journal and drain what is closed."""
        journal.rotate()
        return drain(journal.closed(), self.logs)

    def drain_dead(self) -> Drained:
        """Drain what dead processes left."""
        return drain_orphans(self.journals, self.logs)

    def log(self, name: str) -> pl.DataFrame:
        """Every line of the prediction log, in the order of the appends and of positions."""
        return self.predictions.scan(self.models[name]).collect().sort("ingest", "position")

    def said(self, name: str) -> pl.DataFrame:
        """Every line of the ground-truth log."""
        return self.truths.scan(self.models[name]).collect()

    def given(self) -> list[tuple[str, str]]:
        """The given ids that the database knows: model and id."""
        with self.database.read() as connection:
            found = connection.execute(sa.select(tables.given_id.c.model, tables.given_id.c.prediction_id))
            return sorted((row.model, row.prediction_id) for row in found)


@pytest.fixture
def bench(tmp_path: Path, database: Database) -> Bench:
    """A bench with logs of its own."""
    return Bench(tmp_path, database)


@pytest.fixture
def journal(bench: Bench) -> Iterator[Journal]:
    """The journal of a server process on the bench."""
    made = Journal(bench.journals, "w1")
    yield made
    made.close()


@pytest.fixture(scope="session")
def a_row() -> Callable[..., dict[str, Any]]:
    """Make a row as a caller sends it."""

    def make(number: int = 1, **changes: Any) -> dict[str, Any]:
        usual = {
            "number": number, "owner": "ana", "sent_at": (START + timedelta(hours=number)).isoformat(),
            "grams": 100.0 + number * 7.25, "zone": "far", "due": "2026-05-04", "paid": True,
        }  # fmt: skip
        return usual | changes

    return make


@pytest.fixture(scope="session")
def model_names() -> list[str]:
    """The models of the bench."""
    return list(MODELS)


@pytest.fixture
def a_line() -> Callable[..., AnsweredRows]:
    """Make an answered row of the model plain, as a server writes it."""

    def make(id_: str = "p1", *, number: int = 1, given: bool = False, grams: float = 5.0) -> AnsweredRows:
        record: dict[str, object] = {"number": number, "owner": "ana", "sent_at": 1_777_000_000_000_000, "grams": grams}
        return AnsweredRows(
            prediction_id=[id_], request_id=["r"], position=[number], model_version=1, recipe="x",
            event_at=[1_777_000_000_000_000], predicted_at=1_777_000_000_000_000, recorded_at=1_777_000_000_000_000,
            request={name: [value] for name, value in record.items()}, raw=[grams], steps=[[]], final=[grams],
            row_digest=[row_digest(record)] if given else None,
        )  # fmt: skip

    return make


@pytest.fixture
def mortal(bench) -> Journal:
    """The journal of a server that ends within the test."""
    return Journal(bench.journals, "w1")
