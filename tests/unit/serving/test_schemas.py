"""The schemas of models, against what models take and answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, Literal

import jsonschema_rs
import pytest
from annotated_types import Ge, Gt, Len, MultipleOf
from pydantic import AwareDatetime, StringConstraints

from perene import Label, Model, Row
from perene.errors import BadRows
from perene.server import operations
from perene.server.openapi import openapi
from perene.server.operations import OPERATIONS
from perene.server.ranked import Item, answer_of

NAMES = ["plain", "words", "whole", "binary", "chances", "classes", "best", "featured"]


class Thing(Row):
    """A field with each rule."""

    code: Annotated[str, Len(2, 3)]
    letters: Annotated[str, StringConstraints(pattern="^[a-z]*$")]
    size: Literal["s", "l"]
    count: Annotated[int, Ge(0), MultipleOf(5)]
    grams: Annotated[float, Gt(0)]
    at: AwareDatetime
    day: date | None = date(2026, 5, 1)
    paid: bool | None = None


def a_model(label: Label) -> Model:
    """A declaration of rows and a label."""
    return Model(
        "things", row=Thing, key=["code"], at="at", label=label, train_on="20d", test_on="10d",
        features=lambda rows: rows, train=lambda x, y: None, source=lambda since, until: None,
    )  # fmt: skip


def fits(model: Model, kind: str) -> Callable[[Any], bool]:
    """Whether something fits a schema of a model."""
    document = openapi({model.name: model}, max_rows=10)
    schema = {"$ref": f"#/components/schemas/{model.name}.{kind}", "components": document["components"]}
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True).is_valid


GOOD = {"code": "ab", "letters": "x", "size": "s", "count": 5, "grams": 0.5, "at": "2026-05-01T12:00:00Z"}


@pytest.mark.parametrize(
    ("change", "is_good"),
    [
        ({}, True),
        ({"day": None, "paid": True, "prediction_id": "mine"}, True),
        ({"prediction_id": None}, True),
        ({"code": "a"}, False),
        ({"code": "abcd"}, False),
        ({"letters": "X"}, False),
        ({"size": "m"}, False),
        ({"count": -5}, False),
        ({"count": 7}, False),
        ({"count": 5.5}, False),
        ({"count": 2**63}, False),
        ({"grams": 0}, False),
        ({"grams": "1"}, False),
        ({"at": "yesterday"}, False),
        ({"day": "2026-13-01"}, False),
        ({"paid": "yes"}, False),
        ({"at": None}, False),
        ({"colour": "red"}, False),
    ],
)
def test_a_row_fits_its_schema_where_the_row_takes_it(change, is_good) -> None:
    """The schema refuses and takes what the Row does; the id beside the fields is the API's."""
    model = a_model(Label("hours", float))
    row = GOOD | change
    taken = True
    try:
        model.schema.read_json([{name: value for name, value in row.items() if name != "prediction_id"}])
    except BadRows:
        taken = False

    assert fits(model, "Row")(row) == taken == is_good
    assert not fits(model, "Row")({name: value for name, value in row.items() if name != "code"})


@pytest.mark.parametrize("name", NAMES)
def test_answers_fit_their_schema(bench, journal, a_row, name) -> None:
    """What each model of the bench answers is what the document says of it, and nothing else is."""
    (answer,) = bench.serve(name, [[a_row(1), a_row(2)]], journal=journal)
    is_answer = fits(bench.models[name], "Answer")

    assert is_answer(answer)
    assert not is_answer(answer | {"model_version": "3"})
    assert not is_answer(answer | {"predictions": [{"prediction_id": "a", "prediction": None}]})


def test_a_ranking_s_answer_fits_its_schema() -> None:
    """An ordered list, and what was removed with its reason."""
    ranking = a_model(Label("watched", bool, group="size"))
    more: dict[str, object] = {}
    items = [
        Item(prediction_id="a", item=0, score=0.5, rank=1, removed=None, more=more),
        Item(prediction_id="b", item=1, score=0.1, rank=None, removed="blocked", more=more),
    ]
    answer = json.loads(
        json.dumps({"model": "things", "model_version": 1, "request_id": "r"} | answer_of(ranking, items))
    )

    assert fits(ranking, "Answer")(answer)
    assert not fits(ranking, "Answer")({name: part for name, part in answer.items() if name != "removed"})


@pytest.mark.parametrize(
    ("row", "is_good"),
    [
        ({"prediction_id": "a", "late": True}, True),
        ({"prediction_id": "a", "late": None}, True),
        ({"code": "ab", "at": "2026-05-01T12:00:00Z", "late": False, "known_at": "2026-05-02T12:00:00Z"}, True),
        ({"code": "ab", "late": False}, False),
        ({"prediction_id": "a", "late": 1}, False),
    ],
)
def test_ground_truth_names_a_prediction_or_a_key_at_a_time(row, is_good) -> None:
    """Both forms of a row of ground truth are told, with the label's own type."""
    assert fits(a_model(Label("late", bool, known_at="known_at")), "Truth")(row) == is_good


def test_every_status_of_the_table_has_its_reason() -> None:
    """A status without a word of what it means cannot be told."""
    assert {status for o in OPERATIONS for status in (*o.answers, *o.refusals)} <= set(operations.REASONS)
