"""Boost and demote: items of a ranking move by log-odds."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perene import post
from perene.errors import ServingError
from perene.post.moving import moved

scores = st.floats(0, 1)
groups = st.lists(st.tuples(scores, st.sampled_from([True, False, None])), max_size=12)
moves = st.floats(1e-6, 50)


def items_of(values, removed=None) -> pl.DataFrame:
    """A group by score, best first; those that are taken out last."""
    frame = pl.DataFrame(
        {"item": range(len(values)), "score": values, "removed": removed or [None] * len(values)},
        schema={"item": pl.UInt32, "score": pl.Float64, "removed": pl.String},
    )
    return frame.sort(pl.col("removed").is_not_null(), -pl.col("score"), maintain_order=True)


def group_of(asked) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows = pl.DataFrame({"trusted": [flag for _, flag in asked]}, schema={"trusted": pl.Boolean})
    return rows, items_of([score for score, _ in asked])


@given(groups, moves)
def test_a_boost_adds_to_the_log_odds_of_those_it_means(asked, by) -> None:
    """p becomes p·e^by / (p·e^by + 1 − p); the others, and null, stay bit for bit."""
    rows, items = group_of(asked)

    after = post.boost("trusted", by)(rows=rows, items=items)

    for item, score in after.select("item", "score").rows():
        before, is_meant = asked[item]
        odds = before * math.exp(by)
        assert score == (pytest.approx(odds / (odds + 1 - before), rel=1e-9) if is_meant else before)


@given(groups, moves)
def test_a_moved_group_has_each_item_once_and_lies_by_score(asked, by) -> None:
    """Equal scores lie as they lay."""
    rows, items = group_of(asked)

    for step in (post.boost("trusted", by), post.demote("trusted", by)):
        after = step(rows=rows, items=items)

        assert sorted(after["item"]) == list(range(len(asked)))
        place = {item: n for n, item in enumerate(items["item"])}
        keys = [(-score, place[item]) for item, score in after.select("item", "score").rows()]
        assert keys == sorted(keys)


@given(st.lists(scores, min_size=2, max_size=20), st.floats(-700, 700))
def test_what_is_moved_alike_never_changes_its_order(values, by) -> None:
    """Whatever is rounded, the greater stays at least as great."""
    p = np.sort(np.asarray(values))

    assert (np.diff(moved(p, np.full(len(p), by))) >= 0).all()


@given(st.floats(1e-3, 1 - 1e-3), st.floats(1e-3, 10))
def test_demote_takes_a_boost_back(score, by) -> None:
    """The log-odds are where they were."""
    rows, items = group_of([(score, True), (0.5, False)])

    there = post.boost("trusted", by)(rows=rows, items=items)
    back = post.demote("trusted", by)(rows=rows, items=there)

    assert dict(back.select("item", "score").rows())[0] == pytest.approx(score, rel=1e-6)


@pytest.mark.parametrize("by", [0.1, 1e6])
def test_certainty_is_not_moved(by) -> None:
    """A probability of 0 stays 0, and one of 1 stays 1."""
    rows, items = group_of([(0.0, True), (1.0, True)])

    for step in (post.boost("trusted", by), post.demote("trusted", by)):
        assert dict(step(rows=rows, items=items).select("item", "score").rows()) == {0: 0.0, 1: 1.0}


def test_a_number_moves_by_so_many_times_the_log_odds() -> None:
    """Negative ones the other way, null not at all; an expression and a function do the same as a field."""
    rows = pl.DataFrame({"trust": [2.0, -1.0, None]})
    items = items_of([0.5, 0.5, 0.5])

    made = [
        post.boost(what, 0.7)(rows=rows, items=items) for what in ("trust", pl.col("trust"), lambda rows: rows["trust"])
    ]

    for after in made:
        assert after.rows() == made[0].rows()
    found = dict(made[0].select("item", "score").rows())
    assert found == {0: pytest.approx(1 / (1 + math.exp(-1.4))), 1: pytest.approx(1 / (1 + math.exp(0.7))), 2: 0.5}
    assert made[0]["item"].to_list() == [0, 2, 1]


def test_what_was_taken_out_stays_as_it_was() -> None:
    """Last, with its score and its reason."""
    rows, _ = group_of([(0.4, True), (0.3, True), (0.5, False)])
    items = items_of([0.4, 0.3, 0.5], [None, "unsafe", None])

    after = post.boost("trusted", 3.0)(rows=rows, items=items)

    assert after["item"].to_list() == [0, 2, 1]
    assert after.row(2) == (1, 0.3, "unsafe")


@pytest.mark.parametrize("score", [-0.1, 1.5, math.nan])
def test_scores_that_are_no_probabilities_are_refused(score) -> None:
    """Log-odds have no sense for them; the error says what makes probabilities."""
    rows, items = group_of([(score, False), (0.5, True)])

    with pytest.raises(ServingError, match="needs scores between 0 and 1") as caught:
        post.boost("trusted", 1.0)(rows=rows, items=items)

    assert "post.logistic()" in caught.value.mend


def test_a_function_must_give_a_number_for_each_row() -> None:
    """Texts, too few values, and infinite ones are named."""
    rows, items = group_of([(0.2, True), (0.5, True)])

    for what, says in (
        (lambda rows: ["a"] * rows.height, "not numbers"),
        (lambda rows: [1.0], "returned 1 values for 2 rows"),
        (lambda rows: [math.inf, 0.0], "infinite number"),
    ):
        with pytest.raises(ServingError, match=says):
            post.boost(what, 1.0)(rows=rows, items=items)
