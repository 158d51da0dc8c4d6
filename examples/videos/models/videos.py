"""Which of the videos that could be shown will this user click? Asked at each visit, of all candidates together.

Everything here is simulated: users, videos and clicks come from world.py.
"""

from datetime import datetime, timedelta
from typing import Annotated, Literal

import numpy as np
import polars as pl
from annotated_types import Ge, Gt, Le
from pydantic import AwareDatetime
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from perene import Label, Model, Row, gate, post
from world import TOPICS, World

OPENED = datetime.fromisoformat("2026-03-01T00:00:00Z")  # from here on the log says what was shown and clicked
BEFORE = 25  # visits of a day, before that, in the archive


class Candidate(Row):
    """A video that could be shown at a visit. A request holds all candidates of one visit."""

    visit: str
    video: str
    shown_at: AwareDatetime
    channel: str
    topic: Literal["music", "news", "sport", "science", "games", "cooking"]
    minutes: Annotated[float, Gt(0)]
    taste: float  # how much of this topic the user clicked so far
    clickbait: Annotated[float, Ge(0), Le(1)]  # by a classifier of titles
    toxicity: Annotated[float, Ge(0), Le(1)]  # by a classifier of comments
    is_trusted: bool  # the channel, by the editors


videos = Model(
    "videos",
    row=Candidate,
    key=["visit", "video"],
    at="shown_at",
    label=Label("clicked", bool, group="visit", wait="1h"),  # what nobody looked at has no label, and is no "no"
    train_on="60d",
    test_on="14d",
    every="7d",
    examples="source+log",
    gate=gate(metric="ndcg", margin="5%"),
    owner="feed",
)


@videos.source
def archive(since: datetime, until: datetime) -> pl.DataFrame:
    """The visits before the ranking was opened: the lists were in no order, and users looked at them from the top."""
    world, rows = World(), []
    first = since.replace(hour=0, minute=0, second=0, microsecond=0)
    last = min(until, OPENED)
    for day in (first + timedelta(days=n) for n in range(max((last - first).days, -1) + 1)):
        for visit, at, user, shown in world.visits(day, BEFORE):
            if not since <= at < last:
                continue
            candidates = world.candidates(visit, at, user, shown)
            clicked = world.looks_at(visit, at, user, [row["video"] for row in candidates])
            rows += [row | {"clicked": clicked.get(row["video"])} for row in candidates]
    return pl.DataFrame(rows, schema={**videos.schema.polars, "clicked": pl.Boolean})


@videos.features
def features(rows: pl.DataFrame) -> pl.DataFrame:
    """What the model sees of a candidate: the same code in training and in serving."""
    return rows.select(
        "taste",
        "clickbait",
        pl.col("minutes").log().alias("log_minutes"),
        *((pl.col("topic") == topic).cast(pl.Float64).alias(topic) for topic in TOPICS),
        *((pl.col("channel") == f"channel-{n}").cast(pl.Float64).alias(f"channel_{n}") for n in range(12)),
    )


@videos.train
def train(x: np.ndarray, y: np.ndarray, *, seed: int):
    """The chance of a click, by logistic regression; items are ranked by it."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500, random_state=seed)).fit(x, y)


# What is between the model's chance of a click and the list that a user gets. Clicks are not all that counts.
videos.post(post.filter("toxicity", above=0.4, reason="toxic", name="safe"))
videos.post(post.boost("is_trusted", by=0.7, name="trusted"))
videos.post(post.demote("clickbait", by=2.5, name="honest"))
videos.post(post.diversify(0.8, by=["topic", "channel"], name="mixed"))
videos.post(post.block("video", file="removed/videos.txt", reason="by order of a court", name="legal"))
videos.post(post.top(8, name="first_page"))
