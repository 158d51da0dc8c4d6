"""What the gate looks at fails closed: golden rows, slices, answers and references that are not what they should be."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from perene.definition.label import Label
from perene.records.verdict import Decision

MODEL = """
def train(x, y):
    return None

m = Model("parcels", label=Label("{label}", {kind}, **WAIT), train=train, {more}**terms)
"""
PLAIN = MODEL.format(label="hours", kind="float", more='gate=gate(metric="absolute_error", margin="5%"), ')
CLASSES = MODEL.format(label="speed", kind='Literal["fast", "usual", "slow"]', more="")
GOLDEN = """
@m.golden
def known():
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return pl.DataFrame({{"number": [1, 2], "sent_at": [at, at], "grams": [100.0, 1900.0], {demands}}})
"""


@pytest.fixture
def dialect() -> str:
    """Nothing here depends on the database."""
    return "sqlite"


def good(x: pl.DataFrame) -> np.ndarray:
    """What the parcels take on average."""
    return x["kilograms"].to_numpy() + 0.5


# ── golden rows ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("demands", "why"),
    [
        ('"least": ["a", "b"]', "gives least as String, not as numbers"),
        ('"most": [at, at]', "gives most as Datetime"),
        ('"most": [[1.0], [1.0]]', "gives most as List(Float64), not as numbers"),
        ('"least": [True, True]', "gives least as Boolean, not as numbers"),
        ('"answer": [b"1", b"1"]', "gives answer as Binary, not as one value each"),
        ('"answer": pl.Series([object(), object()], dtype=pl.Object)', "gives answer as Object"),
        ('"least": [None, None]', "demands nothing of any row"),
        ('"least": [float("nan"), 0.1]', "row 1 gives 0.6, less than nan"),
    ],
)
def test_golden_demands_that_are_none_refuse(bench, demands, why) -> None:
    """A demand of another kind, or none of any row, is a refusal with its reason: no pass, and no end of the run."""
    b = bench(PLAIN + GOLDEN.format(demands=demands))

    verdict = b.judge(b.contest(b.predictor(good, 2), b.predictor(good, 1))).verdict

    assert verdict.decision is Decision.REFUSED
    assert verdict.reason.startswith("golden rows: ")
    assert why in verdict.reason


def speeds(x: pl.DataFrame) -> np.ndarray:
    """Probabilities of fast, usual and slow."""
    light = x["kilograms"].to_numpy() < 1
    return np.stack([np.where(light, 0.6, 0.2), np.full(x.height, 0.2), np.where(light, 0.2, 0.6)], axis=1)


def test_a_golden_row_of_no_class_is_not_answered(bench) -> None:
    """Probabilities that are no numbers have no likeliest class."""
    b = bench(CLASSES + GOLDEN.format(demands='"answer": ["fast", "slow"]'))

    def lost(x: pl.DataFrame) -> np.ndarray:
        return np.where(x.height > 2, speeds(x), [np.nan, 0.5, 0.5])

    verdict = b.judge(b.contest(b.predictor(lost, 2), b.predictor(speeds, 1))).verdict

    assert verdict.decision is Decision.REFUSED
    assert "row 1 gives [nan, 0.5, 0.5], not fast" in verdict.reason


def test_probabilities_of_more_than_1_gain_nothing(bench) -> None:
    """A candidate that gives every class a high probability has no log loss, and not the least of all."""
    b = bench(CLASSES)

    verdict = b.judge(b.contest(b.predictor(lambda x: speeds(x) + 0.3, 2), b.predictor(speeds, 1))).verdict

    assert verdict.decision is Decision.REFUSED
    assert "the candidate's log_loss is nan" in verdict.reason


# ── slices ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_slice_of_too_many_groups_refuses(bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice by an id would be compared a million times; the reason says how many groups it names."""
    monkeypatch.setattr("perene.pipelines.slicing.MOST_GROUPS", 100)
    b = bench(PLAIN + "\n@m.slice\ndef number(rows):\n    return rows['number']\n")

    verdict = b.judge(b.contest(b.predictor(good, 2), b.predictor(good, 1))).verdict

    assert verdict.decision is Decision.REFUSED
    assert "the slice number names 480 groups; 100 is the most" in verdict.reason


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


POSTS = """
def train(x, y):
    return None

def post(rows, p):
    return {post}

m = Model("parcels", label=Label("hours", float, **WAIT), train=train, post=post, {more}**terms)
"""


def test_answers_that_the_metric_refuses_are_not_judged(bench) -> None:
    """Where the metric raises on the champion's answers, as where it has no number for them, the raw output decides."""
    body = POSTS.format(post="p * -1", more="") + (
        "\n@m.metric\ndef off(y, p):\n    assert (p > 0).all(), 'no time'\n    return np.abs(y - p)\n"
    )
    b = bench(body)

    verdict = b.judge(b.contest(b.predictor(good, 2), b.predictor(good, 1))).verdict

    assert verdict.decision is Decision.PASS
    assert "after the post steps" not in {check.name for check in verdict.checks}


def test_answers_that_are_all_the_same_of_both_are_judged(bench) -> None:
    """Steps that cut off may leave one answer for every row, of the champion's too: that is no fault of a candidate."""
    b = bench(POSTS.format(post="(p > 100) * 1.0", more='gate=gate(metric="absolute_error"), '))

    verdict = b.judge(b.contest(b.predictor(good, 2), b.predictor(good, 1))).verdict

    assert verdict.decision is Decision.PASS
    assert "after the post steps" in {check.name for check in verdict.checks}


# ── references and rows ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_constant_that_has_no_score_is_no_reference(bench) -> None:
    """A metric that raises on a constant prediction takes a reference away, and nothing else."""
    body = PLAIN.replace("absolute_error", "off") + (
        "\n@m.metric\ndef off(y, p):\n    assert np.ptp(p) > 0, 'all the same'\n    return np.abs(y - p)\n"
    )
    b = bench(body)
    contest = b.contest(b.predictor(good, 3), b.predictor(good, 2), previous=b.predictor(lambda x: good(x) + 1, 1))

    verdict = b.judge(contest).verdict

    assert verdict.decision is Decision.PASS
    assert verdict.references is not None
    assert verdict.references["half_gain"] is None
    assert verdict.references["skipped"] == pytest.approx(0.75, abs=0.01)


def test_the_wait_is_that_of_who_learnt(bench) -> None:
    """A champion that waited longer for its labels than the model does today saw them later: its own wait counts."""
    b = bench(PLAIN)
    champion = b.predictor(good, 1, trained_until=b.dataset.split - timedelta(days=1))
    longer = Label("hours", float, known_at="arrived_at", wait="3d")
    champion.model = b.model._with(replace(b.model._terms, label=longer))

    verdict = b.judge(b.contest(b.predictor(good, 2), champion)).verdict

    rows = b.app.datasets.read(b.model, b.dataset, part="test")
    since = champion.version.trained_until + longer.wait
    assert verdict.rows == rows.filter(pl.col("event_at") >= since).height < rows.height


def test_features_are_computed_once(bench) -> None:
    """A metric of all rows that looks at the features is asked for each day and key; they are computed once for all."""
    body = (
        PLAIN.replace("absolute_error", "middle").replace("def train", "calls = []\n\ndef train")
        + """
@m.metric(whole=True)
def middle(y, p, x):
    return float(np.median(np.abs(y - p) * (1 + x["kilograms"].to_numpy())))

@m.slice
def weight(rows, x):
    return x["kilograms"] > 1
"""
    )
    b = bench(body.replace("**terms", "**(terms | dict(features=counted))").replace(
        "m = Model", "def counted(rows):\n    calls.append(rows.height)\n    return features(rows)\n\nm = Model"
    ))  # fmt: skip
    contest = b.contest(b.predictor(good, 2), b.predictor(good, 1))
    calls = b.model.features_hook.function.__globals__["calls"]
    calls.clear()

    verdict = b.judge(contest).verdict

    assert verdict.decision is Decision.PASS
    assert len(calls) == 3


# ── the anchor ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_anchor_whose_bundle_is_gone_refuses_until_a_person_decides(open_app) -> None:
    """Without the anchor nothing is released by itself; what a person approves is the next anchor, and it goes on."""
    app = open_app()
    for _ in range(2):
        app.train("parcels", actor="test")
    ledger = app.releases
    anchor = app.models.version("parcels", ledger.anchor("parcels"))
    app._predictors.clear()
    shutil.rmtree(app.bundles.open(anchor.bundle).folder)

    app.train("parcels", actor="test")
    refused = app.evaluations.list("parcels", limit=1)[0].verdict
    app.approve(ledger.list("parcels", limit=1)[0].id, actor="ana", why="I looked")
    app.train("parcels", actor="test")
    passed = app.evaluations.list("parcels", limit=1)[0].verdict

    assert (anchor.version, refused.decision) == (1, Decision.REFUSED)
    assert "the anchor v1 cannot be loaded" in refused.reason
    assert passed.decision is Decision.PASS
    assert ledger.anchor("parcels") == 3


def test_the_cycle_asks_the_anchor(open_app) -> None:
    """A candidate of a real run stands against the anchor where the live version is not it."""
    app = open_app()
    for _ in range(3):
        app.train("parcels", actor="test")  # twins: the first stays the anchor

    newest = app.evaluations.list("parcels", limit=1)[0]

    assert newest.champion == 2
    assert "anchor v1" in {check.name for check in newest.verdict.checks}


# ── what the verdict says of its checks ──────────────────────────────────────────────────────────────────────────────


def uneven(x: pl.DataFrame) -> np.ndarray:
    """As good on the whole as what is good, but nobody can be sure."""
    return good(x) + 0.1 * np.sin(1e4 * x["kilograms"].to_numpy())


TIGHT = PLAIN.replace('"5%"', "0.008")


def test_a_deadline_that_helps_against_the_anchor_is_told(bench) -> None:
    """What passes against the champion by itself, but against the anchor only past the deadline, is so released."""
    b = bench(TIGHT)
    contest = b.contest(b.predictor(uneven, 3), b.predictor(lambda x: good(x) + 0.5, 2), anchor=b.predictor(good, 1))

    fresh = b.judge(contest).verdict
    stale = b.judge(contest, later=timedelta(days=60)).verdict

    assert [check.decision for check in fresh.checks[:2]] == [Decision.PASS, Decision.INCONCLUSIVE]
    assert (fresh.decision, fresh.days_needed is not None) == (Decision.INCONCLUSIVE, True)
    assert (stale.decision, stale.released_on_deadline) == (Decision.PASS, True)


def test_days_decide_only_where_days_are_wanting(bench) -> None:
    """No number of days is told where it is not the interval that keeps a candidate back."""
    b = bench(TIGHT + GOLDEN.format(demands='"most": [0.1, 0.1]'))

    verdict = b.judge(b.contest(b.predictor(uneven, 2), b.predictor(good, 1))).verdict

    assert verdict.checks[0].decision is Decision.INCONCLUSIVE
    assert verdict.decision is Decision.REFUSED
    assert verdict.days_needed is None


def test_slices_of_a_first_model_are_shown(bench) -> None:
    """A first model stands against a constant, which may be better for a few: that is shown, and refuses nothing."""
    b = bench(PLAIN)

    evaluation = b.judge(b.contest(b.predictor(good)))

    assert set(evaluation.slices) == {"zone"}
    assert {check.name for check in evaluation.verdict.checks} == {"baseline"}


OFTEN = """
def often(since, until):
    rows = parcels(since, until)
    return pl.concat([rows.with_columns(number=pl.col("number") * 4 + i) for i in range(4)])

terms |= dict(source=often)
"""
WHOLE = (
    OFTEN
    + MODEL.format(label="late", kind="bool", more='gate=gate(metric="spread", margin=0.5), ')
    + """
@m.metric(whole=True, better="higher")
def spread(y, p):
    return float(p[y == 1].mean() - p[y == 0].mean()) if len(y) > {least} else float("nan")

@m.slice
def weight(rows):
    return (rows["grams"] < {grams}).replace_strict({{True: "light", False: "heavy"}}, return_dtype=pl.String)
"""
)


def chance(x: pl.DataFrame) -> np.ndarray:
    """How likely it is late."""
    return np.clip(x["kilograms"].to_numpy() / 2, 0.01, 0.99)


def test_a_group_with_few_of_a_class_is_shown_not_judged(bench) -> None:
    """A metric of all rows needs 30 rows of the rarer class in a group, as on the whole."""
    b = bench(WHOLE.format(least=0, grams=320))
    rows = b.app.datasets.read(b.model, b.dataset, part="test").filter(pl.col("grams") < 320)

    evaluation = b.judge(b.contest(b.predictor(chance, 2), b.predictor(chance, 1)))

    parts = evaluation.slices["weight"]
    assert isinstance(parts, dict)
    assert rows["label"].sum() < 30
    assert parts["light"]["rows"] >= 200
    assert parts["light"]["p"] is None
    assert parts["heavy"]["p"] is not None
    assert evaluation.verdict.decision is Decision.PASS


def test_a_group_without_a_number_refuses(bench) -> None:
    """Where the metric has no number for a group that is large enough, no harm is not shown."""
    b = bench(WHOLE.format(least=1_000, grams=700))

    verdict = b.judge(b.contest(b.predictor(chance, 2), b.predictor(chance, 1))).verdict

    assert verdict.checks[0].decision is Decision.PASS
    assert verdict.decision is Decision.REFUSED
    assert "the difference on weight=light is not a number" in verdict.reason
