"""Hooks: what functions receive, in which frames, and what may come back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from perene.definition.hooks import Hook, read_hook
from perene.errors import DeclarationError

if TYPE_CHECKING:
    import pandas

ROWS = pl.DataFrame({"a": [1.0, 2.0, 3.0], "s": ["x", None, "z"]})
AT = pl.Series("at", [datetime(2013, 1, 1, h, tzinfo=UTC) for h in range(3)], dtype=pl.Datetime("us", "UTC"))


def hook(kind: str, function: Any) -> Hook:
    read, mistakes = read_hook(kind, function, line="m.py:1")
    assert mistakes == []
    assert read is not None
    return read


def mistakes(kind: str, function: Any) -> list[str]:
    return [mistake.what for mistake in read_hook(kind, function, line="m.py:1")[1]]


def received(function: Any) -> Any:
    """What a train hook of this function receives as x, y and at."""
    return hook("train", function)(x=ROWS, y=pl.Series([True, False, True]), at=AT, rows=ROWS, seed=7)


def test_hook_gets_what_its_parameters_name():
    """A function is called with the values that it names, in any order, and no others."""
    assert received(lambda seed, y, x: (seed, len(y), x.height)) == (7, 3, 3)


def test_defaults_are_polars_tables_and_numpy_vectors():
    """Without annotations tables come as polars and vectors as arrays."""
    x, y, at = received(lambda x, y, at: (x, y, at))

    assert isinstance(x, pl.DataFrame)
    assert (y.dtype, at.dtype) == (np.dtype(bool), np.dtype("datetime64[us]"))


def test_text_annotations_choose_the_frame():
    """Annotations under ``from __future__ import annotations`` are texts, and choose the frame all the same."""

    def train(x: pd.DataFrame, y: pd.Series, at: pl.Series, rows: pa.Table) -> Any:
        return x, y, at, rows

    x, y, at, rows = received(train)

    assert isinstance(x, pd.DataFrame)
    assert isinstance(y, pd.Series)
    assert at.dtype == pl.Datetime("us", "UTC")
    assert isinstance(rows, pa.Table)


def test_names_under_type_checking_choose_the_frame():
    """A name that was imported for type checkers only is understood from its text."""

    def train(x: pandas.DataFrame, y: npt.NDArray[np.bool_]) -> Any:
        return x, y

    x, y = received(train)

    assert isinstance(x, pd.DataFrame)
    assert isinstance(y, np.ndarray)


def test_array_of_a_table():
    """A table can be asked for as an array."""
    read = hook("train", _array_train)

    assert read(x=ROWS.select("a"), y=np.zeros(3)).shape == (3, 1)


def _array_train(x: np.ndarray, y: np.ndarray) -> Any:
    return x


def test_pandas_is_not_imported_unasked():
    """Reading and calling hooks that do not name pandas or pyarrow imports neither."""
    code = (
        "import sys; from perene import Model; from perene.definition.hooks import read_hook; import polars as pl\n"
        "hook, _ = read_hook('features', lambda rows: rows, line='')\n"
        "hook(rows=pl.DataFrame({'a': [1]}))\n"
        "assert not {'pandas', 'pyarrow'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_parameters_with_defaults_are_left_alone():
    """A parameter that no hook knows keeps its default."""
    assert hook("features", lambda rows, depth=3: rows.with_columns(d=depth))(rows=ROWS)["d"].to_list() == [3, 3, 3]


def test_callable_objects_are_hooks():
    """An object with __call__ is a hook as a function is."""

    class Cut:
        def __call__(self, rows: pl.DataFrame) -> pl.DataFrame:
            return rows.select("a")

    assert hook("features", Cut())(rows=ROWS).columns == ["a"]


@pytest.mark.parametrize(
    ("kind", "function", "what"),
    [
        ("features", lambda row: row, "features <lambda> asks for row, but can have rows; did you mean rows?"),
        ("features", lambda: None, "features <lambda> does not take rows"),
        (
            "features",
            lambda *rows: rows,
            "features <lambda> takes rows by position; hooks get what their parameters name",
        ),
        ("metric", lambda y: y, "metric <lambda> does not take p"),
        ("source", lambda since: since, "source <lambda> does not take until"),
        ("train", 3, "train: 3 is not a function with a signature"),
    ],
)
def test_wrong_signatures_are_mistakes(kind, function, what):
    """A signature that cannot be called is a mistake that says what the hook can have."""
    assert what in mistakes(kind, function)


def test_wrong_frames_are_mistakes():
    """A frame that a value cannot come in is a mistake."""

    def train(x: pd.Series, y: int) -> None: ...

    assert mistakes("train", train) == [
        "train train wants x as Series; it can be polars.DataFrame, pandas.DataFrame, pyarrow.Table, numpy.ndarray",
        "train train wants y as int; it can be numpy.ndarray, polars.Series, pandas.Series",
    ]


@pytest.mark.parametrize("back", [ROWS, ROWS.lazy(), ROWS.to_pandas(), ROWS.to_arrow()])
def test_features_come_back_as_polars(back):
    """Features of any frame come back as one polars frame, pandas' NaN as null."""
    features = hook("features", lambda rows: back)(rows=ROWS)

    assert features.equals(ROWS)
    assert features.n_chunks() == 1


@pytest.mark.parametrize("back", [np.ones(3), [1, 1, 1], pl.Series([1, 1, 1]), pd.Series([1, 1, 1])])
def test_metrics_come_back_as_floats(back):
    """A metric's values of any kind come back as floats."""
    values = hook("metric", lambda y, p: back)(y=np.ones(3), p=np.ones(3))

    assert values.dtype == np.float64
    assert values.tolist() == [1.0, 1.0, 1.0]


def test_whole_metric_comes_back_as_one_number():
    """A metric over all rows gives one float."""
    whole, _ = read_hook("metric", lambda y, p: np.float32(0.5), line="", whole=True)

    assert whole(y=np.ones(3), p=np.ones(3)) == 0.5


@pytest.mark.parametrize(
    ("back", "names"),
    [
        (pl.Series(["a", None, "b"]), ["a", None, "b"]),
        (pl.Series(["a", None, "b"], dtype=pl.Categorical), ["a", None, "b"]),
        (pd.Series(["a", None, "b"]), ["a", None, "b"]),
        (pd.Series(["a", "a", "b"], dtype="category"), ["a", "a", "b"]),
        ([1, 2, 3], ["1", "2", "3"]),
        (np.array(["a", "b", "c"]), ["a", "b", "c"]),
        (pl.Series([True, False, None]), ["true", "false", None]),
    ],
)
def test_slices_come_back_as_names(back, names):
    """A slice's values of any kind come back as texts."""
    assert hook("slice", lambda rows: back)(rows=ROWS).to_list() == names


@pytest.mark.parametrize(
    ("kind", "back", "what"),
    [
        ("features", ROWS.head(2), "returned 2 values for 3 rows"),
        ("features", {"a": 1}, "returned dict, which is not a frame"),
        ("metric", np.ones(2), "returned 2 values for 3 rows"),
        ("metric", 0.5, "returned float, which holds no values"),
        ("slice", ["a"], "returned 1 values for 3 rows"),
        ("post", None, "returned NoneType, which holds no values"),
    ],
)
def test_wrong_returns_name_the_hook_and_its_line(kind, back, what):
    """A return of another height or kind is refused with the hook's line."""
    call = {"features": lambda rows: back, "slice": lambda rows: back, "post": lambda p: back}
    with pytest.raises(DeclarationError) as refused:
        hook(kind, call.get(kind, lambda y, p: back))(rows=ROWS, y=np.ones(3), p=np.ones(3))

    assert refused.value.mistakes[0].where == "m.py:1"
    assert what in refused.value.mistakes[0].what


def test_errors_of_the_users_code_pass_through():
    """What the user's function raises is not dressed up."""
    with pytest.raises(ZeroDivisionError):
        hook("features", lambda rows: 1 / 0)(rows=ROWS)


def _text(p) -> str: ...
def _texts(p) -> list[str]: ...
def _sequence(p) -> Sequence[int]: ...
def _array(p) -> np.ndarray: ...
def _typed_array(p) -> npt.NDArray[np.bool_]: ...
def _floats(p) -> npt.NDArray[np.float64]: ...
def _list_of_floats(p) -> list[float]: ...
def _lists(p) -> list[list[float]]: ...
def _bare_list(p) -> list: ...
def _bare(p): ...


@pytest.mark.parametrize(
    ("function", "answer"),
    [
        (_text, pl.String()),
        (_texts, pl.String()),
        (_sequence, pl.Int64()),
        (_array, None),
        (_typed_array, pl.Boolean()),
        (_floats, None),
        (_list_of_floats, pl.Float64()),
        (_lists, pl.List(pl.Float64())),
        (_bare_list, pl.List(pl.Float64())),
        (_bare, None),
    ],
)
def test_return_annotation_names_the_answer(function, answer):
    """A post step's return annotation names the type of one answer; an array of anything or of floats names none."""
    assert hook("post", function).answer == answer
