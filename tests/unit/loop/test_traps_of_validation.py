"""Traps that validation falls into, each with the test that this one does not. Numbered as in the notes on methods."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from perene.records.verdict import Decision

PLAIN = """
def train(x, y):
    return None

m = Model("parcels", label=Label("hours", float, **WAIT), train=train, **terms)
"""


@pytest.fixture
def dialect() -> str:
    """Nothing here depends on the database."""
    return "sqlite"


def good(x: pl.DataFrame) -> np.ndarray:
    """What the parcels take on average."""
    return x["kilograms"].to_numpy() + 0.5


def test_trap_3_a_champion_that_saw_the_window(bench) -> None:
    """A champion is never scored on rows that it learnt from, however good it looks there."""
    b = bench(PLAIN)
    seen_until = b.dataset.split + timedelta(days=2)
    rows = b.app.datasets.read(b.model, b.dataset, part="test")
    learnt = dict(zip(rows["grams"] / 1000, rows["label"], strict=True))
    champion = b.predictor(lambda x: x["kilograms"].replace_strict(learnt).to_numpy(), 1, trained_until=seen_until)

    verdict = b.judge(b.contest(b.predictor(good, 2), champion)).verdict

    unseen = rows.filter(pl.col("event_at") >= seen_until + b.model.label.wait)
    assert verdict.rows == unseen.height < rows.height


def test_trap_4_overlap_by_the_time_of_labels(bench) -> None:
    """Rows whose labels were still to come when a model's last training row happened are not unseen by it."""
    b = bench(PLAIN)
    candidate = b.predictor(good, 2, trained_until=b.dataset.split + timedelta(days=1))

    verdict = b.judge(b.contest(candidate, b.predictor(good, 1))).verdict

    rows = b.app.datasets.read(b.model, b.dataset, part="test")
    since = b.dataset.split + timedelta(days=1) + b.model.label.wait
    assert b.model.label.wait > timedelta(0)
    assert verdict.rows == rows.filter(pl.col("event_at") >= since).height


SLICED = PLAIN + "\n@m.slice\ndef nothing(rows):\n    return pl.Series([None] * rows.height, dtype=pl.String)\n"


@pytest.mark.parametrize(
    ("body", "candidate", "why"),
    [
        (SLICED, good, "nothing names no row"),
        (PLAIN, lambda x: np.full(x.height, np.nan), "not a number"),
        (PLAIN, lambda x: good(x)[:0], "cannot score"),
    ],
    ids=["an empty slice", "a metric that is missing", "no predictions"],
)
def test_trap_8_nothing_is_no_proof(bench, body, candidate, why) -> None:
    """An empty slice or a missing metric refuses; it does not pass for want of a difference."""
    b = bench(body)

    verdict = b.judge(b.contest(b.predictor(candidate, 2), b.predictor(good, 1))).verdict

    assert verdict.decision is Decision.REFUSED
    assert why in verdict.reason


def test_trap_9_no_champion_is_no_rubber_stamp(bench) -> None:
    """A first model must be shown to be better than a constant: as good as one is not enough."""
    b = bench(PLAIN)
    mean = float(b.predictor(good).baseline.value)
    wobble = b.predictor(lambda x: mean + 0.01 * np.sin(1e4 * x["kilograms"].to_numpy()), 1)

    verdict = b.judge(b.contest(wobble)).verdict

    assert verdict.against == "baseline"
    assert verdict.decision is not Decision.PASS


def test_trap_10_the_champion_is_what_serves(open_app) -> None:
    """After a rollback a candidate stands against the version that serves, not against the newest that was blessed."""
    app = open_app()
    for _ in range(2):
        app.train("parcels", actor="test")
    before = app.models.champion("parcels")
    app.rollback("parcels", actor="ana", why="a try")
    served = app.models.champion("parcels")

    app.train("parcels", actor="test")

    newest = app.evaluations.list("parcels", limit=1)[0]
    assert (before is not None and before.version, served is not None and served.version) == (2, 1)
    assert newest.champion == 1
