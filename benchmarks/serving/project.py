"""The project that is served: the demo's flights, and a LightGBM model that was trained on them through perene."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from perene.app import App, open_project
from perene.demo.flights import read_flights
from perene.demo.folder import write_folder

MODEL = "late-trees"
_WEEK = timedelta(weeks=1)
_SETTINGS = 'project = "flights"\nmodels = ["models/late_trees.py"]\n'


def make_project(folder: Path) -> App:
    """Write the project, train on the flights through perene, release, and give the opened project."""
    flights, now = recent_flights(), datetime.now(UTC)
    write_folder(folder, flights, since=now, until=now)
    (folder / "perene.toml").write_text(_SETTINGS, encoding="utf-8")
    shutil.copy(Path(__file__).with_name("late_trees.py"), folder / "models")
    app = open_project(folder)
    run = app.train(MODEL, actor="benchmark")
    if app.models.champion(MODEL) is None:  # how good it is, is not the question here
        release = next(release for release in app.releases.list(MODEL) if release.run == run.id)
        app.approve(release.id, actor="benchmark", why="to be measured")
    return app


def recent_flights() -> pl.DataFrame:
    """The flights of 2013, by whole weeks later, so that November ends now: the project lives in real time."""
    weeks = (datetime.now(UTC) - datetime(2013, 12, 1, tzinfo=UTC)) // _WEEK
    return read_flights().with_columns(pl.col("sched_dep", "landed_at") + weeks * _WEEK)


def rows_of(app: App) -> pl.DataFrame:
    """Every flight of the year as a row of the model, as a server is asked for them: they leave today or tomorrow, at
    their times of day. (The log has a part for each day of events: rows of a whole year at once are no traffic.)"""
    rows = recent_flights().select(list(app.model(MODEL).schema.polars))
    at, today = pl.col("sched_dep"), datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return rows.with_columns(
        sched_dep=pl.lit(today) + pl.duration(days=at.dt.ordinal_day() % 2) + (at - at.dt.truncate("1d"))
    )


def bodies_of(rows: pl.DataFrame) -> list[bytes]:
    """Each row as the body of a request of its own; what is null is not sent."""
    sent = rows.with_columns(pl.col("sched_dep").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return [
        json.dumps({"rows": [{name: value for name, value in row.items() if value is not None}]}).encode()
        for row in sent.iter_rows(named=True)
    ]
