"""Post steps of a ranking: each group on its own, every item once, and what steps may not do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime

from perene import Label, Model, Row
from perene.definition.groups import groups_of, numbered
from perene.definition.posts import given_to_posts
from perene.definition.ranks import Ranked, rank_rows
from perene.errors import DeclarationError, ServingError

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
Steps = Callable[..., Any]


class Shown(Row):
    """A video that may be shown."""

    visit: str
    video: int
    at: AwareDatetime
    trust: float


def model_with(*posts: Steps, group: str | list[str] = "visit") -> Model:
    return Model(
        "m", row=Shown, key=["visit", "video"], at="at", label=Label("watched", bool, group=group), train_on="20d",
        test_on="10d", features=lambda rows: rows.select("trust"), train=lambda x, y: None, post=posts,
    )  # fmt: skip


def rows_of(visits: list[str]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "visit": visits,
            "video": range(len(visits)),
            "at": [NOON] * len(visits),
            "trust": [n / 7 for n in range(len(visits))],
        },
        schema=dict(model_with().schema.polars),
    )


def ranked(model: Model, scores: list[float], visits: list[str] | None = None) -> Ranked:
    rows = rows_of(visits or ["v"] * len(scores))
    return rank_rows(model, groups_of(model, rows), np.asarray(scores), given_to_posts(model, rows))


def refusal(model: Model, scores: list[float]) -> str:
    with pytest.raises(DeclarationError) as caught:
        ranked(model, scores)
    (mistake,) = caught.value.mistakes
    assert "test_ranks.py:" in mistake.where
    return mistake.what


# ── order ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_steps_the_best_score_is_first() -> None:
    """Equal scores stay as they came."""
    assert ranked(model_with(), [1.0, 3.0, 1.0, 2.0]).rank.tolist() == [3, 1, 4, 2]


def test_each_group_has_its_own_first() -> None:
    """Rows of a group need not lie together."""
    made = ranked(model_with(), [1.0, 5.0, 2.0, 4.0, 3.0], ["a", "b", "a", "b", "a"])

    assert made.rank.tolist() == [3, 1, 2, 2, 1]


def test_a_group_is_what_has_the_same_fields_and_time() -> None:
    """One user at two times is two groups; groups are numbered as they first come."""
    model = model_with(group=["visit", "video"])
    rows = rows_of(["b", "a", "b"]).with_columns(video=pl.Series([1, 1, 1]))
    late = rows.with_columns(at=pl.Series([NOON, NOON, NOON + timedelta(hours=1)], dtype=rows["at"].dtype))

    assert groups_of(model, rows).tolist() == [0, 1, 0]
    assert groups_of(model, late).tolist() == [0, 1, 2]


def test_steps_get_the_items_in_their_order_and_the_rows_of_their_group() -> None:
    """item is the place among these rows; score and order are those of the step before; nothing is removed yet."""
    seen: list[tuple[list[int], list[tuple[Any, ...]]]] = []

    def worst_first(items: pl.DataFrame) -> pl.DataFrame:
        return items.reverse()

    def look(rows: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
        seen.append((rows["video"].to_list(), items.rows()))
        return items

    ranked(model_with(worst_first, look), [1.0, 5.0, 2.0, 4.0], ["a", "b", "a", "b"])

    assert seen == [([0, 2], [(0, 1.0, None), (1, 2.0, None)]), ([1, 3], [(1, 4.0, None), (0, 5.0, None)])]


def test_the_order_that_a_step_returns_is_the_answers() -> None:
    """Whatever the scores say."""

    def worst_first(items: pl.DataFrame) -> pl.DataFrame:
        return items.reverse()

    made = ranked(model_with(worst_first), [1.0, 3.0, 2.0])

    assert made.rank.tolist() == [1, 3, 2]
    assert made.score.tolist() == [1.0, 3.0, 2.0]


def test_a_step_of_scores_orders_anew_and_equals_stay_as_they_lay() -> None:
    """It gets the scores in the order of the rows."""

    def worst_first(items: pl.DataFrame) -> pl.DataFrame:
        return items.reverse()

    def halves(rows: pl.DataFrame, p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        assert p.tolist() == [1.0, 3.0, 2.0, 0.0]
        return np.floor(p / 2)

    made = ranked(model_with(worst_first, halves), [1.0, 3.0, 2.0, 0.0])

    assert made.score.tolist() == [0.0, 1.0, 1.0, 0.0]
    assert made.rank.tolist() == [4, 2, 1, 3]


def test_what_is_removed_has_a_reason_and_no_rank() -> None:
    """Wherever it lies; those that stay close ranks."""

    def block(items: pl.DataFrame) -> pl.DataFrame:
        return items.with_columns(removed=pl.when(pl.col("item") == 1).then(pl.lit("by law")))

    made = ranked(model_with(block), [1.0, 3.0, 2.0])

    assert made.rank.tolist() == [2, 0, 1]
    assert made.removed == [None, "by law", None]


def test_each_step_is_told_by_score_and_rank() -> None:
    """Before a removal an item has its rank, after it none."""

    def double(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return 2 * p

    def block(items: pl.DataFrame) -> pl.DataFrame:
        return items.with_columns(removed=pl.when(pl.col("item") == 1).then(pl.lit("by law")))

    first, second = ranked(model_with(double, block), [1.0, 3.0]).steps

    assert first.tolist() == [[2.0, 2.0], [6.0, 1.0]]
    assert second[0].tolist() == [2.0, 1.0]
    assert second[1, 0] == 6.0
    assert np.isnan(second[1, 1])


def test_items_come_in_the_frame_that_the_step_asks_for() -> None:
    """pandas, say."""

    def by_hand(rows: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
        items.loc[items["item"] == 0, "removed"] = "by hand"
        return items.sort_values("score")

    made = ranked(model_with(by_hand), [1.0, 3.0, 2.0])

    assert made.rank.tolist() == [0, 2, 1]
    assert made.removed == ["by hand", None, None]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4)), min_size=1, max_size=12))
def test_a_group_is_ranked_as_if_it_were_alone(drawn: list[tuple[str, int]]) -> None:
    """And each of its items has one place from 1 on, or a reason."""

    def trusted(rows: pl.DataFrame, p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return p + rows.select(pl.col("trust") / pl.col("trust").max().clip(1.0)).to_series().to_numpy()

    def short(items: pl.DataFrame) -> pl.DataFrame:
        return items.with_row_index().with_columns(removed=pl.when(pl.col("index") > 2).then(pl.lit("too far down")))

    visits, scores = [visit for visit, _ in drawn], np.array([float(score) for _, score in drawn])
    model, rows = model_with(trusted, short), rows_of(visits)
    groups = groups_of(model, rows)
    together = rank_rows(model, groups, scores, given_to_posts(model, rows))

    for group in range(groups.max() + 1):
        mine = np.flatnonzero(groups == group)
        part = rows[mine]
        alone = rank_rows(model, groups_of(model, part), scores[mine], given_to_posts(model, part))
        assert together.rank[mine].tolist() == alone.rank.tolist()
        assert together.score[mine].tolist() == alone.score.tolist()
        assert [together.removed[place] for place in mine] == alone.removed
        ranks = together.rank[mine]
        assert sorted(ranks[ranks > 0]) == list(range(1, int((ranks > 0).sum()) + 1))
        assert [rank == 0 for rank in ranks] == [reason is not None for reason in alone.removed]


@settings(deadline=None)
@given(st.lists(st.text(max_size=2), max_size=20))
def test_groups_are_numbered_in_the_order_of_their_first_row(values: list[str]) -> None:
    """Equal values get equal numbers."""
    wanted = [list(dict.fromkeys(values)).index(value) for value in values]

    assert numbered(np.array(values, dtype=object)).tolist() == wanted


# ── what steps may not do ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (lambda items: items.head(2), "lost the item 0"),
        (lambda items: pl.concat([items, items.head(1)]), "has the item 1 twice"),
        (lambda items: items.with_columns(item=pl.col("item") + 1), "made up the item 3, of 3 that there are"),
        (lambda items: items.drop("removed"), "returned a frame without removed"),
        (lambda items: items.with_columns(score=pl.lit("much")), "returned item (UInt32), score (String)"),
        (lambda items: items["score"], "returned Series"),
        (lambda p: p[:1], "returned 1 values for 3 rows"),
        (lambda p: np.stack([p, p], axis=1), "not 3 scores"),
        (lambda p: ["a", "b", "c"], "not 3 scores"),
    ],
)
def test_a_step_that_breaks_the_contract_is_refused(step: Steps, said: str) -> None:
    """With its line, and the item."""
    assert said in refusal(model_with(step), [1.0, 3.0, 2.0])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_no_number_is_an_error(bad: float) -> None:
    """Of the model, of a step of scores and of a step of items."""
    for model, scores in (
        (model_with(), [1.0, bad]),
        (model_with(lambda p: p * bad), [1.0, 2.0]),
        (model_with(lambda items: items.with_columns(score=pl.lit(bad))), [1.0, 2.0]),
    ):
        with pytest.raises(ServingError) as caught:
            ranked(model, scores)
        assert caught.value.code == "no-number"


def mistakes_of(model: Model) -> list[str]:
    return [mistake.what for mistake in model.mistakes]


def test_items_and_groups_need_a_ranking() -> None:
    """A model of single rows cannot give them to its hooks."""

    def rerank(items: pl.DataFrame) -> pl.DataFrame:
        return items

    def ndcg(y: Any, p: Any, groups: Any) -> Any:
        return y

    single = Model(
        "m", row=Shown, key=["visit", "video"], at="at", label=Label("watched", bool), train_on="20d", test_on="10d",
        features=lambda rows: rows, train=lambda x, y: None, post=rerank, metric=ndcg,
    )  # fmt: skip

    assert sorted(mistakes_of(single)) == [
        "metric ndcg takes groups, but the model ranks nothing",
        "post rerank takes items, but the model ranks nothing",
    ]


def test_a_step_takes_items_or_scores() -> None:
    """Not both, and one of them."""

    def both(p: Any, items: Any) -> Any:
        return p

    def neither(rows: Any) -> Any:
        return rows

    assert mistakes_of(model_with(both, neither)) == [
        "post both takes both p and items; it gets one of them",
        "post neither takes neither p nor items",
    ]


def test_a_ranking_answers_scores() -> None:
    """A step may not make texts or flags of them."""

    def grade(p: Any) -> list[str]:
        return ["good" for _ in p]

    assert mistakes_of(model_with(grade)) == ["post grade returns String, but the items of a ranking have scores"]


@pytest.mark.parametrize("group", ["session", "trust_of"])
def test_a_group_names_fields_of_the_row(group: str) -> None:
    """As the key does."""
    (said,) = mistakes_of(model_with(group=group))

    assert said.startswith(f"group names '{group}', which is no field of Shown")
