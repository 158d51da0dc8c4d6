"""Post steps: from the model's output to the answer, in order, row by row, never one row alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime

from perene import Label, Model, Row
from perene.definition.posts import apply_posts
from perene.errors import DeclarationError

START = datetime(2026, 1, 1, tzinfo=UTC)


class Parcel(Row):
    """A parcel."""

    number: int
    sent_at: AwareDatetime
    grams: float


def rows_of(count: int) -> pl.DataFrame:
    numbers = range(count)
    return pl.DataFrame(
        {
            "number": numbers,
            "sent_at": [START + timedelta(hours=n) for n in numbers],
            "grams": [100.0 + n * 7 for n in numbers],
        },
        schema=dict(model_with().schema.polars),
    )


def features(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(kilograms=pl.col("grams") / 1000)


def model_with(*posts: Callable[..., Any], label: object = float) -> Model:
    return Model(
        "m", row=Parcel, key="number", at="sent_at", label=Label("hours", label), train_on="20d", test_on="10d",
        features=features, post=posts,
    )  # fmt: skip


def answers(model: Model, raw: object, count: int | None = None) -> tuple[list[list[object]], list[object]]:
    """The steps and the answer for raw output, as plain values."""
    array = np.asarray(raw, dtype=np.float64)
    steps, final = apply_posts(model, rows_of(len(array) if count is None else count), array)
    return [step.tolist() for step in steps], final.tolist()


def refusal(model: Model, raw: object) -> str:
    with pytest.raises(DeclarationError) as caught:
        answers(model, raw)
    (mistake,) = caught.value.mistakes
    assert "test_posts.py:" in mistake.where
    return mistake.what


# ── what steps give ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_steps_the_raw_output_is_the_answer() -> None:
    """And no step is told."""
    assert answers(model_with(), [1.0, 2.0]) == ([], [1.0, 2.0])


def test_each_step_gets_what_the_one_before_gave() -> None:
    """In the order of declaration; each output is kept, and the last is the answer."""

    def double(p):
        return p * 2

    def capped(rows, p):
        return np.minimum(p, rows["grams"].to_numpy() / 100)

    steps, final = answers(model_with(double, capped), [0.25, 3.0])

    assert steps == [[0.5, 6.0], [0.5, 1.07]]
    assert final == [0.5, 1.07]


def test_a_step_may_ask_for_rows_features_and_times() -> None:
    """In the frames that it names; it sees the Row's columns and no others."""
    seen: dict[str, object] = {}

    def look(p: pl.Series, x: pl.DataFrame, rows: pl.DataFrame, at: npt.NDArray[np.datetime64]):
        seen.update(columns=rows.columns, features=x.columns, at=at.dtype, p=type(p))
        return p + x["kilograms"]

    model = model_with(look)
    rows = rows_of(2).with_columns(extra=pl.lit(1))

    _, final = apply_posts(model, rows, np.asarray([1.0, 2.0]))

    assert final.tolist() == [1.1, 2.107]
    assert seen == {
        "columns": ["number", "sent_at", "grams"], "features": ["kilograms"], "at": np.dtype("datetime64[us]"),
        "p": pl.Series,
    }  # fmt: skip


def odd_sevenths(rows: pl.DataFrame, p: pl.Series) -> pl.Series:
    return p / 7 + rows["grams"] / 7


def share_of_all(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return p / 3


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
@settings(deadline=None)
def test_a_row_is_answered_alone_as_in_a_batch(raw) -> None:
    """Cell for cell, though polars computes a column of one row in another way."""
    model = model_with(odd_sevenths, share_of_all)
    rows = rows_of(len(raw))
    steps, final = apply_posts(model, rows, np.asarray(raw))

    for n in range(len(raw)):
        alone_steps, alone = apply_posts(model, rows[n : n + 1], np.asarray(raw[n : n + 1]))
        assert alone.tolist() == final[n : n + 1].tolist()
        assert [step.tolist() for step in alone_steps] == [step[n : n + 1].tolist() for step in steps]


def test_no_step_gets_one_row_alone() -> None:
    """A single row comes twice, with everything that belongs to it, and is answered once."""
    heights: list[tuple[int, ...]] = []

    def count(rows, x, p, at):
        heights.append((rows.height, x.height, len(p), len(at)))
        return p

    steps, final = answers(model_with(count), [1.0])

    assert heights == [(2, 2, 2, 2)]
    assert (steps, final) == ([[1.0]], [1.0])


def test_no_rows_run_no_step() -> None:
    """Nothing in, nothing out; user code is not called for it."""

    def fails(p):
        raise AssertionError

    steps, final = answers(model_with(fails, fails), [])

    assert (steps, final) == ([[], []], [])


# ── the answer's type ────────────────────────────────────────────────────────────────────────────────────────────────


def as_words(p: npt.NDArray[np.float64]) -> list[str]:
    return ["high" if value > 1 else "low" for value in p]


def as_numpy_words(p) -> npt.NDArray[np.str_]:
    return np.where(p > 1, "high", "low")


def as_polars_words(p: pl.Series) -> list[str]:
    return pl.select(pl.when(p > 1).then(pl.lit("high")).otherwise(pl.lit("low"))).to_series()  # type: ignore[return-value]


def is_high(p) -> npt.NDArray[np.bool_]:
    return p > 1


def whole(p) -> npt.NDArray[np.int64]:
    return np.round(p).astype(np.int32)  # type: ignore[return-value]


def as_float(p) -> npt.NDArray[np.float64]:
    return p.astype(np.float32)


@pytest.mark.parametrize(
    ("post", "expected"),
    [
        (as_words, ["low", "high"]),
        (as_numpy_words, ["low", "high"]),
        (as_polars_words, ["low", "high"]),
        (is_high, [False, True]),
        (whole, [0, 2]),
        (as_float, [0.5, 2.0]),
    ],
)
def test_the_last_step_may_give_another_type(post, expected) -> None:
    """The one that its return annotation names, whatever holds it; values are of Python's plain types."""
    model = model_with(share_of_all, post)

    _, final = answers(model, [1.5, 6.0])

    assert final == expected
    assert [type(value) for value in final] == [type(value) for value in expected]
    assert pl.Series(final, dtype=model.answer_dtype).to_list() == expected


CLASSES = Literal["lost", "late", "came"]


def flattened(p) -> npt.NDArray[np.float64]:
    return (p + 1) / (p + 1).sum(axis=1, keepdims=True)


def as_lists(p: pl.Series) -> pl.Series:
    return pl.Series(p.to_list())


def best(p) -> list[str]:
    return [("lost", "late", "came")[n] for n in p.argmax(axis=1)]


def certainty(p) -> list[float]:
    return p.max(axis=1)


def first_two(p) -> list[list[float]]:
    return p[:, :2]


@pytest.mark.parametrize(
    ("post", "expected"),
    [
        (flattened, [[0.3, 0.3, 0.4], [0.45, 0.275, 0.275]]),
        (as_lists, [[0.2, 0.2, 0.6], [0.8, 0.1, 0.1]]),
        (best, ["came", "lost"]),
        (certainty, [0.6, 0.8]),
        (first_two, [[0.2, 0.2], [0.8, 0.1]]),
    ],
)
def test_steps_of_classes(post, expected) -> None:
    """A step of a multiclass model gets a probability for each class, and may give a value for each row."""
    model = model_with(post, label=CLASSES)
    raw = [[0.2, 0.2, 0.6], [0.8, 0.1, 0.1]]

    both = [answers(model, raw)[1], answers(model, raw[:1])[1] + answers(model, raw[1:])[1]]

    for final in both:
        back = pl.Series(final, dtype=model.answer_dtype).to_list()
        assert np.asarray(back).shape == np.asarray(expected).shape
        assert np.asarray(back).ravel().tolist() == pytest.approx(np.asarray(expected).ravel().tolist())


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


def too_few(p):
    return p[:-1]


def one_for_all(p):
    return p.mean()


def columns(p):
    return p[:, None]


def float_columns(p) -> npt.NDArray[np.float64]:
    return p[:, None]


def text_columns(p) -> list[str]:
    return np.asarray([["a"]] * len(p), dtype=object)  # type: ignore[return-value]


def flag_columns(p) -> npt.NDArray[np.bool_]:
    return p[:, None] > 0


def flat_lists(p) -> list[list[float]]:
    return p


def ragged(p) -> list[list[float]]:
    return [[1.0] * (n + 1) for n in range(len(p))]


def words_undeclared(p):
    return ["1.5"] * len(p)


def days(p):
    return np.asarray(["2026-01-01"] * len(p), dtype="datetime64[D]")


def texts_and_nothing(p) -> list[str]:
    return ["a", None][: len(p)]  # type: ignore[list-item]


def numbers_for_words(p) -> list[str]:
    return p


def floats_for_flags(p) -> npt.NDArray[np.bool_]:
    return p


def floats_for_whole(p) -> npt.NDArray[np.int64]:
    return p


@pytest.mark.parametrize(
    ("post", "says"),
    [
        (too_few, "returned 1 values for 2 rows"),
        (one_for_all, "returned one value for all rows"),
        (columns, "returned shape (2, 1), not (2,)"),
        (float_columns, "returned shape (2, 1), not (2,)"),
        (text_columns, "returned shape (2, 1), not (2,)"),
        (flag_columns, "returned shape (2, 1), not (2,)"),
        (flat_lists, "returned shape (2,), not (2, 1)"),
        (ragged, "lists of different lengths"),
        (words_undeclared, "returned object, not numbers"),
        (days, "returned datetime64[D], not numbers"),
        (texts_and_nothing, "declares String answers, but returned object"),
        (numbers_for_words, "declares String answers, but returned float64"),
        (floats_for_flags, "declares Boolean answers, but returned float64"),
        (floats_for_whole, "declares Int64 answers, but returned float64"),
    ],
)
def test_a_step_that_gives_something_else_is_refused(post, says) -> None:
    """With its name and line, and what it gave; nothing is turned into something else in silence."""
    said = refusal(model_with(post), [1.0, 2.0])

    assert says in said
    assert post.__name__ in said


def test_a_step_before_the_last_keeps_the_shape() -> None:
    """Only the last may make one value of a row's several."""
    said = refusal(model_with(certainty, flattened, label=CLASSES), [[1.0, 0, 0]] * 2)

    assert "returned shape (2,), not (2, 3)" in said
