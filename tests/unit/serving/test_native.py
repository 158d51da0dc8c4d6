"""LightGBM called at its booster: the very answers of what train() returned, or not used at all."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perene.pipelines.native import agrees, recognised, why_unrecognised

TEXTS, NUMBERS = ["maker", "origin"], ["km", "seats", "full"]
SMALL = {"n_estimators": 15, "min_child_samples": 5, "n_jobs": 1, "verbose": -1, "random_state": 0}
NAMES = ["binary", "classes", "numbers", "numbers alone", "booster"]


def some(count: int, seed: int = 0) -> pl.DataFrame:
    """Features with texts, numbers of several types, and nulls in all of them."""
    draw = np.random.default_rng(seed)

    def column(values: Any, dtype: Any) -> pl.Series:
        return pl.Series([None if draw.random() < 0.1 else value for value in values.tolist()], dtype=dtype)

    return pl.DataFrame(
        {
            "km": column(draw.normal(500, 200, count), pl.Float64),
            "maker": column(draw.choice(["BOEING", "AIRBUS", "EMBRAER", ""], count), pl.String),
            "seats": column(draw.integers(2, 400, count), pl.Int64),
            "origin": column(draw.choice(["EWR", "JFK"], count), pl.String),
            "full": column(draw.random(count), pl.Float32),
        }
    )


SEEN = some(600)
WHOLE = SEEN.drop_nulls().head(64)
TRUTH = SEEN["km"].fill_null(0).to_numpy() + 90 * (SEEN["maker"].fill_null("") == "BOEING").to_numpy()


@pytest.fixture(scope="module")
def made(needs) -> dict[str, Any]:
    """What train() may return, by name."""
    needs("libgomp1")
    from lightgbm import LGBMClassifier, LGBMRegressor

    classes = np.digitize(TRUTH, np.quantile(TRUTH, [0.3, 0.7]))
    alone = LGBMRegressor(**SMALL).fit(SEEN.select(NUMBERS).to_numpy(), TRUTH)
    return {
        "binary": coded(LGBMClassifier(**SMALL)).fit(SEEN, classes == 2),
        "classes": coded(LGBMClassifier(**SMALL), unknown_value=-5, encoded_missing_value=-9).fit(SEEN, classes),
        "numbers": coded(LGBMRegressor(**SMALL)).fit(SEEN, TRUTH),
        "numbers alone": alone,
        "booster": alone.booster_,
    }


def coded(trees: Any, **options: Any) -> Any:
    """Trees behind the usual coding of texts."""
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    usual = {"handle_unknown": "use_encoded_value", "unknown_value": np.nan, "encoded_missing_value": np.nan}
    codes = OrdinalEncoder(**usual | options)
    return make_pipeline(make_column_transformer((codes, TEXTS), remainder="passthrough"), trees)


def said(model: Any, x: pl.DataFrame) -> Any:
    """What the object itself says."""
    given = x if hasattr(model, "steps") else x.to_numpy()
    return model.predict_proba(given) if hasattr(model, "predict_proba") else model.predict(given)


def of(model: Any, x: pl.DataFrame) -> pl.DataFrame:
    """The features that it was trained on."""
    return x if hasattr(model, "steps") else x.select(NUMBERS)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), count=st.integers(1, 70), text=st.none() | st.text(max_size=4))
def test_the_booster_says_what_the_object_says(made, name: str, seed: int, count: int, text: str | None) -> None:
    """Bit for bit, of any rows: with nulls, and with texts that training never saw."""
    model = made[name]
    native = recognised(model, of(model, SEEN.head(64)), lambda x: said(model, x))
    maker = pl.when(pl.col("km") > 500).then("maker").otherwise(pl.lit(text, pl.String))
    x = of(model, some(count, seed).with_columns(maker=maker))

    assert native is not None
    assert native.fits(x)
    assert np.array_equal(native(x), said(model, x))


def test_what_is_not_recognised_is_left_to_itself(made) -> None:
    """Another model, another coding, a step between, or texts that nothing codes: there is no short way."""
    from lightgbm import LGBMRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scaled = make_pipeline(StandardScaler(), LGBMRegressor(**SMALL)).fit(SEEN.select(NUMBERS), TRUTH)
    strict = coded(LGBMRegressor(**SMALL), handle_unknown="error", unknown_value=None).fit(SEEN, TRUTH)

    for model, x in ((scaled, SEEN.select(NUMBERS)), (strict, SEEN), (made["booster"], SEEN), (object(), SEEN)):
        assert recognised(model, x.head(64), lambda x, model=model: model.predict(x)) is None


def test_another_answer_to_a_null_or_an_unseen_text_is_found(made) -> None:
    """A short way that errs only on rows that the sample does not have is not taken."""
    model = made["classes"]
    right = recognised(model, WHOLE, lambda x: said(model, x))
    assert right is not None
    without_null = {name: {k: v for k, v in codes.items() if k is not None} for name, codes in right.codes.items()}

    for wrong in (replace(right, unseen=99.0), replace(right, codes=without_null)):
        assert np.array_equal(wrong(WHOLE), said(model, WHOLE))
        assert not agrees(wrong, WHOLE, lambda x: said(model, x))


def test_an_object_that_refuses_nulls_keeps_its_refusal(made) -> None:
    """Where what train() returned raises, the booster must not answer in its place."""

    def refuses(x: pl.DataFrame) -> Any:
        if sum(x.null_count().row(0)):
            raise ValueError("null")
        return said(made["numbers"], x)

    assert recognised(made["numbers"], WHOLE, refuses) is None


def test_features_of_other_types_do_not_fit(made) -> None:
    """The short way was tried for these columns and types only."""
    native = recognised(made["numbers"], SEEN.head(64), lambda x: said(made["numbers"], x))

    assert native is not None
    assert not native.fits(SEEN.with_columns(pl.col("seats").cast(pl.Float64)))
    assert not native.fits(SEEN.drop("seats"))


@pytest.mark.parametrize("name", NAMES)
def test_there_is_no_reason_against_what_is_recognised(made, name) -> None:
    """What is called natively has no reason why it is not."""
    x = of(made[name], WHOLE)

    assert why_unrecognised(made[name], x, lambda rows: said(made[name], rows)) == ""


def test_the_reason_says_what_is_in_the_way(made) -> None:
    """Another kind of model, columns of another kind, or other answers."""
    x, dated = WHOLE, WHOLE.with_columns(km=pl.lit(None, dtype=pl.Date))

    assert "it is Other;" in why_unrecognised(Other(), x, lambda rows: rows)
    assert "columns of numbers" in why_unrecognised(made["binary"], dated, lambda rows: rows)
    assert "other answers" in why_unrecognised(made["binary"], x, lambda rows: said(made["binary"], rows) + 1.0)


class Other:
    """No model that perene knows."""


THREADS = """
from pathlib import Path
import numpy as np
import polars as pl
from lightgbm import LGBMRegressor
from perene.pipelines.native import recognised

def threads():
    return sum("python" in task.joinpath("comm").read_text() for task in Path("/proc/self/task").iterdir())

x = pl.DataFrame({"a": np.arange(5000.0), "b": np.arange(5000.0)[::-1]})
model = LGBMRegressor(n_estimators=5, n_jobs=1, verbose=-1).fit(x.to_numpy(), x["a"].to_numpy() % 7)
before = threads()
assert recognised(model, x, lambda x: model.predict(x.to_numpy())) is not None
print(threads() - before)
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one processor, which is all that anything takes")
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="there is no /proc to count threads in")
def test_the_booster_takes_no_more_threads_than_the_object(needs) -> None:
    """n_jobs=1 holds past scikit-learn's layers too: servers beside each other share their processors."""
    needs("libgomp1")
    alone = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}

    command = [sys.executable, "-c", THREADS]
    more = subprocess.run(command, env=alone, capture_output=True, text=True, check=True).stdout

    assert int(more) == 0
