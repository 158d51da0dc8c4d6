"""The projects that are served: real flights, and for each case a model that was trained on them through perene.

*native*: features in polars and a LightGBM model, declared as the demo declares its own.
*as is*: a scikit-learn Pipeline on pandas, unchanged. perene knows such a one, and calls its booster.
*called*: the same with a step more, which perene does not know: it calls the Pipeline as it is.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import joblib
import pandas as pd
import polars as pl
from benchmarks.serving.peers.whole import Whole
from benchmarks.serving.protocols import Rows

from perene.app import App, open_project
from perene.demo import flights
from perene.demo.flights import read_flights
from perene.demo.folder import write_folder
from perene.storage import tables

MODELS = Path(__file__).parent / "models"
_WEEK = timedelta(weeks=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One model: its name, its file, and how it is called in folders and in the tables."""

    key: str
    title: str
    model: str
    file: str


NATIVE = Case(key="native", title="N: native", model="late-trees", file="late_trees.py")
AS_IS = Case(key="as-is", title="P: as is", model="arrival-minutes", file="arrival_minutes.py")
CALLED = Case(key="called", title="C: as is, not recognised", model="arrival-called", file="arrival_called.py")
CASES = {case.key: case for case in (NATIVE, AS_IS, CALLED)}


def ensure_project(case: Case, folder: Path) -> App:
    """The opened project of a case: two versions of its model, of which the second was released last. It is made where
    it is missing, or was made by other code."""
    mark, wanted = folder.with_suffix(".made"), _digest()
    if not mark.exists() or mark.read_text() != wanted:
        mark.unlink(missing_ok=True)
        _make(case, folder)
        mark.write_text(wanted)
    return open_project(folder)


def _digest() -> str:
    """Of what a project depends on: the models, and how perene keeps them."""
    paths = [*sorted(MODELS.glob("*.py")), Path(tables.__file__), Path(flights.__file__)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def _make(case: Case, folder: Path) -> None:
    now = datetime.now(UTC)
    shutil.rmtree(folder.parent, ignore_errors=True)
    write_folder(folder, recent_flights(), since=now, until=now)
    settings = f'project = "flights"\nmodels = ["models/{case.file}"]\n'
    (folder / "perene.toml").write_text(settings, encoding="utf-8")
    for path in MODELS.glob("*.py"):
        shutil.copy(path, folder / "models")
    app = open_project(folder)
    for _ in range(2):
        run = app.train(case.model, actor="benchmark")
        release = next(release for release in app.releases.list(case.model) if release.run == run.id)
        if release.version != _live(app, case):  # how good it is, is not the question here
            app.approve(release.id, actor="benchmark", why="to be measured")
    app.close()


def _live(app: App, case: Case) -> int | None:
    champion = app.models.champion(case.model)
    return None if champion is None else champion.version


def write_model(app: App, case: Case, path: Path, rows: Rows) -> list[float]:
    """Write what the peers serve: what train() returned, in the case *native* with features and post step around it.
    Returns what it says of some rows."""
    fitted = app.predictor(case.model)._fitted
    served = Whole(fitted) if case is NATIVE else fitted
    joblib.dump(served, path)
    said: list[float] = served.predict(pd.DataFrame(rows)).tolist()
    return said


def recent_flights() -> pl.DataFrame:
    """The complete flights of 2013, by whole weeks later, so that November ends now: the project lives in real time."""
    weeks = (datetime.now(UTC) - datetime(2013, 12, 1, tzinfo=UTC)) // _WEEK
    local = pl.col("sched_dep").dt.convert_time_zone("America/New_York")
    return (
        read_flights()
        .with_columns(pl.col("wind_gust").fill_null(0.0))
        .drop_nulls()
        .with_columns(
            month=local.dt.month().cast(pl.Int64), day=local.dt.day().cast(pl.Int64),
            hour=local.dt.hour().cast(pl.Int64), minute=local.dt.minute().cast(pl.Int64),
            minutes=(pl.col("landed_at") - pl.col("sched_dep")).dt.total_minutes().cast(pl.Float64),
        )
        .with_columns(pl.col("sched_dep", "landed_at") + weeks * _WEEK)
    )  # fmt: skip


def rows_of(app: App, case: Case) -> pl.DataFrame:
    """Every flight of the year as a row of the model, as a server is asked for them: they leave today or tomorrow, at
    their times of day. (The log has a part for each day of events: rows of a whole year at once are no traffic.)"""
    rows = recent_flights().select(list(app.model(case.model).schema.polars))
    at, today = pl.col("sched_dep"), datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return rows.with_columns(
        sched_dep=pl.lit(today) + pl.duration(days=at.dt.ordinal_day() % 2) + (at - at.dt.truncate("1d"))
    )
