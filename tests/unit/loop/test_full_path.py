"""Fifty histories through the whole of validation: rows are read, asked, compared, judged and remembered."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from perene.records.verdict import Decision
from perene.statistics.comparisons import compare
from perene.statistics.gate import decide

HISTORIES = 50
PLAIN = """
def train(x, y):
    return None

m = Model("parcels", label=Label("hours", float, **WAIT), train=train,
          gate=gate(metric="absolute_error", margin="5%"), **terms)
"""


@pytest.fixture
def dialect() -> str:
    """Nothing here depends on the database."""
    return "sqlite"


def noisy(days: np.ndarray, shift: float):
    """As good as can be, but on each day off by another amount; the features do not say the day, so rows count it."""

    def predict(x: pl.DataFrame) -> np.ndarray:
        day = np.arange(x.height) * len(days) // max(x.height, 1)
        return x["kilograms"].to_numpy() + 0.5 + shift + days[day]

    return predict


def test_fifty_histories_are_judged_as_their_sums_say(bench) -> None:
    """Each verdict is what the gate's core says of sums that are computed here from the rows; all kinds occur."""
    b = bench(PLAIN)
    rows = b.app.datasets.read(b.model, b.dataset, part="test").filter(pl.col("label").is_not_null())
    day = rows["event_at"].dt.date().to_numpy()
    groups, index = np.unique(day, return_inverse=True)
    counts = np.bincount(index).astype(float)
    random = np.random.default_rng(50)
    found, expected = [], []

    for number in range(HISTORIES):
        shift = (0.0, 0.01, 0.1, 0.4)[number % 4]
        mine, theirs = random.normal(0, 0.05, (2, len(groups)))
        candidate, champion = b.predictor(noisy(mine, shift), 2), b.predictor(noisy(theirs, 0.0), 1)
        found.append(b.judge(b.contest(candidate, champion)).verdict)
        sums = [
            np.bincount(index, np.abs(rows["label"].to_numpy() - who.predict(rows).raw))
            for who in (candidate, champion)
        ]
        comparison = compare(counts, *sums)
        margin = 0.05 * float(comparison.champion_score)
        expected.append((str(decide(comparison.lower, comparison.upper, margin)), float(comparison.upper)))

    champion_alone = [verdict.checks[0].decision for verdict in found]
    assert champion_alone == [decision for decision, _ in expected]
    assert [verdict.upper for verdict in found] == [pytest.approx(upper) for _, upper in expected]
    assert set(champion_alone) == {Decision.PASS, Decision.WORSE, Decision.INCONCLUSIVE}
    assert len(b.app.evaluations.list("parcels")) == HISTORIES
