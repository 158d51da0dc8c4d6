"""The newest predictions of a model."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from perene.app import open_project

MODEL = "parcel-hours"
MAY = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def app(tiny):
    """A tiny project into whose log predictions of several days came, the days mixed up."""
    app = open_project(tiny)
    for call, day in enumerate((3, 1, 9, 1, 4)):
        rows = [
            {"number": 10 * call + i, "sent_at": MAY + timedelta(days=day, hours=i), "grams": 5.0} for i in range(4)
        ]
        app.predict(MODEL, pl.DataFrame(rows), log=True)
    yield app
    app.close()


@pytest.mark.parametrize("limit", [1, 3, 4, 6, 11, 20, 50])
def test_the_last_that_came_in_are_the_first_that_are_listed(app, limit):
    """Whatever day an event is of, what came into the log last is listed first, and no more than was asked for."""
    every = app.predictions.scan(app.model(MODEL)).collect().sort("predicted_at", "prediction_id", descending=True)

    listed = app.newest_predictions(MODEL, limit=limit)

    assert listed["prediction_id"].to_list() == every["prediction_id"].head(limit).to_list()


def test_only_events_of_the_asked_time_are_listed(app):
    """``since`` counts, ``until`` does not."""
    since, until = MAY + timedelta(days=1, hours=2), MAY + timedelta(days=4, hours=1)

    listed = app.newest_predictions(MODEL, since=since, until=until, limit=50)

    assert listed.height == 2 + 4 + 2 + 1
    assert listed["event_at"].is_between(since, until, closed="left").all()


def test_a_truth_of_the_prediction_wins_over_one_of_its_key(app):
    """What names a prediction holds for it alone; what names key and time holds for the others of that identity."""
    row = pl.DataFrame([{"number": 7, "sent_at": MAY, "grams": 5.0}])
    ids = [app.predict(MODEL, row, log=True)["prediction_id"][0] for _ in range(2)]
    app.add_truths(MODEL, pl.DataFrame([{"number": 7, "sent_at": MAY, "hours": 1.0}]), source="test")
    app.add_truths(MODEL, pl.DataFrame([{"prediction_id": ids[0], "hours": 2.0}]), source="test")

    listed = app.newest_predictions(MODEL, limit=2)

    assert dict(zip(listed["prediction_id"], listed["label"], strict=True)) == {ids[0]: 2.0, ids[1]: 1.0}


def test_a_truth_that_was_taken_back_is_none(app):
    """A label of null takes back what was said before."""
    row = pl.DataFrame([{"number": 7, "sent_at": MAY, "grams": 5.0}])
    (made,) = app.predict(MODEL, row, log=True)["prediction_id"]
    app.add_truths(MODEL, pl.DataFrame([{"prediction_id": made, "hours": 2.0}]), source="test")
    taken_back = pl.DataFrame({"prediction_id": [made], "hours": pl.Series([None], dtype=pl.Float64)})
    app.add_truths(MODEL, taken_back, source="test")

    listed = app.newest_predictions(MODEL, limit=1)

    assert listed.select("prediction_id", "label", "known_at").row(0) == (made, None, None)


def test_a_model_without_predictions_has_an_empty_list(tiny):
    """Before the first prediction there are the columns and no row."""
    app = open_project(tiny)

    listed = app.newest_predictions(MODEL)
    app.close()

    assert listed.height == 0
    assert {"prediction_id", "key", "event_at", "final", "label", "known_at"} <= set(listed.columns)
