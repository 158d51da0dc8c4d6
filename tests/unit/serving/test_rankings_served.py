"""Rankings on a server: each request by itself, in the journal, beside the answer, and again."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from perene import Label, Model
from perene.errors import BadRows, Conflict
from perene.pipelines.predictor import Predictor
from perene.pipelines.serving import serve_bulk
from perene.repositories.models import Models
from perene.server.answering import Answering
from perene.server.batch import PredictRequest
from perene.server.lineup import Lineup

NAME = "ranked"


class Grams:
    """The heavier, the better, or the other way round; ``fails`` on everything."""

    def __init__(self, sign: float = 1.0, *, fails: bool = False) -> None:
        self.sign, self.fails = sign, fails

    def predict(self, x: pl.DataFrame) -> np.ndarray:
        if self.fails:
            raise ValueError("no such parcel")
        return self.sign * x["sevenths"].to_numpy()


def halved(p: np.ndarray) -> np.ndarray:
    return p / 2


def first_two(items: pl.DataFrame) -> pl.DataFrame:
    """Never more than two of a group."""
    return items.with_columns(removed=pl.when(pl.int_range(pl.len()) >= 2).then(pl.lit("too many")))


@pytest.fixture
def dialect() -> str:
    """Nothing here depends on the database."""
    return "sqlite"


@pytest.fixture
def ranking(bench):
    """The bench with a model that ranks the parcels of an owner."""
    plain = bench.models["plain"]
    bench.models[NAME] = Model(
        NAME, row=plain.row, key=["number", "owner"], at="sent_at", label=Label("kept", bool, group="owner"),
        train_on="20d", test_on="10d", features=plain.features_hook.function, train=lambda x, y: None,
        post=[halved, first_two],
    )  # fmt: skip
    Models(bench.database).register(NAME, {}, bench.clock.now())
    return bench


def version_of(bench, number: int, fitted: Grams) -> Predictor:
    known = bench.predictor(NAME, number)
    return Predictor(known.version, known.model, fitted, known.baseline)


class Server:
    """The ranking, served by a lineup."""

    def __init__(self, bench, journal, **lineup: Any) -> None:
        self.desk = bench.desk(journal)
        self.answering = Answering(bench.models[NAME], self.desk)
        self.answering.lineup = Lineup(**lineup)

    def ask(self, *requests: list[dict[str, Any]], ids: list[list[str | None]] | None = None) -> list[dict[str, Any]]:
        """Answers of one batch."""
        answers: list[bytes] = []
        batch = [PredictRequest(list(rows), ids[n] if ids else None) for n, rows in enumerate(requests)]
        self.answering._work(batch, answers.extend)
        return [json.loads(answer) for answer in answers]

    def end(self) -> None:
        """Finish what is asked aside."""
        self.answering.batcher.close()
        self.desk.aside.stop()


@pytest.fixture
def group(a_row):
    """A request: parcels of one owner, of these weights."""

    def made(owner: str, *grams: float) -> list[dict[str, Any]]:
        at = "2026-05-01T12:00:00Z"
        return [a_row(number, owner=owner, grams=weight, sent_at=at) for number, weight in enumerate(grams)]

    return made


def items(answer: dict[str, Any]) -> tuple[list[int], list[int]]:
    return [entry["item"] for entry in answer["predictions"]], [entry["item"] for entry in answer["removed"]]


def logged(bench, *, shadow: int | None = None) -> dict[str, list[tuple[int, int | None, str | None]]]:
    """By request: position, rank and reason of each line that was answered, or that a shadow said."""
    lines = bench.predictions.scan(bench.models[NAME], shadow=shadow).collect()
    assert lines["group"].to_list() == lines["request_id"].to_list()
    by_request = lines.sort("position").group_by("request_id", maintain_order=True).agg("position", "rank", "removed")
    return {request: list(zip(*told, strict=True)) for request, *told in by_request.iter_rows()}


def test_requests_of_one_batch_are_ranked_each_by_itself(ranking, journal, group) -> None:
    """Those of one owner too, and the log says of each its group, order and removals."""
    server = Server(ranking, journal, champion=version_of(ranking, 1, Grams()))

    first, second = server.ask(group("ana", 7, 14, 21), group("ana", 70, 35))
    server.end()
    ranking.drain(journal)

    assert items(first) == ([2, 1], [0])
    assert items(second) == ([0, 1], [])
    assert first["predictions"][0]["score"] == 1.5
    assert logged(ranking) == {
        first["request_id"]: [(0, None, "too many"), (1, 2, None), (2, 1, None)],
        second["request_id"]: [(0, 1, None), (1, 2, None)],
    }


def test_the_log_tells_score_and_rank_of_each_step(ranking, journal, group) -> None:
    """Of all but the last, whose are the answer's; a table that is predicted at once has the same lines."""
    rows = group("ana", 7, 21, 14)
    Server(ranking, journal, champion=version_of(ranking, 1, Grams())).ask(rows)
    ranking.drain(journal)
    model = ranking.models[NAME]
    online = ranking.predictions.scan(model).sort("position").collect()

    bulk = serve_bulk(
        version_of(ranking, 1, Grams()), model.schema.parse_json(rows), model=model, predicted_at=ranking.clock.now(),
        recorded_at=ranking.clock(),
    )  # fmt: skip

    assert online["steps"].to_list() == [[[0.5, 3.0]], [[1.5, 1.0]], [[1.0, 2.0]]]
    for column in ("rank", "removed", "position", "key"):
        assert bulk[column].to_list() == online[column].to_list()
    assert bulk.schema["steps"] == online.schema["steps"]
    assert bulk["group"].n_unique() == 1


def test_a_shadow_ranks_each_request_by_itself(ranking, journal, group) -> None:
    """Beside the answer, in its own order."""
    server = Server(
        ranking, journal, champion=version_of(ranking, 1, Grams()), shadow=version_of(ranking, 2, Grams(-1.0))
    )

    answers = server.ask(group("ana", 7, 21, 14), group("ana", 70, 35))
    server.end()
    ranking.drain(journal)

    assert [items(answer)[0] for answer in answers] == [[1, 2], [0, 1]]
    assert list(logged(ranking, shadow=2).values()) == [
        [(0, 1, None), (1, None, "too many"), (2, 2, None)],
        [(0, 2, None), (1, 1, None)],
    ]


@pytest.mark.parametrize("fails", [False, True])
def test_a_canary_answers_whole_groups(ranking, journal, group, fails) -> None:
    """Every row of a group by one version; where the canary fails, all of it by the champion."""
    server = Server(
        ranking, journal, champion=version_of(ranking, 1, Grams()),
        canary=version_of(ranking, 2, Grams(-1.0, fails=fails)), share=0.5,
    )  # fmt: skip

    answers = server.ask(*(group(f"owner-{n}", 7, 21, 14) for n in range(40)))
    server.end()

    by_version = {1: ([1, 2], [0]), 2: ([0, 2], [1])}
    assert all(items(answer) == by_version[answer["model_version"]] for answer in answers)
    assert all("model_version" not in entry for answer in answers for entry in answer["predictions"])
    assert {answer["model_version"] for answer in answers} == ({1} if fails else {1, 2})


@pytest.mark.parametrize("is_drained", [False, True])
def test_the_same_ids_again_get_the_same_list(ranking, journal, group, is_drained) -> None:
    """From the journal or the lake, whichever version is live by then."""
    ids = [["a", "b", "c"]]
    (first,) = Server(ranking, journal, champion=version_of(ranking, 1, Grams())).ask(group("ana", 7, 21, 14), ids=ids)
    if is_drained:
        ranking.drain(journal)

    (again,) = Server(ranking, journal, champion=version_of(ranking, 2, Grams(-1.0))).ask(
        group("ana", 7, 21, 14), ids=ids
    )

    repeated = {"model_version": 1, "repeated": True}
    assert again["predictions"] == [entry | repeated for entry in first["predictions"]]
    assert again["removed"] == [entry | repeated for entry in first["removed"]]


def test_a_group_that_was_answered_in_part_is_refused(ranking, journal, group) -> None:
    """Nothing of it is logged."""
    server = Server(ranking, journal, champion=version_of(ranking, 1, Grams()))
    server.ask(group("ana", 7), ids=[["a"]])

    with pytest.raises(Conflict, match="were answered by ranked before"):
        server.ask(group("ana", 7, 21), ids=[["a", "b"]])

    ranking.drain(journal)
    assert ranking.predictions.scan(ranking.models[NAME]).collect()["prediction_id"].to_list() == ["a"]


def test_a_request_of_several_groups_is_refused(ranking, journal, group) -> None:
    """Each row that differs from the first is named with its field."""
    server = Server(ranking, journal, champion=version_of(ranking, 1, Grams()))

    with pytest.raises(BadRows) as caught:
        server.ask([*group("ana", 7, 21), *group("ben", 14)])

    assert [(bad.row, bad.field) for bad in caught.value.fields] == [(2, "owner")]
