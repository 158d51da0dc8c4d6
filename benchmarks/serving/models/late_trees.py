"""The demo's model with LightGBM instead of scikit-learn's trees: 200 of them, of 63 leaves."""

from __future__ import annotations

import numpy as np
import polars as pl
from lightgbm import LGBMClassifier
from models.late_arrival import CATEGORIES, Flight, bounds, features, flights
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from perene import Label, Model


def train(x: pl.DataFrame, y: np.ndarray, *, seed: int):
    """Fit to the training rows, as the demo does."""
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan)
    trees = LGBMClassifier(n_estimators=200, num_leaves=63, learning_rate=0.03, random_state=seed, n_jobs=1, verbose=-1)
    both = make_pipeline(make_column_transformer((codes, CATEGORIES), remainder="passthrough"), trees)
    return both.fit(x, y, lgbmclassifier__categorical_feature=list(range(len(CATEGORIES))))


late = Model(
    "late-trees",
    row=Flight,
    key=["carrier", "flight", "origin"],
    at="sched_dep",
    asked="1h before",
    label=Label("late", bool, known_at="landed_at", wait="36h"),
    train_on="365d",
    test_on="28d",
    stale_after="45d",
    examples="source",
    source=flights,
    features=features,
    train=train,
    post=bounds,
)
