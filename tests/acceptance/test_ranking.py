"""A ranking from declaration to quality: trained, released, served as ordered lists, and measured by its truth."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from perene.app import open_project
from perene.monitoring.periods import Period
from perene.monitoring.quality import measure_quality
from perene.records.verdict import Decision

MODEL = "shown-videos"
SHOWN = Path(__file__).parents[1] / "shown"
Row = dict[str, Any]
Servers = Callable[..., AbstractContextManager[Any]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ranking whose first version is live."""
    folder = Path(shutil.copytree(SHOWN, tmp_path_factory.mktemp("ranking") / "shown"))
    app = open_project(folder)
    app.train(MODEL, actor="test")
    app.close()
    return folder


@pytest.fixture(scope="module")
def server(project: Path, server_of: Servers) -> Iterator[Any]:
    with server_of(project) as running:
        yield running


@pytest.fixture
def client(server: Any) -> Iterator[Any]:
    client = server.client()
    yield client
    client.close()


def rows_of(visit: str, fits: list[float], *, at: str = "2026-05-01T12:00:00Z", out: tuple[int, ...] = ()) -> list[Row]:
    return [
        {"visit": visit, "video": n, "at": at, "fit": fit, "age": 1.0, "is_withdrawn": n in out}
        for n, fit in enumerate(fits)
    ]


def ask(client: Any, rows: list[Row]) -> Any:
    status, answer = client.predict(rows, model=MODEL)
    assert status == 200, answer
    return answer


# ── training and the gate ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_first_ranking_is_released_for_it_ranks_better_than_chance(project: Path) -> None:
    """The gate counts groups, by the metric of its first three ranks; a constant scores as a random order does."""
    app = open_project(project)
    (evaluation,) = app.evaluations.list(MODEL)
    app.close()
    verdict = evaluation.verdict

    assert (verdict.decision, verdict.metric, verdict.against) == (Decision.PASS, "ndcg@3", "baseline")
    assert (verdict.rows, verdict.days) == (160, 10)  # two visits every three hours, each a group of six rows
    chance = sum(1 / np.log2(rank + 1) for rank in (1, 2, 3)) / 6
    assert verdict.champion_score == pytest.approx(chance, rel=1e-9)
    assert verdict.candidate_score > 0.5


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_answer_is_an_ordered_list(client: Any) -> None:
    """Best first, each with the place of its row in the request, its score and its rank."""
    answer = ask(client, rows_of("v1", [0.2, 0.9, 0.5]))

    assert set(answer) == {"model", "model_version", "request_id", "predictions", "removed"}
    assert [entry["item"] for entry in answer["predictions"]] == [1, 2, 0]
    assert [entry["rank"] for entry in answer["predictions"]] == [1, 2, 3]
    scores = [entry["score"] for entry in answer["predictions"]]
    assert scores == sorted(scores, reverse=True)
    assert answer["removed"] == []


def test_what_is_removed_is_told_apart_with_its_reason(client: Any) -> None:
    """And the others close ranks."""
    answer = ask(client, rows_of("v2", [0.2, 0.9, 0.5], out=(1,)))

    assert [(entry["item"], entry["rank"]) for entry in answer["predictions"]] == [(2, 1), (0, 2)]
    assert [(entry["item"], entry["reason"]) for entry in answer["removed"]] == [(1, "withdrawn")]


def test_a_group_of_which_all_is_removed_is_answered_empty(client: Any) -> None:
    """It is no error."""
    answer = ask(client, rows_of("v3", [0.2], out=(0,)))

    assert answer["predictions"] == []
    assert [entry["item"] for entry in answer["removed"]] == [0]


def test_requests_at_once_are_ranked_each_by_itself(server: Any) -> None:
    """Also those of one visit: every item of a request comes back exactly once, as when the request comes alone."""
    dice = random.Random(7)
    asked = []
    for _ in range(60):
        fits = [dice.random() for _ in range(dice.randint(1, 9))]
        out = tuple(n for n in range(len(fits)) if dice.random() < 0.2)
        asked.append(rows_of(dice.choice(["a", "b"]), fits, out=out))
    alone = server.client()
    expected = [placed(ask(alone, rows)) for rows in asked]

    def answered(rows: list[Row]) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        client = server.client()
        try:
            return placed(ask(client, rows))
        finally:
            client.close()

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(answered, asked))

    alone.close()
    assert found == expected
    for rows, (ranked, removed) in zip(asked, found, strict=True):
        assert sorted(entry[0] for entry in (*ranked, *removed)) == list(range(len(rows)))
        assert [entry[2] for entry in ranked] == list(range(1, len(ranked) + 1))


def placed(answer: Any) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    ranked = [(entry["item"], entry["score"], entry["rank"]) for entry in answer["predictions"]]
    return ranked, [(entry["item"], entry["reason"]) for entry in answer["removed"]]


@pytest.mark.parametrize(("field", "value"), [("visit", "other"), ("at", "2026-05-01T12:00:01Z")])
def test_a_request_of_two_groups_is_refused(client: Any, field: str, value: str) -> None:
    """The row and the field that differ are named."""
    rows = rows_of("v4", [0.1, 0.2, 0.3])
    rows[2][field] = value

    status, answer = client.predict(rows, model=MODEL)

    assert (status, answer["code"]) == (422, "bad-rows")
    assert [(error["row"], error["field"]) for error in answer["errors"]] == [(2, field)]


def test_the_same_ids_again_get_the_same_list(client: Any) -> None:
    """With what was removed; it is not ranked again."""
    rows = [row | {"prediction_id": f"again-{n}"} for n, row in enumerate(rows_of("v5", [0.2, 0.9, 0.5], out=(1,)))]
    first = ask(client, [dict(row) for row in rows])

    second = ask(client, [dict(row) for row in rows])

    assert placed(second) == placed(first)
    assert all(entry["repeated"] for entry in (*second["predictions"], *second["removed"]))


def test_a_group_that_was_answered_in_part_is_a_conflict(client: Any) -> None:
    """For a ranking is answered whole."""
    rows = [row | {"prediction_id": f"part-{n}"} for n, row in enumerate(rows_of("v6", [0.2, 0.9]))]
    ask(client, [dict(rows[0])])

    status, answer = client.predict([dict(row) for row in rows], model=MODEL)

    assert (status, answer["code"]) == (409, "conflict")
    assert "a ranking is answered whole" in answer["why"]


# ── the log, ground truth and quality ────────────────────────────────────────────────────────────────────────────────


def test_the_log_keeps_the_group_its_order_and_what_was_not_chosen(
    project: Path, tmp_path: Path, server_of: Servers
) -> None:
    """Then truth that comes by prediction id makes the quality of the groups: what nobody spoke of does not count."""
    folder = Path(shutil.copytree(project, tmp_path / "shown"))
    now = datetime.now(UTC).replace(microsecond=0)
    at = (now - timedelta(hours=3)).isoformat()
    with server_of(folder) as server:
        client = server.client()
        hit, miss, silent = (ask(client, rows_of(visit, [0.1, 0.9, 0.5], at=at, out=(2,))) for visit in "abc")
        truths = [
            {"prediction_id": hit["predictions"][0]["prediction_id"], "watched": True},
            {"prediction_id": hit["predictions"][1]["prediction_id"], "watched": False},
            {"prediction_id": miss["predictions"][0]["prediction_id"], "watched": False},
            {"prediction_id": miss["predictions"][1]["prediction_id"], "watched": True},
        ]
        posted = client.post_truth([truth | {"seen_at": now.isoformat()} for truth in truths], model=MODEL)
        client.close()
        assert posted[0] in (200, 202), str(posted)
        server.end()
    app = open_project(folder)
    app.drained()
    model = app.model(MODEL)
    log = app.predictions.scan(model).filter(pl.col("request_id") == hit["request_id"]).sort("position").collect()
    (quality,) = measure_quality(
        model, app.predictions, [Period(since=now - timedelta(days=1), until=now)], as_of=now + timedelta(seconds=1)
    )
    metrics = {metric.name: metric.live for metric in quality.metrics}
    app.close()

    assert silent["request_id"] != hit["request_id"]
    assert log["group"].to_list() == [hit["request_id"]] * 3
    assert log["rank"].to_list() == [2, 1, None]
    assert log["removed"].to_list() == [None, None, "withdrawn"]
    assert (quality.answered, quality.labelled) == (9, 4)
    assert list(metrics) == ["ndcg@3", "ndcg", "average_precision", "reciprocal_rank"]
    for name, value in (("reciprocal_rank", 0.75), ("average_precision", 0.75), ("ndcg", (1 + 1 / np.log2(3)) / 2)):
        assert metrics[name].rows == 2  # groups
        assert metrics[name].value == pytest.approx(value)
    assert quality.bias is None


def test_a_ranking_learns_from_its_own_log(project: Path, tmp_path: Path) -> None:
    """Shown and not chosen is an example as shown and chosen is; a group is what the rows share, as in a source."""
    folder = Path(shutil.copytree(project, tmp_path / "shown"))
    file = folder / "models" / "shown_videos.py"
    file.write_text(file.read_text().replace('    every="1d",\n', '    every="1d",\n    examples="log",\n'))
    app = open_project(folder)
    model, now = app.model(MODEL), app.time.now()
    source = model.source_hook
    assert source is not None
    known = source(since=now - timedelta(days=31), until=now - timedelta(days=1))
    rows = known.with_columns(is_withdrawn=pl.lit(False))
    app.predict(MODEL, rows.drop("watched", "seen_at"), log=True)
    app.add_truths(MODEL, rows.select("visit", "video", "at", "watched", "seen_at"), source="test")

    run = app.train(MODEL, actor="test")
    version = app.models.version(MODEL, 2)
    dataset = app.datasets.get(MODEL, version.dataset)
    verdict = app.evaluations.list(MODEL)[0].verdict
    app.close()

    assert str(run.state) == "succeeded"
    assert dataset.train_rows % 6 == 0
    assert 0.1 < version.label_mean < 0.2  # one of six is watched
    assert verdict.against == "champion"
    assert verdict.rows > 100


def test_the_command_line_predicts_groups_best_first(project: Path, tmp_path: Path, call) -> None:
    """A file may hold several groups; each line says its rank, or why it has none."""
    rows = [*rows_of("a", [0.2, 0.9, 0.5], out=(1,)), *rows_of("b", [0.1, 0.3])]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([rows[0], rows[3], *rows[1:3], rows[4]]))

    lines = call(project, "predict", MODEL, file, "--json").data

    told = [(line["visit"], line["video"], line["rank"], line["removed"]) for line in lines]
    assert told == [
        ("a", 2, 1, None),
        ("a", 0, 2, None),
        ("a", 1, None, "withdrawn"),
        ("b", 1, 1, None),
        ("b", 0, 2, None),
    ]


def test_a_release_says_how_many_groups_it_was_judged_on(project: Path, call) -> None:
    """Not rows: the verdict counts what its metric has a value of."""
    assert "judged on\t160 groups of 10 days" in call(project, "release", "show", "1").out
