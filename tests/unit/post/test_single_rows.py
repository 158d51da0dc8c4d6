"""Removals where single rows are answered: another answer in place of the prediction, and the reason beside it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AwareDatetime

from perene import Label, Model, Row, post
from perene.definition.posts import apply_posts, remove_rows

START = datetime(2026, 1, 1, tzinfo=UTC)


class Loan(Row):
    """A loan that is asked for."""

    person: str
    asked_at: AwareDatetime
    age: int
    risk: float | None = None


def model_with(*steps, label=float) -> Model:
    return Model(
        "m", row=Loan, key="person", at="asked_at", label=Label("y", label), train_on="20d", test_on="10d",
        examples="log", features=lambda rows: rows.select("age"), train=lambda x, y: None, post=steps,
    )  # fmt: skip


def rows_of(ages) -> pl.DataFrame:
    return pl.DataFrame(
        [{"person": f"p{n}", "asked_at": START + timedelta(hours=n), "age": a, "risk": a / 100} for n, a in
         enumerate(ages)],
        schema=dict(model_with().schema.polars),
    )  # fmt: skip


def answered(model, ages, raw) -> tuple[list[object], list[str | None]]:
    assert model.mistakes == []
    rows = rows_of(ages)
    _, values = apply_posts(model, rows, np.asarray(raw, dtype=np.float64))
    steps, removed = remove_rows(model, rows, values)
    return steps[-1].tolist(), removed


MINORS = post.block(when=pl.col("age") < 18, reason="minors get no credit", instead=0)


@given(st.lists(st.tuples(st.integers(0, 99), st.floats(-1e6, 1e6)), min_size=1, max_size=9))
def test_a_removed_row_is_answered_instead(asked) -> None:
    """With the reason beside it; every other row is answered as without the step, alone as in a batch."""
    model = model_with(post.clip(-100, 100), MINORS)
    ages, raw = [age for age, _ in asked], [x for _, x in asked]

    final, removed = answered(model, ages, raw)

    assert final == [0 if age < 18 else min(max(x, -100), 100) for age, x in asked]
    assert removed == ["minors get no credit" if age < 18 else None for age in ages]
    alone = [answered(model, [age], [x]) for age, x in asked]
    assert alone == [([one], [why]) for one, why in zip(final, removed, strict=True)]


@pytest.mark.parametrize(
    ("label", "before", "instead", "raw", "expected"),
    [
        (bool, [post.threshold()], False, [0.9, 0.9, 0.1], [False, True, False]),
        (float, [post.round()], -1, [1.4, 1.6, 2.5], [-1, 2, 2]),
        (Literal["a", "b"], [], [0.5, 0.5], [[1, 0], [1, 0], [0, 1]], [[0.5, 0.5], [1, 0], [0, 1]]),
    ],
)
def test_what_is_answered_instead_is_of_the_answers_type(label, before, instead, raw, expected) -> None:
    """True or false, integers, or a probability for each class."""
    block = post.block("person", ids=["p0"], reason="asked not to be judged", instead=instead)

    final, removed = answered(model_with(*before, block, label=label), [40, 50, 60], raw)

    assert final == expected
    assert [type(value) for value in final] == [type(value) for value in expected]
    assert removed == ["asked not to be judged", None, None]


def as_words(p) -> list[str]:
    return ["high" if value > 1 else "low" for value in p]


def test_texts_are_answered_instead_of_texts() -> None:
    """A step that names another type of answer comes before the removal."""
    model = model_with(as_words, post.block("person", ids=["p1"], reason="law", instead="none"))

    assert answered(model, [40, 50], [5.0, 5.0]) == (["high", "none"], [None, "law"])


def test_of_two_removals_the_first_holds() -> None:
    """Its reason is told, and its answer given."""
    unsafe = post.filter("risk", above=0.15, reason="too risky", instead=9, name="risky")

    final, removed = answered(model_with(unsafe, MINORS), [17, 10, 40], [1.0, 1.0, 1.0])

    assert final == [9, 0, 9]
    assert removed == ["too risky", "minors get no credit", "too risky"]


def test_a_removal_by_what_the_model_said() -> None:
    """A function that names p gets the answers so far, of one row as of many."""
    model = model_with(post.clip(0, 1), post.filter(lambda p: p, below=0.5, reason="unsure", instead=0))

    assert answered(model, [40, 50], [0.2, 7.0]) == ([0, 1], ["unsure", None])
    assert answered(model, [40], [0.2]) == ([0], ["unsure"])


def test_only_what_must_hold_later_is_done_again() -> None:
    """To a stored answer a filter is not done twice; a block is, and by what holds now."""
    unsafe = post.filter("risk", above=0.15, reason="too risky", instead=9, name="risky")
    rows = rows_of([40, 10])

    steps, removed = remove_rows(model_with(unsafe, MINORS), rows, np.asarray([5.0, 5.0]), again=True)

    assert [step.tolist() for step in steps] == [[5.0, 0.0]]
    assert removed == [None, "minors get no credit"]


def test_nothing_comes_after_a_removal() -> None:
    """A later step would change what is answered instead."""
    unsafe = post.filter("risk", above=0.15, reason="too risky", instead=9, name="risky")

    (mistake,) = model_with(unsafe, post.clip(0, 1)).mistakes

    assert "post clip comes after risky, which says what is answered instead" in mistake.what


def test_without_rows_nothing_is_removed() -> None:
    """Nothing in, nothing out."""
    steps, removed = remove_rows(model_with(MINORS), rows_of([]), np.empty(0))

    assert ([step.tolist() for step in steps], removed) == ([[]], [])
