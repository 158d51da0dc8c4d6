"""Small projects, written for one test each, and the parts that a test of the loop needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from perene.app import App, open_project

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
    return rows.with_columns(
        hours=pl.col("grams") / 1000 + noise,
        late=(pl.col("grams") / 2000 + noise) > 1.0,
        speed=(pl.col("grams") / 2000 + noise / 2).cut([0.5, 1.0], labels=["fast", "usual", "slow"]).cast(pl.String),
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
def write_project(tmp_path: Path) -> Callable[..., Path]:
    """Write a project of one model file (after the usual head) and other files by name; gives its folder."""

    def write(body: str = REGRESSION, *, settings: str = "", **files: str) -> Path:
        folder = tmp_path / "project"
        (folder / "models").mkdir(parents=True, exist_ok=True)
        (folder / "perene.toml").write_text(f'project = "test"\n{settings}')
        (folder / "models" / "parcels.py").write_text(HEAD + dedent(body))
        for name, text in files.items():
            (folder / f"{name}.py").write_text(dedent(text))
        return folder

    return write


@pytest.fixture
def open_app(write_project: Callable[..., Path]) -> Iterator[Callable[..., App]]:
    """Write a project and open it; closed at the end."""
    opened: list[App] = []

    def open_(body: str = REGRESSION, **more: str) -> App:
        opened.append(open_project(write_project(body, **more)))
        return opened[-1]

    yield open_
    for app in opened:
        app.close()
