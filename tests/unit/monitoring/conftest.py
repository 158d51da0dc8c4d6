"""A bench for the tests of monitoring: one small model, its repositories, answers and truths that a test makes up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pytest
from pydantic import AwareDatetime

from perene.clock import machine_clock
from perene.definition.label import Label
from perene.definition.model import Model
from perene.definition.row import Row
from perene.pipelines.predictor import Predictor
from perene.records.model import ModelVersion
from perene.records.release import AT_ONCE, Course, Release
from perene.records.verdict import Decision, Evaluation, Verdict
from perene.repositories.alerts import Alerts
from perene.repositories.evaluations import Evaluations
from perene.repositories.models import Models
from perene.repositories.predictions import Predictions
from perene.repositories.releases import Releases
from perene.repositories.runs import Runs
from perene.repositories.servers import Servers
from perene.repositories.servings import Servings
from perene.repositories.truths import Truths
from perene.statistics.scores import Constant
from perene.storage import tables
from perene.storage.database import Database
from perene.storage.envelope import INSTANT
from perene.storage.lake import Lake

BEGIN = datetime(2013, 3, 1, tzinfo=UTC)


@pytest.fixture
def dialect() -> str:
    """Nothing here depends on the database."""
    return "sqlite"


class Trip(Row):
    """A trip that is due to begin."""

    rider: str
    starts: AwareDatetime
    miles: float
    note: str | None = None


class Fitted:
    """What train() returned: a function of the features."""

    def __init__(self, predict: Callable[[pl.DataFrame], np.ndarray]) -> None:
        self.predict = predict


@dataclass
class Bench:
    """A project's repositories, as an App has them, and one declared model."""

    database: Database
    lake: Lake
    model: Model = field(init=False)
    numbers: int = 0
    asked: dict[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.models = Models(self.database)
        self.releases = Releases(self.database)
        self.runs = Runs(self.database, machine_clock)
        self.alerts = Alerts(self.database)
        self.evaluations = Evaluations(self.database)
        self.servers = Servers(self.database, machine_clock)
        self.servings = Servings(self.database)
        self.predictions = Predictions(self.lake, self.database)
        self.truths = Truths(self.lake)
        self.declare()

    def declare(self, name: str = "trip-late", kind: object = bool, wait: str = "24h", **other: object) -> Model:
        """A model with other arguments than the usual ones; it becomes the bench's."""
        usual: dict[str, object] = {
            "row": Trip, "key": ["rider"], "at": "starts", "label": Label("late", kind, known_at="ended", wait=wait),
            "train_on": "30d", "test_on": "7d", "every": "1d", "features": _features, "train": _train,
            "examples": "log",
        }  # fmt: skip
        self.model = Model(name, **{**usual, **other})
        self.model.ensure_sound()
        self.models.register(name, {}, BEGIN)
        return self.model

    # ── answers and truths ───────────────────────────────────────────────────────────────────────────────────────────

    def answer(
        self, at: Sequence[datetime], raw: Sequence[object], *, role: str = "champion", version: int = 1,
        miles: Sequence[float] | None = None, ids: Sequence[str] | None = None, rider: str = "r",
        groups: Sequence[str | None] | None = None,
    ) -> list[str]:  # fmt: skip
        """Log answers about trips that start at these times; gives their ids. All trips of a time are one thing."""
        self.numbers += 1
        ids = ids or [f"p{self.numbers}-{i}" for i in range(len(at))]
        self.asked |= dict(zip(ids, at, strict=True))
        starts = pl.Series(at, dtype=INSTANT)
        request = pl.DataFrame(
            {"rider": [rider] * len(at), "starts": starts, "miles": miles or [1.0] * len(at)}
        ).with_columns(note=pl.lit(None, dtype=pl.String))
        self.predictions.append(
            self.model,
            pl.DataFrame(
                {
                    "prediction_id": ids, "key": [f'["{rider}"]'] * len(at), "event_at": starts, "predicted_at": starts,
                    "recorded_at": starts, "role": [role] * len(at), "model_version": [version] * len(at),
                    "request": request.to_struct(), "raw": list(raw), "final": list(raw), "day": starts.dt.date(),
                    "group": groups or [None] * len(at),
                },
                schema_overrides={"group": pl.String()},
            ),
            f"answers-{self.numbers}",
        )  # fmt: skip
        return list(ids)

    def tell(self, ids: Sequence[str], labels: Sequence[object], *, known_at: datetime | None = None) -> None:
        """Log the truth of predictions; it is known an hour after the event unless said otherwise."""
        self.numbers += 1
        known = pl.Series([known_at or self.asked[id] + timedelta(hours=1) for id in ids], dtype=INSTANT)
        told = {"prediction_id": ids, "label": labels, "known_at": known, "day": known.dt.date()}
        rows = pl.DataFrame(told).with_columns(retracted=pl.lit(value=False), source=pl.lit("test"))
        self.truths.append(self.model, rows, f"truths-{self.numbers}")

    def predictor(self, predict: Callable[[pl.DataFrame], np.ndarray], model: Model | None = None) -> Predictor:
        """A version that predicts as a function of the features says."""
        baseline = Constant(name="mean", value=np.asarray(0.5))
        return Predictor(self.version_record(), model or self.model, Fitted(predict), baseline)

    # ── versions, runs and releases ──────────────────────────────────────────────────────────────────────────────────

    def version_record(self, through: datetime = BEGIN, label_mean: float | None = None) -> ModelVersion:
        """A version that learnt from rows up to ``through``."""
        return ModelVersion(
            model=self.model.name, version=0, run=None, created_at=through, bundle="b", recipe="r", dataset=1,
            trained_from=through, trained_until=through, trained_through=through, rows=1, label_mean=label_mean, seed=0,
            seconds=0.0, peak_memory=0, parameters={}, git_commit=None, lock="l", code="c",
        )  # fmt: skip

    def train(self, through: datetime, *, label_mean: float | None = None) -> ModelVersion:
        """A version in the repository."""
        self._dataset(through)
        made = self.version_record(through, label_mean)
        return self.models.add_version(replace(made, bundle=f"b{len(self.models.versions(self.model.name))}"))

    def release(self, version: ModelVersion, at: datetime, course: Course = AT_ONCE) -> Release:
        """Make a version live, or let it begin its steps."""
        told = {"actor": "ana", "why": "because", "at": at}
        proposed = self.releases.propose(self.model.name, version.version, run=None, evaluation=None, **told)
        return self.releases.approve(proposed.id, **told, course=course)

    def count(self, version: int, role: str, **counts: float) -> None:
        """Count what servers would have."""
        self.servings.add({(self.model.name, version, role): counts})

    def validate(self, version: ModelVersion, score: float, *, metric: str = "log_loss") -> None:
        """Remember that the gate passed a version with this score."""
        verdict = Verdict(
            decision=Decision.PASS, reason="", metric=metric, against="baseline", candidate_score=score,
            champion_score=1.0, difference=-0.1, lower=-0.2, upper=-0.1, margin=0.0, rows=1, days=1,
        )  # fmt: skip
        self.evaluations.add(
            Evaluation(
                id=0, model=self.model.name, run=None, created_at=BEGIN, candidate=version.version, champion=None,
                dataset=1, verdict=verdict, by_day={}, slices={},
            )
        )  # fmt: skip

    def run(self, at: datetime, outcome: str | None = "released", *, fails: str = "") -> int:
        """A run that ended with an outcome or failed; one that still works where there is neither. Gives its id."""
        self.runs.create(self.model.name, trigger="schedule", due_at=at, created_at=at, actor="scheduler")
        run = self.runs.claim("w", timedelta(seconds=30), model=self.model.name)
        assert run is not None
        if fails:
            self.runs.fail(run, None, {"what": fails})
        elif outcome is not None:
            self.runs.begin_step(run, "release")
            self.runs.finish_step(run, "release", {}, outcome=outcome)
            self.runs.succeed(run)
        return run.id

    def _dataset(self, at: datetime) -> None:
        times = dict.fromkeys(("created_at", "since", "trained_until", "split", "until", "as_of"), at)
        counts = dict.fromkeys(("ingest", "rows", "train_rows", "test_rows", "labelled", "quarantined"), 0)
        known = tables.dataset_version
        with self.database.write() as connection:
            if connection.execute(known.select().where(known.c.model == self.model.name)).first() is None:
                connection.execute(
                    known.insert().values(
                        model=self.model.name, version=1, digest="d", recipe="r", changes={}, statistics={}, **times,
                        **counts,
                    )
                )  # fmt: skip


def _features(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("miles")


def _train(x: pl.DataFrame, y: np.ndarray) -> object:
    return None


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Bench:
    """One bench."""
    return Bench(database=database, lake=Lake(f"{tmp_path}/store", database, machine_clock))


@pytest.fixture(scope="session")
def day() -> Callable[..., datetime]:
    """An instant so many days (and hours) after the bench's beginning."""
    return lambda days, hours=0.0: BEGIN + timedelta(days=days, hours=hours)


Classes = Literal["slow", "usual", "fast"]


@pytest.fixture(scope="session")
def classes() -> object:
    """The type of a label of three classes: slow, usual, fast."""
    return Classes
