"""LightGBM called at its booster, past scikit-learn's layers around it: a batch of 64 rows takes half the time, one row
a tenth. It is used only where it gave the very answers of what train() returned, with nulls and unseen texts too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

Predict = Callable[[pl.DataFrame], NDArray[np.float64]]
_UNSEEN = "\N{REPLACEMENT CHARACTER} never seen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Native:
    """A booster, and how its matrix is made of features: the columns in their order, the first of them coded.

    ``names`` and ``dtypes`` are those of the features (a comparison of schemas takes ten times as long).

    ``codes`` gives for each coded column the number of each text and of null; a text that is not there is ``nan``.
    ``is_pair`` says that the booster's answer is the second of two probabilities. ``options`` are how many threads it
    may take, where the object says so.
    """

    booster: Any
    names: list[str]
    dtypes: list[pl.DataType]
    codes: Mapping[str, Mapping[str | None, float]]
    numbers: Sequence[str]
    unseen: float
    is_pair: bool
    options: Mapping[str, int]

    def fits(self, features: pl.DataFrame) -> bool:
        """Whether these are the columns that it was made for."""
        return features.columns == self.names and features.dtypes == self.dtypes

    def __call__(self, features: pl.DataFrame) -> NDArray[np.float64]:
        """What ``predict_proba``, or ``predict`` where there is none, says of features."""
        matrix = np.empty((features.height, len(self.codes) + len(self.numbers)))
        for place, (name, codes) in enumerate(self.codes.items()):
            get, unseen = codes.get, self.unseen
            matrix[:, place] = [get(text, unseen) for text in features.get_column(name).to_list()]
        for place, name in enumerate(self.numbers, start=len(self.codes)):
            matrix[:, place] = features.get_column(name).to_numpy()
        said: NDArray[np.float64] = self.booster.predict(matrix, **self.options)
        return np.column_stack((1.0 - said, said)) if self.is_pair else said


def recognised(fitted: Any, features: pl.DataFrame, predict: Predict) -> Native | None:
    """The short way of a fitted object, if there is one and it gives the answers of ``predict``, bit for bit.

    Args:
        features: some rows' features; they are also tried with nulls and unseen texts in each column.
        predict: what the object says of features, unchanged.
    """
    native = _read(fitted, features.schema)
    return native if native is not None and agrees(native, features, predict) else None


def why_unrecognised(fitted: Any, features: pl.DataFrame, predict: Predict) -> str:
    """Why ``recognised`` knows no short way; empty where it knows one."""
    trees = fitted.steps[-1][1] if _is(fitted, "sklearn", "Pipeline") else fitted
    native = _read(fitted, features.schema)
    if native is not None:
        return "" if agrees(native, features, predict) else "its booster gives other answers, or refuses nulls"
    if type(trees).__module__.partition(".")[0] != "lightgbm":
        return f"it is {type(trees).__name__}; LightGBM is called natively"
    return "LightGBM is called natively on columns of numbers, and on texts that an OrdinalEncoder codes"


def agrees(native: Native, features: pl.DataFrame, predict: Predict) -> bool:
    """Whether it says of features, and of spoilt ones, exactly what ``predict`` says; not where either refuses them."""
    try:
        return all(
            np.array_equal(native(tried), predict(tried), equal_nan=True)
            for tried in (features, features.head(1), _spoilt(features))
        )
    except Exception:  # noqa: BLE001 - the edge to the user's object: what it refuses is left to it
        return False


def _spoilt(features: pl.DataFrame) -> pl.DataFrame:
    """The features with each column null in turn, each text unseen in turn, and everything null."""
    texts = [name for name, dtype in features.schema.items() if dtype == pl.String]
    nothing = {name: pl.lit(None, dtype=dtype).alias(name) for name, dtype in features.schema.items()}
    parts = [features.with_columns(column) for column in nothing.values()]
    parts += [features.with_columns(pl.lit(text).alias(name)) for name in texts for text in (_UNSEEN, "")]
    return pl.concat([*parts, features.with_columns(nothing.values())]).rechunk()


def _read(fitted: Any, schema: pl.Schema) -> Native | None:
    """What a fitted object is made of, if it is LightGBM, alone or behind scikit-learn's coding of texts."""
    coder, trees = None, fitted
    if _is(fitted, "sklearn", "Pipeline") and len(fitted.steps) == 2:
        coder, trees = (step for _, step in fitted.steps)
    is_classifier = _is(trees, "lightgbm", "LGBMClassifier")
    if not is_classifier and not _is(trees, "lightgbm", "LGBMRegressor", "LGBMRanker", "Booster"):
        return None
    columns = _columns(coder, list(schema))
    if columns is None:
        return None
    codes, numbers, unseen = columns
    if any(schema[name] != pl.String for name in codes) or not all(_is_number(schema[name]) for name in numbers):
        return None
    return Native(
        booster=trees if _is(trees, "lightgbm", "Booster") else trees.booster_, names=schema.names(),
        dtypes=schema.dtypes(), codes=codes, numbers=numbers, unseen=unseen,
        is_pair=is_classifier and trees.n_classes_ <= 2, options=_threads(getattr(trees, "n_jobs", None)),
    )  # fmt: skip


def _threads(jobs: int | None) -> dict[str, int]:
    """As scikit-learn counts jobs; by default the booster takes a thread per processor, whatever the object says."""
    return {"num_threads": jobs} if jobs is not None and jobs > 0 else {}


def _columns(coder: Any, names: list[str]) -> tuple[dict[str, dict[str | None, float]], list[str], float] | None:
    """The coded columns with their codes, the others in their order, and the code of unseen texts."""
    if coder is None:
        return {}, names, nan
    if not _is(coder, "sklearn", "ColumnTransformer"):
        return None
    (_, encoder, coded), *rest = coder.transformers_
    if not _is(encoder, "sklearn", "OrdinalEncoder") or encoder.handle_unknown != "use_encoded_value":
        return None
    if not all(_passes(other) for _, other, _ in rest):
        return None
    texts, kept = _names([coded], names), _names([columns for *_, columns in rest], names)
    if kept is None or texts is None or len(texts) != len(encoder.categories_):
        return None
    codes = {name: _codes(encoder, seen) for name, seen in zip(texts, encoder.categories_, strict=True)}
    return codes, kept, float(encoder.unknown_value)


def _codes(encoder: Any, seen: Sequence[Any]) -> dict[str | None, float]:
    """The code of each text, and of null where training saw one; NaN has a code of its own among them."""
    missing = float(encoder.encoded_missing_value)
    return {
        None if value != value else value: missing if value != value else float(code) for code, value in enumerate(seen)
    }


def _passes(transformer: Any) -> bool:
    """Whether columns come out of it as they went in."""
    is_identity = _is(transformer, "sklearn", "FunctionTransformer") and transformer.func is None
    return is_identity or (isinstance(transformer, str) and transformer == "passthrough")


def _names(groups: Sequence[Any], names: list[str]) -> list[str] | None:
    """Columns by name, whether they are given by name or by place; None for those given otherwise."""
    if not all(isinstance(columns, list) for columns in groups):
        return None
    return [names[column] if isinstance(column, int) else str(column) for columns in groups for column in columns]


def _is_number(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype == pl.Boolean


def _is(value: Any, package: str, *names: str) -> bool:
    kind = type(value)
    return kind.__name__ in names and kind.__module__.partition(".")[0] == package
