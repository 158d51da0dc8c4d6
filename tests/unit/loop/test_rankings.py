"""Rankings before the gate: groups are what is counted, compared, sliced and refused."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import ndcg_score

from perene.records.verdict import Decision

RANKED = """
class Shown(Row):
    visit: int
    user: int
    place: int
    sent_at: AwareDatetime
    fit: float
    zone: Literal["near", "far"]


def shown(since, until):
    '''A visit every 30 minutes, of one of 40 users, with two videos from near and two from far; one is watched.'''
    every = timedelta(minutes=30)
    visits = range(math.ceil((since - EPOCH) / every), math.ceil((until - EPOCH) / every))
    rows = pl.DataFrame(
        {{"visit": np.repeat(visits, 4), "place": np.tile(np.arange(4), len(visits))}}
    ).with_columns(
        user=pl.col("visit") % 40, sent_at=pl.lit(EPOCH) + pl.col("visit") * every,
        fit=(pl.col("visit") * 7919 + pl.col("place") * 104729) % 997 / 997,
        mood=(pl.col("visit") * 31 + pl.col("place") * 17) % 13 / 13,
        zone=pl.when(pl.col("place") < 2).then(pl.lit("near")).otherwise(pl.lit("far")),
    )
    liking = pl.col("fit") + pl.col("mood")
    return rows.with_columns(
        watched=liking == liking.max().over("visit"), arrived_at=pl.col("sent_at") + timedelta(minutes=30)
    ).drop("mood")


def features(rows):
    return rows.select("fit", far=(pl.col("zone") == "far").cast(pl.Float64))


def train(x, y):
    return None


m = Model("videos", row=Shown, key=["visit", "place"], at="sent_at", train_on="20d", test_on="10d", source=shown,
          label=Label("watched", bool, group={group}, **WAIT), features=features, train=train, {more})
"""


def body(*, group: str = '["visit", "user"]', more: str = "") -> str:
    return RANKED.format(group=group, more=more)


@pytest.fixture
def dialect() -> str:
    """Nothing here depends on the database."""
    return "sqlite"


def good(x: pl.DataFrame) -> np.ndarray:
    """The better it fits, the likelier."""
    return x["fit"].to_numpy()


def bad(x: pl.DataFrame) -> np.ndarray:
    """The other way round."""
    return -good(x)


def near_spoilt(x: pl.DataFrame) -> np.ndarray:
    """As good among what is far, and the other way round among what is near; nothing of both is exchanged."""
    return np.where(x["far"].to_numpy() == 1.0, good(x), 2 - good(x))


def near_first(x: pl.DataFrame) -> np.ndarray:
    """As good within each zone, but what is near comes first."""
    return np.where(x["far"].to_numpy() == 1.0, good(x), 1 + good(x))


def test_groups_are_counted_and_scored(bench) -> None:
    """The numbers are those of each visit's labelled rows, computed by hand."""
    b = bench(body())
    rows = b.app.datasets.read(b.model, b.dataset, part="test").filter(pl.col("label").is_not_null())
    visits = rows.group_by("visit").agg("label", "fit")

    evaluation = b.judge(b.contest(b.predictor(bad, 2), b.predictor(good, 1)))

    verdict = evaluation.verdict
    scores = {
        sign: [ndcg_score([y], [[sign * v for v in fit]]) for _, y, fit in visits.iter_rows()] for sign in (1, -1)
    }
    assert (verdict.metric, verdict.rows, verdict.per) == ("ndcg", visits.height, "group")
    assert verdict.decision is Decision.WORSE
    assert verdict.champion_score == pytest.approx(np.mean(scores[1]))
    assert verdict.candidate_score == pytest.approx(np.mean(scores[-1]))
    assert sum(evaluation.by_day["rows"]) == visits.height
    assert sum(evaluation.by_day["champion"]) == pytest.approx(sum(scores[1]))


def test_a_twin_passes(bench) -> None:
    """Against a champion that ranks alike."""
    b = bench(body())

    verdict = b.judge(b.contest(b.predictor(good, 2), b.predictor(good, 1))).verdict

    assert (verdict.decision, verdict.difference) == (Decision.PASS, 0.0)


def test_a_metric_per_group_is_called_for_each_group(bench) -> None:
    """It gets the group's labels, outputs and rows, and gives one number."""
    first = """
@m.metric(better="higher", per="group")
def first_is_watched(y, p, rows):
    assert rows["visit"].n_unique() == 1
    return float(y[np.argmax(p)])
"""
    b = bench(body() + first)
    rows = b.app.datasets.read(b.model, b.dataset, part="test").filter(pl.col("label").is_not_null())
    watched = rows.group_by("visit").agg(pl.col("label").get(pl.col("fit").arg_max()))["label"].to_list()

    verdict = b.judge(b.contest(b.predictor(good, 2), b.predictor(bad, 1))).verdict

    assert (verdict.metric, verdict.rows) == ("first_is_watched", len(watched))
    assert verdict.candidate_score == pytest.approx(np.mean(watched))


@pytest.mark.parametrize(("group", "clusters"), [('"visit"', 480), ('"user"', 40)])
def test_who_is_asked_again_and_again_is_one_cluster(bench, group: str, clusters: int) -> None:
    """Groups of one user are not independent; those of a visit of its own are."""
    test = _test_set(bench(body(group=group)))

    assert test.count() == 480
    assert len(np.unique(test.key)) == clusters


def _test_set(b):
    from perene.pipelines.contests import TestSet

    return TestSet(b.contest(b.predictor(good)), b.app.datasets)


def test_a_slice_is_ranked_by_itself(bench) -> None:
    """Of each group those rows that the slice has: one that only spoils the order of the near is worse there."""
    b = bench(body())

    evaluation = b.judge(b.contest(b.predictor(near_spoilt, 2), b.predictor(near_first, 1)))

    visits = evaluation.verdict.rows
    zones = evaluation.slices["zone"]
    assert {name: zone["rows"] for name, zone in zones.items()} == {"near": visits, "far": visits}
    assert zones["far"]["difference"] == 0.0
    assert zones["near"]["difference"] > 0
    slices = next(check for check in evaluation.verdict.checks if check.name == "slices")
    assert slices.decision is Decision.WORSE
    assert "zone=near" in slices.reason


def test_a_score_that_is_no_number_refuses(bench) -> None:
    """The gate fails closed, of one group in thousands too."""
    b = bench(body())

    def once(x: pl.DataFrame) -> np.ndarray:
        scores = good(x).copy()
        scores[7] = np.nan
        return scores

    verdict = b.judge(b.contest(b.predictor(once, 2), b.predictor(good, 1))).verdict

    assert verdict.decision is Decision.REFUSED
    assert "no number" in verdict.reason


def test_steps_that_spoil_the_order_are_found(bench) -> None:
    """The answers are measured by their order, whatever the scores say: a step that turns it around is refused."""
    reverse = """
@m.post
def reverse(items):
    return items.reverse() if items["score"][0] > 0 else items
"""
    b = bench(body() + reverse)
    candidate, champion = b.predictor(lambda x: good(x) + 1, 2), b.predictor(lambda x: good(x) - 9, 1)

    verdict = b.judge(b.contest(candidate, champion)).verdict

    assert verdict.decision is Decision.REFUSED
    assert verdict.reason.startswith("after the post steps: ")


def test_steps_see_the_whole_group_of_a_test_row(bench) -> None:
    """Also those rows whose truth nobody knows: what is not among the first two is removed as in serving."""
    top = """
@m.post
def two(items):
    assert items.height == 4
    return items.with_columns(removed=pl.when(pl.int_range(pl.len()) >= 2).then(pl.lit("not among the first two")))
"""
    half = body().replace('drop("mood")', 'drop("mood").with_columns('
                          'watched=pl.when(pl.col("place") > 0).then("watched"))')  # fmt: skip
    b = bench(half + top)

    verdict = b.judge(b.contest(b.predictor(good, 2), b.predictor(good, 1))).verdict

    assert verdict.decision is Decision.PASS
    assert [check.name for check in verdict.checks] == ["champion", "after the post steps", "slices"]
