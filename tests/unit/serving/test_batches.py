"""Micro-batches through a real model: each request gets its own answer, and each answered row its line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime

from perene import Label, Model, Row
from perene.errors import BadRows, ServingError
from perene.pipelines.journaling import answered_rows
from perene.repositories.models import Models
from perene.server.answering import Answering
from perene.server.lineup import Lineup
from perene.storage.journal import read_open

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
BAD, FATAL, LARGEST = -1, 13, 90
EXAMPLES = count()


@pytest.fixture
def dialect() -> str:
    """Nothing here depends on the database."""
    return "sqlite"


class Parcel(Row):
    """A parcel that is handed in."""

    number: int
    sent_at: AwareDatetime
    grams: float


def a_row(number: int) -> dict[str, Any]:
    """A row as a caller sends it; that of a bad number does not fit."""
    grams = "heavy" if number == BAD else 100.0 + number * 7.3
    return {"number": number, "sent_at": (NOON + timedelta(hours=number)).isoformat(), "grams": grams}


def features(rows: pl.DataFrame) -> pl.DataFrame:
    """What the model of the bench looks at."""
    return rows.select(sevenths=pl.col("grams") / 7)


def picky(rows: pl.DataFrame, p: pl.Series) -> pl.Series:
    """A post step that cannot do one kind of row."""
    if rows["number"].is_in([FATAL]).any():
        raise ValueError("number 13 is not for me")
    return p / 7


@dataclass(frozen=True)
class Ask:
    """A request: the numbers of its rows, the ids that it gives, and how many turns pass before it comes."""

    numbers: Sequence[int]
    own: frozenset[int]
    turns: int

    def ids(self, example: int) -> list[str | None] | None:
        """An id of the caller's own always means the same row, whoever sends it."""
        ids = [
            f"own-{example}-{number}" if number in self.own and number not in self.numbers[:place] else None
            for place, number in enumerate(self.numbers)
        ]
        return ids if any(ids) else None

    @property
    def fault(self) -> type[Exception] | None:
        """How it fails, by itself."""
        if BAD in self.numbers:
            return BadRows
        return ServingError if FATAL in self.numbers else None


numbers = st.integers(0, LARGEST) | st.sampled_from([BAD, FATAL])
asks = st.builds(
    Ask,
    st.lists(numbers, min_size=1, max_size=6) | st.lists(st.integers(14, LARGEST), min_size=60, max_size=80),
    st.frozensets(st.integers(0, LARGEST), max_size=3) | st.just(frozenset()),
    st.integers(0, 3),
)


@pytest.fixture
def answering(bench, journal) -> Iterator[Answering]:
    """A model whose post step does not do every row, as a server answers with it."""
    model = Model(
        "picky", row=Parcel, label=Label("hours", float, known_at="came_at"), key=["number"], at="sent_at",
        train_on="20d", test_on="10d", features=features, train=lambda x, y: None,
        source=lambda since, until: None, post=[picky],
    )  # fmt: skip
    assert model.mistakes == []
    bench.models["picky"] = model
    Models(bench.database).register("picky", {}, NOON)
    made = Answering(model, bench.desk(journal))
    made.lineup = Lineup(champion=bench.predictor("picky"))
    yield made
    made.batcher.close()


async def asked(answering: Answering, asks: Sequence[Ask], example: int) -> list[Any]:
    """What each request is told, when they come as they do."""

    async def one(ask: Ask) -> Any:
        for _ in range(ask.turns):
            await asyncio.sleep(0)
        return json.loads(await answering.submit([a_row(n) for n in ask.numbers], ask.ids(example)))

    return await asyncio.gather(*(one(ask) for ask in asks), return_exceptions=True)


def journaled(bench) -> dict[str, float]:
    """The answers that the journal has, by id; each stands there once."""
    found = [answered_rows(entry.body) for entry in read_open(bench.journals).entries("picky", "prediction")]
    lines = [line for rows in found for line in zip(rows.prediction_id, rows.final, strict=True)]
    assert len(dict(lines)) == len(lines)
    return dict(lines)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(asks, min_size=1, max_size=12))
def test_each_request_gets_its_own_answer_whatever_comes_beside_it(bench, answering, asks) -> None:
    """Row in is row out: its id, and the very number that it gets alone; what fails fails alone, and as it does alone;
    and the journal has each answered row once, with that number."""
    example = next(EXAMPLES)
    before = set(journaled(bench))

    told = asyncio.run(asked(answering, asks, example))

    lines = journaled(bench)
    logged = {id_: final for id_, final in lines.items() if id_ not in before}
    answered: dict[str, float] = {}
    for ask, said in zip(asks, told, strict=True):
        if ask.fault is not None:
            assert type(said) is ask.fault
            continue
        ids = [prediction["prediction_id"] for prediction in said["predictions"]]
        own = ask.ids(example) or [None] * len(ids)
        assert [alone(bench, n) for n in ask.numbers] == [p["prediction"] for p in said["predictions"]]
        assert [given or id_ for given, id_ in zip(own, ids, strict=True)] == ids
        answered |= dict(zip(ids, (p["prediction"] for p in said["predictions"]), strict=True))
    assert logged == answered


ALONE: dict[int, float] = {}


def alone(bench: Any, number: int) -> float:
    """What the model says of one row in a frame of its own."""
    if number not in ALONE:
        rows = bench.models["picky"].schema.parse_json([a_row(number)])
        ALONE[number] = bench.predictor("picky").predict(rows).final[0]
    return ALONE[number]


def test_a_post_step_that_raises_is_the_error_of_its_request(answering) -> None:
    """It names the step's error; the requests that came with it are answered."""
    asks = [Ask([1], frozenset(), 0), Ask([FATAL, 2], frozenset(), 0), Ask([3, 4], frozenset(), 0)]

    first, failed, last = asyncio.run(asked(answering, asks, next(EXAMPLES)))

    assert isinstance(failed, ServingError)
    assert failed.why == "ValueError: number 13 is not for me"
    assert (len(first["predictions"]), len(last["predictions"])) == (1, 2)
