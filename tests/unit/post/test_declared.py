"""Ready-made steps in a declaration: what is wrong with them is a mistake of the model, with its line."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import polars as pl
import pytest
from pydantic import AwareDatetime

from perene import Label, Model, Row, post
from perene.definition.posts import given_to_posts
from perene.definition.ranks import rank_rows
from perene.server.stopwatch import Stopwatch

CLASSES = Literal["lost", "late", "came"]


class Video(Row):
    """A video that may be shown."""

    visit: str
    video: str
    shown_at: AwareDatetime
    place: Literal["feed", "search"]
    kind: Literal["long", "short"] | None = None
    is_trusted: bool = False
    toxicity: float | None = None
    clicks: int = 0


def features(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("clicks")


def train(x, y):
    raise AssertionError


def model_with(*steps, label=None) -> Model:
    return Model(
        "m", row=Video, key=["visit", "video"], at="shown_at", label=label or Label("watched", bool), train_on="20d",
        test_on="10d", examples="log", features=features, train=train, post=steps,
    )  # fmt: skip


RANKED = Label("watched", bool, group="visit")
NUMBER = Label("hours", float)
CLASSED = Label("fate", CLASSES)


def said(*steps, label=None) -> list[str]:
    return [mistake.what for mistake in model_with(*steps, label=label).mistakes]


@pytest.mark.parametrize(
    ("step", "label", "says"),
    [
        (lambda: post.clip(), None, "has no bound"),
        (lambda: post.clip(0.9, 0.1), None, "least=0.9 above most=0.1"),
        (lambda: post.clip("0", 1), None, "least='0', which is no finite number"),
        (lambda: post.clip(math.nan, 1), None, "least=nan"),
        (lambda: post.clip(True, 1), None, "least=True"),
        (lambda: post.round(1.5), NUMBER, "decimals=1.5"),
        (lambda: post.round(), CLASSED, "makes integers, but a multiclass model"),
        (lambda: post.round(), RANKED, "makes integers, but a ranking model"),
        (lambda: post.logistic(0), None, "scale=0"),
        (lambda: post.logistic(), CLASSED, "one for each class"),
        (lambda: post.threshold(math.inf), None, "at=inf"),
        (lambda: post.threshold({"feed": 0.5}), None, "a threshold for each group"),
        (lambda: post.threshold(0.5, by="place"), None, "names a field, but no threshold for each"),
        (lambda: post.threshold(0.5, otherwise=0.2), None, "says otherwise=…, but no groups"),
        (lambda: post.threshold({"feed": 0.5}, by="place"), None, "no threshold for place = search"),
        (lambda: post.threshold({"feed": 0.5, "serch": 1}, by="place", otherwise=0.1), None, "a threshold for 'serch'"),
        (lambda: post.threshold({"long": 0.5, "short": 1}, by="kind"), None, "no threshold for kind = null"),
        (lambda: post.threshold({True: 0.5}, by="is_trusted"), None, "no threshold for is_trusted = False"),
        (lambda: post.threshold({"v": 0.5}, by="video"), None, "no threshold for video = every other value"),
        (lambda: post.threshold({1: 0.5}, by="video", otherwise=0.1), None, "a threshold for 1"),
        (lambda: post.threshold({0.5: 0.5}, by="toxicity", otherwise=0.1), None, "groups by toxicity"),
        (lambda: post.threshold({"x": 0.5}, by="plaice", otherwise=0.1), None, "'plaice', which is no field of Video"),
        (lambda: post.threshold(), RANKED, "answers true or false, but a ranking model"),
        (lambda: post.boost("is_trusted", 1.0), None, "ranks items, but this model answers single rows"),
        (lambda: post.boost("is_trusted", 0), RANKED, "by=0, which is not above 0"),
        (lambda: post.boost("is_trusted", None), RANKED, "by=None"),
        (lambda: post.demote("trusted", 1.0), RANKED, "'trusted', which is no field of Video"),
        (lambda: post.demote("video", 1.0), RANKED, "needs a number in what, but video is a text"),
        (lambda: post.demote(7, 1.0), RANKED, "what=7, which is no field, expression or function"),
        (lambda: post.rerank(lambda items: items), RANKED, "asks for items in key"),
        (lambda: post.rerank(-pl.col("age")), RANKED, "'age', which is no field of Video"),
        (lambda: post.diversify(1.5, by="kind"), RANKED, "balance=1.5"),
        (lambda: post.diversify(0.5), RANKED, "needs either by or vector"),
        (lambda: post.diversify(0.5, by="kind", vector=["clicks"]), RANKED, "needs either by or vector"),
        (lambda: post.diversify(0.5, by=["kind", "genre"]), RANKED, "'genre', which is no field"),
        (lambda: post.diversify(0.5, vector=["video"]), RANKED, "needs a number in vector"),
        (lambda: post.top(0), RANKED, "keeps 0 items"),
        (lambda: post.top(3), None, "ranks items"),
        (lambda: post.block("video", ids=["v"], reason=""), RANKED, "reason=''"),
        (lambda: post.block("video", reason="law"), RANKED, "neither ids nor file nor when"),
        (lambda: post.block("video", ids=["v"], file="f", reason="law"), RANKED, "has ids and file"),
        (lambda: post.block(ids=["v"], reason="law"), RANKED, "names a field for ids or a file"),
        (lambda: post.block("video", ids="v1", reason="law"), RANKED, "ids='v1', which is no list"),
        (lambda: post.block("video", ids=[["v"]], reason="law"), RANKED, "neither texts nor integers"),
        (lambda: post.block("video", ids=[1], reason="law"), RANKED, "lists 1, but video is a text"),
        (lambda: post.block("clicks", ids=["1"], reason="law"), RANKED, "lists '1', but clicks is an integer"),
        (lambda: post.block("toxicity", ids=[1], reason="law"), RANKED, "lists ids of toxicity"),
        (lambda: post.block("channel", ids=["v"], reason="law"), RANKED, "'channel', which is no field"),
        (lambda: post.block(when="clicks", reason="law"), RANKED, "needs true or false in when"),
        (lambda: post.block(when="is_trusted", reason="law"), None, "does not say what is answered"),
        (lambda: post.block(when="is_trusted", reason="law", instead="no"), None, "instead='no'"),
        (lambda: post.block(when="is_trusted", reason="law", instead=True), NUMBER, "instead=True"),
        (lambda: post.block(when="is_trusted", reason="law", instead=math.nan), NUMBER, "instead=nan"),
        (lambda: post.block(when="is_trusted", reason="law", instead=[1, 0]), CLASSED, "instead=[1, 0]"),
        (lambda: post.block(when="is_trusted", reason="law", instead=0.0), RANKED, "is not answered at all"),
        (lambda: post.filter("toxicity", reason="toxic"), RANKED, "has no bound"),
        (lambda: post.filter("toxicity", above=math.nan, reason="toxic"), RANKED, "above=nan"),
        (lambda: post.filter("toxicity", above=1, reason="toxic", unknown="?"), RANKED, "unknown='?'"),
        (lambda: post.filter("tox", above=1, reason="toxic"), RANKED, "'tox', which is no field"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_step_is_one_of_the_model(step, label, says) -> None:
    """It is named with the line where the step was made, and nothing raises before."""
    (mistake,) = model_with(step(), label=label).mistakes

    assert says in mistake.what
    assert mistake.where.endswith(f"test_declared.py:{step.__code__.co_firstlineno}")


@pytest.mark.parametrize(
    ("steps", "label"),
    [
        ([post.clip(0.01, 0.99), post.round(2), post.threshold(0.5)], None),
        ([post.threshold({"feed": 0.5, "search": 0.4}, by="place")], None),
        ([post.threshold({True: 0.5, False: 0.4}, by="is_trusted")], None),
        ([post.round(), post.block(when="is_trusted", reason="law", instead=0)], NUMBER),
        ([post.threshold(), post.block("video", file="removed.txt", reason="law", instead=False)], None),
        ([post.filter("toxicity", above=0.5, reason="toxic", instead=[1, 0, 0])], CLASSED),
        (
            [
                post.logistic(), post.filter("toxicity", above=0.5, reason="toxic"), post.boost("is_trusted", 0.5),
                post.diversify(0.7, by=["place", "kind"]), post.block("video", ids=["v"], reason="law"),
                post.block(when=pl.col("clicks") < 0, reason="law too", name="also"), post.top(5),
            ],
            RANKED,
        ),
    ],
)  # fmt: skip
def test_sound_steps_are_sound(steps, label) -> None:
    """In their order, each with its name."""
    model = model_with(*steps, label=label)

    assert model.mistakes == []
    assert [hook.name for hook in model.posts] == [step.name for step in steps]


def after(p):
    return p


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([post.block("video", ids=["v"], reason="law"), after], "post after comes after block"),
        ([post.block("video", ids=["v"], reason="law"), post.boost("is_trusted", 1)], "post boost comes after block"),
        ([post.diversify(0.5, by="kind"), post.boost("is_trusted", 1)], "post boost orders the items anew"),
        ([post.rerank("clicks"), post.diversify(0.5, by="kind")], "post diversify orders the items anew"),
        ([post.boost("is_trusted", 1), post.boost("toxicity", 1)], "2 hooks of kind post are called boost"),
    ],
)
def test_a_step_that_undoes_another_is_a_mistake(steps, says) -> None:
    """Nothing but top comes after what must have the last word, and no order is made twice."""
    assert any(says in what for what in said(*steps, label=RANKED))


def test_a_function_of_the_users_may_have_the_last_word_too() -> None:
    """``recheck=True`` says so."""
    model = model_with()
    model.post(recheck=True)(after)

    assert [hook.recheck for hook in model.posts] == [True]

    model.post(post.clip(0, 1))

    assert "post clip comes after after" in model.mistakes[0].what


def test_a_removal_keeps_the_type_of_the_answers() -> None:
    """What comes before it gives the type, and what it answers instead must be of it."""
    block = post.block(when="is_trusted", reason="law", instead=False)

    assert model_with(post.threshold(), block).answer_dtype == pl.Boolean
    assert "instead=False, but the model's answers are Float64" in said(post.clip(0, 1), block)[0]


def test_a_declaration_holds_what_its_steps_were_given() -> None:
    """So another bound makes another recipe."""
    one, other = (model_with(post.clip(least, 1)).declaration()["posts"] for least in (0, 0.5))

    assert one == [{"name": "clip", "recheck": False, "step": "clip", "least": 0, "most": 1}]
    assert other != one
    described = model_with(post.block(when=pl.col("clicks") < 0, reason="law", instead=0)).declaration()["posts"]
    assert described[0]["when"] == '[(col("clicks")) < (dyn int: 0)]'
    assert described[0]["recheck"]


def test_a_step_may_be_declared_like_a_function() -> None:
    """By the decorator's name or as an argument, and it comes back as it was."""
    step = post.clip(0, 1, name="bounds")
    model = model_with()

    assert model.post(step) is step
    assert [hook.name for hook in model.posts] == ["bounds"]


def test_a_ranking_step_is_done_as_a_hook() -> None:
    """So that what watches hooks (the cost of each step) sees it, whatever the model is."""
    model = model_with(post.boost("is_trusted", 0.5), post.logistic(), post.top(1), label=RANKED)
    watch = Stopwatch()
    model._hooks[:] = [watch.watched_hook(hook) for hook in model._hooks]
    rows = pl.DataFrame({name: [None] for name in model.schema.polars}, schema=model.schema.polars)

    rank_rows(model, np.zeros(1, dtype=np.int64), np.asarray([0.5]), given_to_posts(model, rows))

    assert set(watch.take_laps()) == {"post boost", "post logistic", "post top"}


def test_a_ranking_step_is_not_for_single_values() -> None:
    """Called by hand it says so."""
    with pytest.raises(TypeError, match="top is no step of single values"):
        post.top(3)(p=[1.0])
    with pytest.raises(TypeError, match="clip is no step of items"):
        post.clip(0, 1)(items=pl.DataFrame())
