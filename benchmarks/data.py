"""How long the data pipeline takes: 330 days of flights collected, cut and read, then eight weekly cycles.

    python -m benchmarks.data            about a minute
    python -m benchmarks.data log        the weeks come from the prediction log instead of the source
    python -m benchmarks.data log 60     after so many days

Times are of one run on one machine: compare the columns of one table with each other, not tables of two machines. Each
also stands as a ratio to one pass over the same rows with SHA-256, which tells a slow machine from slow code.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated, Literal

import polars as pl
from annotated_types import Gt, Len
from pydantic import AwareDatetime

from perene.clock import machine_clock
from perene.definition.label import Label
from perene.definition.model import Model
from perene.definition.row import Row
from perene.demo.flights import read_flights
from perene.pipelines.data import collect, cut
from perene.repositories.datasets import Datasets
from perene.repositories.models import Models
from perene.repositories.predictions import Predictions
from perene.repositories.truths import Truths
from perene.storage.database import Database
from perene.storage.envelope import keys
from perene.storage.lake import Lake

FIRST = datetime(2013, 1, 1, tzinfo=UTC)
WEEKS = 8
WEEK = timedelta(days=7)
KEY = ("carrier", "flight", "origin")


class Flight(Row):
    """A flight that is due to leave."""

    carrier: Annotated[str, Len(2, 2)]
    flight: int
    origin: Literal["EWR", "JFK", "LGA"]
    dest: Annotated[str, Len(3, 3)]
    sched_dep: AwareDatetime
    distance: Annotated[float, Gt(0)]
    maker: str | None = None
    plane_year: int | None = None
    seats: int | None = None
    engines: int | None = None
    temp: float | None = None
    dewp: float | None = None
    humid: float | None = None
    wind_dir: float | None = None
    wind_speed: float | None = None
    precip: float | None = None
    pressure: float | None = None
    visib: float | None = None


@dataclass
class Bench:
    """A project of one model in a folder, and what took how long."""

    folder: Path
    flights: pl.DataFrame
    way: str
    took: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.database = Database(f"sqlite:///{self.folder}/perene.db")
        self.database.migrate()
        self.lake = Lake(f"{self.folder}/store", self.database, machine_clock)
        self.datasets = Datasets(self.database, self.lake)
        self.told_until = datetime.max.replace(tzinfo=UTC)
        self.model = Model(
            "late-arrival", row=Flight, key=list(KEY), at="sched_dep", asked="1h before",
            label=Label("late", bool, known_at="landed_at", wait="36h"), train_on="365d", test_on="14d", every="7d",
            examples="source" if self.way == "source" else "source+log", stale_after="30d", source=self.source,
            features=lambda rows: rows, train=lambda x, y: None,
        )  # fmt: skip
        self.model.ensure_sound()
        Models(self.database).register(self.model.name, {}, FIRST)

    def source(self, since: datetime, until: datetime) -> pl.DataFrame:
        """The flights of [since, until), as long as the source tells of them."""
        mine = pl.col("sched_dep").is_between(since, until, closed="left") & (pl.col("sched_dep") < self.told_until)
        return self.flights.filter(mine)

    def timed(self, what: str, work: Callable[[], object]) -> object:
        """Do it and note how long it took."""
        start = perf_counter()
        done = work()
        self.took.setdefault(what, []).append(perf_counter() - start)
        return done

    def cycle(self, now: datetime, kind: str) -> None:
        """One collection, one version, and what training and validation read of it."""
        place = {"now": now, "lake": self.lake, "database": self.database}
        self.timed(f"{kind}collect", lambda: collect(self.model, **place))
        self.version = self.timed(f"{kind}cut", lambda: cut(self.model, **place))
        self.timed(f"{kind}read", lambda: self.datasets.read(self.model, self.version))
        self.timed(f"{kind}read train", lambda: self.datasets.read(self.model, self.version, part="train"))
        self.timed(f"{kind}read test", lambda: self.datasets.read(self.model, self.version, part="test"))

    def log(self, since: datetime, until: datetime) -> None:
        """Predictions and truths of these flights, as servers log them."""
        for day in range((until - since).days):
            at = since + timedelta(days=day)
            rows = self.flights.filter(pl.col("sched_dep").is_between(at, at + timedelta(days=1), closed="left"))
            event = {"key": keys(rows, KEY), "event_at": rows["sched_dep"], "day": rows["sched_dep"].dt.date()}
            fixed = {"role": "champion", "mode": "online", "model_version": 1, "raw": 0.5, "final": 0.5}
            said = pl.DataFrame(
                event
                | {"prediction_id": [f"{at:%Y%m%d}-{i}" for i in range(rows.height)]}
                | {"predicted_at": rows["sched_dep"] - timedelta(hours=1), "recorded_at": rows["sched_dep"]}
                | {"request": rows.select(*self.model.schema.polars).to_struct()}
            ).with_columns(**{name: pl.lit(value) for name, value in fixed.items()})
            Predictions(self.lake, self.database).append(self.model, said, f"day:{at:%Y-%m-%d}")
            truth = pl.DataFrame(event | {"label": rows["late"], "known_at": rows["landed_at"]}).with_columns(
                source=pl.lit("landed"), retracted=pl.lit(value=False)
            )
            Truths(self.lake).append(self.model, truth.drop_nulls("label"), f"day:{at:%Y-%m-%d}")


def flights() -> pl.DataFrame:
    """The flights of 2013, and again 52 weeks later."""
    once = read_flights().select(*Flight.model_fields, "late", "landed_at")
    again = once.with_columns(pl.col("sched_dep", "landed_at") + timedelta(weeks=52))
    return pl.concat([once, again.filter(pl.col("sched_dep") > once["sched_dep"].max())])


def yardstick(rows: int) -> float:
    """Seconds for one SHA-256 of as many texts: what this machine can do."""
    start = perf_counter()
    for i in range(rows):
        hashlib.sha256(b"%d " % i * 40).digest()
    return perf_counter() - start


def main(way: str = "source", days: int = 330) -> None:
    """Measure, and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), flights(), way)
        begin = FIRST + timedelta(days=days)
        if way == "log":
            bench.told_until = begin
        bench.cycle(begin + timedelta(hours=38), "first ")
        rows = bench.version.rows
        for week in range(1, WEEKS + 1):
            now = begin + week * WEEK
            if way == "log":
                bench.timed("weekly log", lambda now=now: bench.log(now - WEEK, now))
            bench.cycle(now + timedelta(hours=38), "weekly ")
        unit = yardstick(rows)
        print(f"{rows:,} rows of {days} days by the {way}, then {WEEKS} weeks; v{bench.version.version} holds "
              f"{bench.version.rows:,}. {unit:.2f} s for as many SHA-256 of 200 bytes")  # fmt: skip
        print(f"{'':20}{'median s':>10}{'most s':>10}{'ratio':>10}")
        for what, seconds in bench.took.items():
            print(f"{what:20}{median(seconds):10.2f}{max(seconds):10.2f}{median(seconds) / unit:10.2f}")
        bench.database.close()


if __name__ == "__main__":
    main(*sys.argv[1:2], *(int(days) for days in sys.argv[2:]))
