"""The same pipeline with a step before it that does nothing: perene does not know such a one, and calls it as it is."""

from __future__ import annotations

import numpy as np
import pandas as pd
from models.arrival_minutes import Flight, features, source
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from models import arrival_minutes
from perene import Label, Model


def train(x: pd.DataFrame, y: np.ndarray, *, seed: int):
    """The pipeline, and a step that gives what it got."""
    return Pipeline([("same", FunctionTransformer()), *arrival_minutes.train(x, y, seed=seed).steps])


minutes = Model(
    "arrival-called",
    row=Flight,
    key=["carrier", "flight", "origin"],
    at="sched_dep",
    asked="1h before",
    label=Label("minutes", float, known_at="landed_at", wait="36h"),
    train_on="365d",
    test_on="28d",
    stale_after="45d",
    examples="source",
    source=source,
    features=features,
    train=train,
)
