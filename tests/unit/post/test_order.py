"""Re-rank, diversify and top: the order of a ranking, and its end."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perene import post

TOPICS = st.sampled_from(["news", "sport", "music", None])
groups = st.lists(st.tuples(st.floats(0, 1), TOPICS, st.floats(-5, 5)), max_size=9)


def group_of(asked, *, removed=()) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows and items, best first; those that are taken out last."""
    rows = pl.DataFrame(
        {"topic": [topic for _, topic, _ in asked], "fresh": [fresh for _, _, fresh in asked]},
        schema={"topic": pl.String, "fresh": pl.Float64},
    )
    items = pl.DataFrame(
        {
            "item": range(len(asked)),
            "score": [score for score, _, _ in asked],
            "removed": ["gone" if n in removed else None for n in range(len(asked))],
        },
        schema={"item": pl.UInt32, "score": pl.Float64, "removed": pl.String},
    )
    return rows, items.sort(pl.col("removed").is_not_null(), -pl.col("score"), maintain_order=True)


def by_the_book(items, like, balance) -> list[int]:
    """Maximal marginal relevance, written as its formula."""
    left, chosen = items.rows(), []
    while left:
        worth = [
            balance * score - (1 - balance) * max((like(item, other) for other in chosen), default=0.0)
            for item, score, _ in left
        ]
        chosen.append(left.pop(worth.index(max(worth)))[0])
    return chosen


# ── rerank ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(groups)
def test_rerank_orders_by_the_key_highest_first(asked) -> None:
    """Equal keys lie as they lay, and scores stay."""
    rows, items = group_of(asked)

    after = post.rerank("fresh")(rows=rows, items=items)

    assert after["item"].to_list() == sorted(items["item"], key=lambda item: -asked[item][2])
    assert sorted(after.rows()) == sorted(items.rows())


def test_rerank_by_a_function_of_rows_and_scores() -> None:
    """It gets the scores in the order of the rows."""
    rows, items = group_of([(0.2, None, 5.0), (0.9, None, 1.0), (0.5, None, 1.5)])

    after = post.rerank(lambda rows, p: p * rows["fresh"].to_numpy())(rows=rows, items=items)

    assert after["item"].to_list() == [0, 1, 2]


def test_what_has_no_key_comes_last() -> None:
    """Null and NaN, in the order in which they lay; what was removed comes after them."""
    rows, items = group_of([(0.9, None, None), (0.8, None, math.nan), (0.7, None, 1.0), (1.0, None, 9.0)], removed=[3])

    assert post.rerank("fresh")(rows=rows, items=items)["item"].to_list() == [2, 0, 1, 3]


# ── diversify ────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(groups, st.sampled_from([0.0, 0.3, 0.5, 0.9]))
def test_diversify_is_maximal_marginal_relevance(asked, balance) -> None:
    """By category: items are alike when they have the same; null is like nothing."""
    rows, items = group_of(asked)

    def like(one, other) -> float:
        return float(asked[one][1] == asked[other][1] is not None)

    after = post.diversify(balance, by="topic")(rows=rows, items=items)

    assert after["item"].to_list() == by_the_book(items, like, balance)
    assert sorted(after.rows()) == sorted(items.rows())


@given(groups)
def test_by_score_alone_nothing_changes(asked) -> None:
    """A balance of 1 is the order that was."""
    rows, items = group_of(asked)

    assert post.diversify(1.0, by="topic")(rows=rows, items=items).rows() == items.rows()


@given(st.lists(st.floats(0, 1), max_size=9), st.floats(0, 1))
def test_items_that_are_all_alike_stay_by_score(scores, balance) -> None:
    """There is nothing to mix; of scores that the balance makes equal the first stays first."""
    rows, items = group_of([(round(score, 3), "news", 0.0) for score in scores])

    after = post.diversify(max(balance, 0.01), by="topic")(rows=rows, items=items)

    assert after["item"].to_list() == items["item"].to_list()


def test_several_fields_count_by_their_share() -> None:
    """Two of two equal fields are more alike than one."""
    rows = pl.DataFrame({"topic": ["a", "a", "a", "b"], "channel": [1, 1, 2, 2]})
    _, items = group_of([(0.9, None, 0), (0.8, None, 0), (0.75, None, 0), (0.3, None, 0)])

    after = post.diversify(0.7, by=["topic", "channel"])(rows=rows, items=items)

    # 0.56 − 0.3, 0.525 − 0.15, 0.21 − 0 in the second place; 0.56 − 0.3 and 0.21 − 0.15 in the third
    assert after["item"].to_list() == [0, 2, 1, 3]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(-9, 9), st.floats(-9, 9)), max_size=7))
def test_vectors_are_alike_by_the_cosine_of_their_angle(asked) -> None:
    """However long they are; one of zeros is like nothing."""
    asked = [(round(score, 2), round(x, 1), round(y, 1)) for score, x, y in asked]
    rows = pl.DataFrame([{"x": x, "y": y} for _, x, y in asked], schema={"x": pl.Float64, "y": pl.Float64})
    _, items = group_of([(score, None, 0.0) for score, _, _ in asked])

    def like(one, other) -> float:
        (_, a, b), (_, c, d) = asked[one], asked[other]
        lengths = math.hypot(a, b) * math.hypot(c, d)
        return (a * c + b * d) / lengths if lengths else 0.0

    after = post.diversify(0.5, vector=["x", "y"])(rows=rows, items=items)

    worth = [marginal(order, items, like) for order in (after["item"].to_list(), by_the_book(items, like, 0.5))]
    assert worth[0] == pytest.approx(worth[1])


def marginal(order, items, like) -> list[float]:
    """What each item of an order was worth when its place came."""
    scores = dict(items.select("item", "score").rows())
    return [
        0.5 * scores[item] - 0.5 * max((like(item, other) for other in order[:n]), default=0.0)
        for n, item in enumerate(order)
    ]


def test_vectors_of_any_length_can_be_compared() -> None:
    """Neither huge nor tiny numbers become infinite or nothing."""
    rows = pl.DataFrame({"x": [1e300, 1e-300, 0.0], "y": [1e300, 1e-300, None]})
    _, items = group_of([(0.9, None, 0), (0.8, None, 0), (0.5, None, 0)])

    assert post.diversify(0.5, vector=["x", "y"])(rows=rows, items=items)["item"].to_list() == [0, 2, 1]


def test_removed_items_take_no_part() -> None:
    """Nothing is unlike them, and they stay last."""
    rows, items = group_of([(0.9, "news", 0), (0.8, "news", 0), (0.7, "sport", 0)], removed=[0])

    assert post.diversify(0.5, by="topic")(rows=rows, items=items)["item"].to_list() == [1, 2, 0]


# ── top ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(groups, st.integers(1, 12), st.sets(st.integers(0, 8)))
def test_top_keeps_the_first_of_those_that_stay(asked, count, removed) -> None:
    """The others go with a reason; those that were gone keep theirs."""
    rows, items = group_of(asked, removed=removed)
    stayed = items.filter(pl.col("removed").is_null())["item"].to_list()

    after = post.top(count)(rows=rows, items=items)

    assert after.filter(pl.col("removed").is_null())["item"].to_list() == stayed[:count]
    reasons = dict(after.select("item", "removed").rows())
    assert [reasons[item] for item in stayed[count:]] == [f"not among the first {count}"] * len(stayed[count:])
    assert {item for item, why in reasons.items() if why == "gone"} == {n for n in removed if n < len(asked)}


def test_steps_of_an_empty_group_give_an_empty_group() -> None:
    """Nothing in, nothing out, with the same columns; so too where everything was removed."""
    steps = [post.rerank("fresh"), post.diversify(0.5, by="topic"), post.diversify(0.5, vector=["fresh"]), post.top(1)]
    for asked, removed in (([], ()), ([(0.5, "news", 1.0)] * 2, (0, 1))):
        rows, items = group_of(asked, removed=removed)

        for step in (*steps, post.boost(lambda rows: np.ones(rows.height), 1.0)):
            after = step(rows=rows, items=items)
            assert after.schema == items.schema
            assert after.rows() == items.rows()
