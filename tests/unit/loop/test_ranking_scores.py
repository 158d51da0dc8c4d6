"""What a ranking's fitted object is asked for."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from pydantic import AwareDatetime
from sklearn.linear_model import LogisticRegression

from perene import Label, Model, Row
from perene.pipelines.predictor import answer


class Shown(Row):
    """A video."""

    visit: str
    at: AwareDatetime
    fit: float


def model_of(kind: type) -> Model:
    return Model(
        "m", row=Shown, key="visit", at="at", label=Label("watched", kind, group="visit"), train_on="20d",
        test_on="10d", features=lambda rows: rows.select("fit"), train=lambda x, y: None,
    )  # fmt: skip


def rows_of(model: Model) -> pl.DataFrame:
    return pl.DataFrame(
        {"visit": ["v"] * 4, "at": [None] * 4, "fit": [0.1, 0.4, 0.6, 0.9]}, schema=dict(model.schema.polars)
    )


@pytest.mark.parametrize("truth", [[False, True, False, True], [True, False, True, False]])
def test_a_classifier_ranks_by_the_chance_of_true(truth: list[bool]) -> None:
    """Not by the class that it would name, which is the same for most rows."""
    model = model_of(bool)
    rows = rows_of(model)
    fitted = LogisticRegression().fit(rows.select("fit"), np.array(truth))

    output = answer(model, fitted, rows, groups=np.zeros(4, dtype=np.int64))

    chances = fitted.predict_proba(rows.select("fit"))[:, 1]
    assert output.raw.tolist() == chances.tolist()
    assert output.rank is not None
    assert output.rank.tolist() == ([4, 3, 2, 1] if chances[3] > chances[0] else [1, 2, 3, 4])


def test_of_grades_what_is_predicted_is_the_score() -> None:
    """A classifier of grades has chances of each, which are no score."""
    model = model_of(float)
    rows = rows_of(model)
    fitted = LogisticRegression().fit(rows.select("fit"), np.array([0, 0, 1, 2]))

    output = answer(model, fitted, rows, groups=np.zeros(4, dtype=np.int64))

    assert output.raw.tolist() == fitted.predict(rows.select("fit")).tolist()
