"""Predicting in bulk: the lines of the log are what a server would have written."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import polars as pl
import pytest

from perene.pipelines.serving import serve_bulk, values
from perene.storage.envelope import conform, predictions_columns

ALL = ["plain", "steps", "words", "whole", "binary", "chances", "classes", "sharp", "best", "featured"]


@pytest.fixture
def dialect() -> str:
    """Nothing here depends on the database."""
    return "sqlite"


def rows_of(bench, name: str, a_row, count: int = 3) -> pl.DataFrame:
    return bench.models[name].schema.parse_json([a_row(n) for n in range(count)])


def test_all_models_of_the_bench_are_tested(model_names) -> None:
    """The list here is the list there."""
    assert model_names == ALL


@pytest.mark.parametrize("name", ALL)
def test_the_lines_have_the_columns_of_the_log(bench, a_row, name) -> None:
    """Every column, in its type: nothing is left to be cast."""
    lines = bench.bulk(name, rows_of(bench, name, a_row))

    wanted = {column: dtype for column, dtype in predictions_columns(bench.models[name]).items() if column != "ingest"}
    more = {"features": pl.String()} if name == "featured" else {}
    assert dict(lines.schema) == wanted | more
    assert conform(lines, wanted, more=("features",)).equals(lines)


@pytest.mark.parametrize("name", ALL)
def test_what_is_logged_is_what_is_returned(bench, a_row, name) -> None:
    """The log holds the lines, cell for cell."""
    lines = bench.bulk(name, rows_of(bench, name, a_row))

    logged = bench.log(name)
    more = ["features"] if name == "featured" else []
    assert logged.drop("ingest").equals(lines.drop(more))
    if more:
        found = [bench.predictions.get(bench.models[name], id_)["features"] for id_ in lines["prediction_id"]]
        assert found == lines["features"].to_list()


def test_a_line_says_what_was_asked_and_answered(bench, a_row) -> None:
    """Identity, times, version and recipe, place in the request; one request id for all, an id for each."""
    rows = rows_of(bench, "plain", a_row)

    lines = bench.bulk("plain", rows, mode="stored")

    assert lines["key"].to_list() == [f'[{n},"ana"]' for n in range(3)]
    assert lines["event_at"].to_list() == rows["sent_at"].to_list()
    assert lines["day"].to_list() == [date(2026, 5, 1)] * 3
    assert set(lines["predicted_at"].to_list()) == {bench.clock.now()}
    assert lines.select("model_version", "recipe", "role", "mode").unique().rows() == [
        (3, "recipe-3", "champion", "stored")
    ]
    assert lines["position"].to_list() == [0, 1, 2]
    assert lines["request_id"].n_unique() == 1
    assert lines["prediction_id"].to_list() == sorted(set(lines["prediction_id"]))
    assert lines["request"].struct.unnest().equals(rows.drop("secret"))


def test_each_step_but_the_last_is_logged_and_the_last_is_the_answer(bench, a_row) -> None:
    """The raw output, then what each post step made of it."""
    (line,) = bench.bulk("steps", rows_of(bench, "steps", a_row, 1)).to_dicts()

    sevenths = 100.0 / 7
    raw = sevenths / 3
    assert line["raw"] == pytest.approx(raw)
    assert line["steps"] == pytest.approx([raw * 2, raw * 2 / 3 + sevenths])
    assert line["final"] == pytest.approx((raw * 2 / 3 + sevenths) * 2)


@pytest.mark.parametrize(
    ("name", "steps"), [("plain", 0), ("words", 1), ("whole", 0), ("classes", 0), ("sharp", 1), ("best", 1)]
)
def test_steps_of_every_task(bench, a_row, name, steps) -> None:
    """As many as there are before the last; each of the raw output's shape."""
    lines = bench.bulk(name, rows_of(bench, name, a_row))

    assert lines["steps"].list.len().to_list() == [steps] * 3
    for step in lines["steps"].to_list():
        assert all(np.shape(value) == np.shape(lines["raw"][0]) for value in step)


def test_the_day_is_that_of_the_event_in_utc(bench, a_row) -> None:
    """Whatever zone a caller writes its time in."""
    late = datetime(2026, 5, 1, 23, 30, tzinfo=timezone(timedelta(hours=-5)))
    rows = bench.models["plain"].schema.parse_json([a_row(1, sent_at=late.isoformat())])

    lines = bench.bulk("plain", rows)

    assert lines["event_at"].to_list() == [late.astimezone(UTC)]
    assert lines["day"].to_list() == [date(2026, 5, 2)]


def test_a_field_that_is_not_to_be_logged_never_appears(bench, a_row) -> None:
    """Neither its name nor its value stands in a line, though the model may use it."""
    rows = bench.models["plain"].schema.parse_json([a_row(1, secret="hush")])

    lines = bench.bulk("plain", rows)

    for frame in (lines, bench.log("plain")):
        assert "secret" not in [field.name for field in frame.schema["request"].fields]
        assert "hush" not in str(frame.to_dicts())


def test_each_row_may_have_its_own_time(bench, a_row) -> None:
    """A replay predicts many moments at once."""
    rows = rows_of(bench, "plain", a_row)
    times = rows["sent_at"].dt.offset_by("-1h")

    assert bench.bulk("plain", rows, predicted_at=times)["predicted_at"].equals(times, check_names=False)


def test_a_repeat_under_one_name_is_logged_once(bench, a_row) -> None:
    """source names an append: what was logged under it stays; without a name each call is logged."""
    rows = rows_of(bench, "plain", a_row)
    first = bench.bulk("plain", rows, source="replay:1")
    bench.bulk("plain", rows, source="replay:1")

    assert bench.log("plain")["prediction_id"].to_list() == first["prediction_id"].to_list()
    bench.bulk("plain", rows)
    bench.bulk("plain", rows)
    assert bench.log("plain").height == 9


def test_without_a_log_nothing_is_written(bench, a_row) -> None:
    """The lines are given all the same."""
    lines = bench.bulk("plain", rows_of(bench, "plain", a_row), log=None)

    assert lines.height == 3
    assert bench.log("plain").height == 0


@pytest.mark.parametrize("name", ALL)
def test_no_rows_give_no_lines(bench, a_row, name) -> None:
    """An empty table is answered with an empty table of the same columns."""
    some = bench.bulk(name, rows_of(bench, name, a_row))
    none = bench.bulk(name, rows_of(bench, name, a_row, 0), log=None)

    assert (none.height, none.schema) == (0, some.schema)


@pytest.mark.parametrize("name", ALL)
def test_a_row_alone_is_answered_as_in_a_table(bench, a_row, name) -> None:
    """Law 1: cell for cell, however many rows come together."""
    rows = rows_of(bench, name, a_row, 7)
    told = ["request", "raw", "steps", "final", "key", "event_at"] + (["features"] if name == "featured" else [])

    together = bench.bulk(name, rows, log=None).select(told)
    alone = [bench.bulk(name, rows[n : n + 1], log=None).select(told) for n in range(rows.height)]

    assert pl.concat(alone).equals(together)


def test_an_older_version_answers_rows_that_have_newer_fields(bench, a_row) -> None:
    """Each version gets the columns that it knows; the newest Row is what is logged."""
    rows = rows_of(bench, "plain", a_row)
    older = bench.predictor("plain", 1, code=bench.models["featured"])  # its Row has no secret

    lines = serve_bulk(
        older, rows, model=bench.models["plain"], predicted_at=bench.clock.now(), recorded_at=bench.clock()
    )

    assert lines["model_version"].to_list() == [1, 1, 1]
    assert lines["request"].struct.unnest().columns == [f for f in rows.columns if f != "secret"]


def test_the_features_of_the_version_that_answered_are_logged(bench, a_row) -> None:
    """Not those of the newest code, which the answer does not come from."""
    rows = rows_of(bench, "featured", a_row, 1)
    newest = bench.models["featured"]
    other = type(newest)(
        "featured", row=newest.row, key=newest.key, at="sent_at", label=newest.label, train_on="20d", test_on="10d",
        features=lambda rows: rows.select(sevenths=pl.col("grams") * 0 + 7.0, old=pl.lit("x")), train=lambda x, y: None,
    )  # fmt: skip

    lines = serve_bulk(
        bench.predictor("featured", 1, code=other), rows, model=newest, predicted_at=bench.clock.now(),
        recorded_at=bench.clock(),
    )  # fmt: skip

    assert lines["features"].to_list() == ['{"sevenths":7.0,"old":"x"}']
    assert lines["raw"].to_list() == [7.0 / 3]


def test_features_of_any_later_type_fit_the_log(bench, a_row) -> None:
    """A feature that was a number and becomes a text, or goes, does not stop the log."""
    rows = rows_of(bench, "featured", a_row, 1)
    newest = bench.models["featured"]
    kinds = [pl.lit(1).alias("a"), pl.lit("x").alias("a"), pl.lit(None).alias("a"), pl.lit(1.5).alias("b")]
    for n, kind in enumerate(kinds):
        changed = type(newest)(
            "featured", row=newest.row, key=newest.key, at="sent_at", label=newest.label, train_on="20d", test_on="10d",
            features=lambda rows, kind=kind: rows.select("grams").with_columns(kind, sevenths=pl.col("grams")),
            train=lambda x, y: None,
        )  # fmt: skip
        serve_bulk(
            bench.predictor("featured", n, code=changed), rows, model=newest, predicted_at=bench.clock.now(),
            recorded_at=bench.clock(), log=bench.predictions,
        )  # fmt: skip

    assert bench.log("featured")["model_version"].to_list() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("final", "expected"),
    [
        (np.array([1.5]), [1.5]),
        (np.array([1], dtype=np.int64), [1]),
        (np.array([True]), [True]),
        (np.array(["a"], dtype=object), ["a"]),
        (np.array([[0.5, 0.5]]), [[0.5, 0.5]]),
        (pl.Series(["a"]), ["a"]),
        (["a"], ["a"]),
    ],
)
def test_answers_are_plain_values(final, expected) -> None:
    """Whatever holds them, JSON can write them."""
    assert values(final) == expected
    assert [type(value) for value in values(final)] == [type(value) for value in expected]
