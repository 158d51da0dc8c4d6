"""What the gate looks at beside the champion: the anchor, the slices, the golden rows, and the margin's references."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from perene.records.verdict import Decision

MODEL = """
def train(x, y):
    return None

m = Model("parcels", label=Label("hours", float, **WAIT), train=train, {more}**terms)
"""
PLAIN = MODEL.format(more='gate=gate(metric="absolute_error", margin="5%"), ')


@pytest.fixture
def dialect() -> str:
    """Nothing here depends on the database."""
    return "sqlite"


def good(x: pl.DataFrame) -> np.ndarray:
    """What the parcels take on average."""
    return x["kilograms"].to_numpy() + 0.5


def off_by(hours: float):
    """As good, but always this much too long."""
    return lambda x: good(x) + hours


def checks(verdict) -> dict[str, Decision]:
    """What was looked at, with what was found."""
    return {check.name: check.decision for check in verdict.checks}


# ── the anchor ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_steps_down_are_held_by_the_anchor(bench) -> None:
    """A candidate that is as good as the champion, but worse than the anchor, is not released."""
    b = bench(PLAIN)
    champion, candidate = b.predictor(off_by(0.2), 2), b.predictor(off_by(0.21), 3)

    alone = b.judge(b.contest(candidate, champion)).verdict
    held = b.judge(b.contest(candidate, champion, anchor=b.predictor(good, 1))).verdict

    assert alone.decision is Decision.PASS
    assert checks(held) == {"champion": Decision.PASS, "anchor v1": Decision.WORSE, "slices": Decision.PASS}
    assert held.decision is Decision.WORSE
    assert held.reason.startswith("anchor v1: worse than the anchor")


def test_an_anchor_that_cannot_score_refuses(bench) -> None:
    """The gate fails closed: without the anchor's numbers nothing is released."""
    b = bench(PLAIN)

    def broken(x: pl.DataFrame) -> np.ndarray:
        raise RuntimeError("its feed is gone")

    contest = b.contest(b.predictor(good, 3), b.predictor(good, 2), anchor=b.predictor(broken, 1))
    verdict = b.judge(contest).verdict

    assert verdict.decision is Decision.REFUSED
    assert "the anchor v1 cannot score" in verdict.reason


def test_rows_that_the_anchor_has_seen_do_not_judge(bench) -> None:
    """An anchor that learnt from later rows (a person approved it) narrows the window for all."""
    b = bench(PLAIN)
    late = b.dataset.split + timedelta(days=2)
    anchor = b.predictor(good, 1, trained_until=late)

    verdict = b.judge(b.contest(b.predictor(good, 3), b.predictor(good, 2), anchor=anchor)).verdict

    rows = b.app.datasets.read(b.model, b.dataset, part="test")
    assert verdict.rows == rows.filter(pl.col("event_at") >= late + b.model.label.wait).height


@pytest.mark.parametrize(("candidate", "certified"), [(good, True), (off_by(0.3), False)])
def test_certified_is_better_than_the_anchor(bench, candidate, certified) -> None:
    """A candidate that is better than the champion is certified only where it is better than the anchor too."""
    b = bench(PLAIN)
    champion, anchor = b.predictor(off_by(0.5), 2), b.predictor(off_by(0.3), 1)

    verdict = b.judge(b.contest(b.predictor(candidate, 3), champion, anchor=anchor)).verdict

    assert verdict.certified is certified


def test_the_anchor_follows_the_ledger(open_app) -> None:
    """It is the newest version that was certified or approved by a person, and a rollback (trap 32) takes it back."""
    app = open_app()
    first = app.train("parcels", actor="test")
    for _ in range(2):
        app.train("parcels", actor="test")  # twins of the first: within the margin, not better
    live = app.models.champion("parcels")
    anchor = app.releases.anchor("parcels")
    evaluation = app.evaluations.for_version("parcels", 3)
    version = app.models.version("parcels", 2)
    app.releases.rollback("parcels", 2, actor="ana", why="a try", at=app.time.now())
    back = app.releases.anchor("parcels")
    proposed = app.releases.propose(
        "parcels", 3, run=None, evaluation=None, at=app.time.now(), actor="ana", why="again"
    )
    app.releases.approve(proposed.id, actor="ana", why="I looked", at=app.time.now())
    approved = app.releases.anchor("parcels")
    app.releases.rollback("parcels", actor="ana", why="no", at=app.time.now())

    assert first.state.value == "succeeded"
    assert (live is not None and live.version, version.version) == (3, 2)
    assert evaluation is not None
    assert evaluation.verdict.certified is False
    assert anchor == 1
    assert back == 1
    assert approved == 3
    assert app.releases.anchor("parcels") == 1


# ── slices ───────────────────────────────────────────────────────────────────────────────────────────────────────────


SHORT = PLAIN.replace("**terms", "**(terms | dict(source=often))").replace(
    "m = Model",
    "def often(since, until):\n    rows = parcels(since, until)\n"
    "    return pl.concat([rows.with_columns(number=pl.col('number') * 4 + i) for i in range(4)])\n\nm = Model",
)


def worse_far(x: pl.DataFrame) -> np.ndarray:
    """A little better near, much worse far."""
    return good(x) + np.where(x["far"].to_numpy() > 0, 0.2, 0.0)


def test_enumerated_fields_are_slices(bench) -> None:
    """A field of the Row with choices needs no declaration; a choice that never comes is shown with no row."""
    b = bench(PLAIN)

    evaluation = b.judge(b.contest(b.predictor(good, 2), b.predictor(good, 1)))

    zones = evaluation.slices["zone"]
    assert isinstance(zones, dict)
    assert set(zones) == {"near", "far"}
    assert sum(part["rows"] for part in zones.values()) == evaluation.verdict.rows


def test_harm_to_one_group_is_found(bench) -> None:
    """A candidate that passes on the whole, but is worse for parcels that go far, is worse."""
    b = bench(SHORT)

    verdict = b.judge(b.contest(b.predictor(worse_far, 2), b.predictor(off_by(0.1), 1))).verdict

    assert checks(verdict)["champion"] is Decision.PASS
    assert verdict.decision is Decision.WORSE
    assert "worse on zone=far" in verdict.reason


def test_a_group_may_be_worse_within_the_margin(bench) -> None:
    """As on the whole: what is surely worse, but surely by less than the margin, is no harm."""
    b = bench(SHORT)

    verdict = b.judge(b.contest(b.predictor(off_by(0.21), 2), b.predictor(off_by(0.2), 1))).verdict

    zones = [check for check in verdict.checks if check.name == "slices"]
    assert (verdict.lower or 0) > 0
    assert verdict.decision is Decision.PASS
    assert "none shown to be worse" in zones[0].reason


def test_small_groups_are_shown_not_judged(bench) -> None:
    """Fewer than 200 rows, or 7 days, of a group refuse nothing: they are told of."""
    b = bench(PLAIN.replace('"5%"', '"60%"'))

    evaluation = b.judge(b.contest(b.predictor(worse_far, 2), b.predictor(good, 1)))

    zones = evaluation.slices["zone"]
    assert isinstance(zones, dict)
    assert zones["far"]["rows"] < 200
    assert zones["far"]["p"] is None
    assert zones["far"]["lower"] > 0
    assert evaluation.verdict.decision is Decision.PASS
    assert any("1 too small to judge" in check.reason for check in evaluation.verdict.checks)


# ── golden rows ──────────────────────────────────────────────────────────────────────────────────────────────────────


GOLDEN = (
    PLAIN
    + """
@m.golden
def known():
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return pl.DataFrame({{"number": [1, 2], "sent_at": [at, at], "grams": [100.0, 1900.0], "zone": ["near", "far"],
                         {demands}}})
"""
)


@pytest.mark.parametrize(
    ("demands", "decision", "why"),
    [
        ('"least": [0.1, 2.0], "most": [1.0, 3.0]', Decision.PASS, ""),
        ('"least": [None, 2.5]', Decision.REFUSED, "row 2 gives 2.4, less than 2.5"),
        ('"most": [0.5, None]', Decision.REFUSED, "row 1 gives 0.6, more than 0.5"),
        ('"wrong": [1, 2]', Decision.REFUSED, "demands nothing"),
        ('"least": [0.1, 0.1], "wrong": [1, 2]', Decision.REFUSED, "does not know: wrong"),
    ],
)
def test_golden_rows_must_be_answered_right(bench, demands, decision, why) -> None:
    """Each golden row's answer keeps its bounds, or the candidate is refused with the row."""
    b = bench(GOLDEN.format(demands=demands))

    verdict = b.judge(b.contest(b.predictor(good, 2), b.predictor(good, 1))).verdict

    assert verdict.decision is decision
    assert checks(verdict)["golden rows"] is decision
    assert why in verdict.reason or decision is Decision.PASS


def test_golden_rows_judge_a_first_model_too(bench) -> None:
    """A first model that beats a constant is still held to them."""
    b = bench(GOLDEN.format(demands='"most": [0.1, 0.1]'))

    verdict = b.judge(b.contest(b.predictor(good, 1))).verdict

    assert verdict.decision is Decision.REFUSED
    assert verdict.reason.startswith("golden rows: 2 of 2")


def test_golden_classes_are_demanded_by_name(bench) -> None:
    """Of class probabilities the likeliest class is the answer."""
    body = """
def train(x, y):
    return None

m = Model("parcels", label=Label("speed", Literal["fast", "usual", "slow"], **WAIT), train=train, **terms)

@m.golden
def known():
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return pl.DataFrame({"number": [1, 2], "sent_at": [at, at], "grams": [100.0, 1900.0], "answer": ["fast", "fast"]})
"""
    b = bench(body)

    def classes(x: pl.DataFrame) -> np.ndarray:
        light = x["kilograms"].to_numpy() < 1
        return np.stack([np.where(light, 0.6, 0.2), np.full(x.height, 0.2), np.where(light, 0.2, 0.6)], axis=1)

    verdict = b.judge(b.contest(b.predictor(classes, 2), b.predictor(classes, 1))).verdict

    assert verdict.decision is Decision.REFUSED
    assert "row 2 gives slow, not fast" in verdict.reason


# ── references ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_cost_of_skipping_a_release_is_a_reference(bench) -> None:
    """The version before the champion is scored on the same rows; one that cannot is no reference, and no harm."""
    b = bench(PLAIN)
    candidate, champion = b.predictor(good, 3), b.predictor(off_by(0.05), 2)

    def broken(x: pl.DataFrame) -> np.ndarray:
        raise RuntimeError("gone")

    told = b.judge(b.contest(candidate, champion, previous=b.predictor(off_by(0.5), 1))).verdict
    silent = b.judge(b.contest(candidate, champion, previous=b.predictor(broken, 1))).verdict

    rows = b.app.datasets.read(b.model, b.dataset, part="test")
    y, x = rows["label"].to_numpy(), rows["grams"].to_numpy() / 1000 + 0.5
    skipped = np.abs(y - x - 0.5).mean() - np.abs(y - x - 0.05).mean()
    assert told.references is not None
    assert told.references["skipped"] == pytest.approx(skipped)
    assert silent.references is not None
    assert silent.references["skipped"] is None
    assert silent.decision is told.decision is Decision.PASS
