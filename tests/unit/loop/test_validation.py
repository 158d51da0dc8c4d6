"""Validation: the same unseen rows for both, the gate's verdict on them, and refusal whenever it cannot judge."""

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
PLAIN = MODEL.format(more="")
ABSOLUTE = MODEL.format(more='gate=gate(metric="absolute_error", margin="5%"), ')


def good(x: pl.DataFrame) -> np.ndarray:
    """What the parcels take on average."""
    return x["kilograms"].to_numpy() + 0.5


def off_by(hours: float):
    """As good, but always this much too long."""
    return lambda x: good(x) + hours


def test_a_first_model_must_beat_a_constant(bench) -> None:
    """Without a champion the candidate is judged against the mean of the training labels."""
    b = bench(PLAIN)

    verdict = b.judge(b.contest(b.predictor(good))).verdict
    poor = b.judge(b.contest(b.predictor(off_by(5.0), 2))).verdict

    assert (verdict.decision, verdict.against) == (Decision.PASS, "baseline")
    assert verdict.upper is not None
    assert verdict.upper < 0
    assert poor.decision is Decision.WORSE


def test_an_equal_candidate_passes(bench) -> None:
    """A twin of the champion is not worse."""
    b = bench(PLAIN)

    verdict = b.judge(b.contest(b.predictor(good, 2), b.predictor(good, 1))).verdict

    assert (verdict.decision, verdict.against, verdict.difference) == (Decision.PASS, "champion", 0.0)


def test_both_are_scored_on_the_same_unseen_labelled_rows(bench) -> None:
    """The numbers are those of the test rows with a label, computed by hand."""
    b = bench(ABSOLUTE)
    rows = b.app.datasets.read(b.model, b.dataset, part="test").filter(pl.col("label").is_not_null())
    truth = rows["label"].to_numpy()
    guess = rows["grams"].to_numpy() / 1000 + 0.5

    evaluation = b.judge(b.contest(b.predictor(off_by(0.3), 2), b.predictor(good, 1)))

    verdict = evaluation.verdict
    assert verdict.rows == rows.height == b.dataset.test_rows
    assert verdict.candidate_score == pytest.approx(np.abs(truth - guess - 0.3).mean())
    assert verdict.champion_score == pytest.approx(np.abs(truth - guess).mean())
    assert verdict.margin == pytest.approx(0.05 * np.abs(truth - guess).mean())
    assert sum(evaluation.by_day["rows"]) == rows.height
    assert sum(evaluation.by_day["champion"]) == pytest.approx(np.abs(truth - guess).sum())
    assert len(evaluation.by_day["day"]) == verdict.days == rows["event_at"].dt.date().n_unique()
    assert verdict.decision is Decision.WORSE


def test_the_margin_comes_with_its_references(bench) -> None:
    """Half of the champion's gain over a constant, and the smallest effect that the window shows, stand beside it."""
    b = bench(ABSOLUTE)

    verdict = b.judge(b.contest(b.predictor(good, 2), b.predictor(off_by(0.05), 1))).verdict

    assert verdict.references is not None
    constant = b.predictor(good).baseline.predict(1)[0]
    rows = b.app.datasets.read(b.model, b.dataset, part="test")
    gain = float(np.abs(rows["label"].to_numpy() - constant).mean()) - (verdict.champion_score or 0)
    assert verdict.references["half_gain"] == pytest.approx(gain / 2)
    assert verdict.references["mde"] == pytest.approx(2 * ((verdict.upper or 0) - (verdict.difference or 0)))


def test_rows_that_the_champion_has_seen_do_not_judge(bench) -> None:
    """Law 5: where the champion learnt from later rows, only rows after those (and the wait) are scored."""
    b = bench(PLAIN)
    late = b.dataset.split + timedelta(days=2)
    champion = b.predictor(good, 1, trained_until=late, trained_through=late - timedelta(hours=1))

    verdict = b.judge(b.contest(b.predictor(good, 2), champion)).verdict

    since = late + b.model.label.wait
    rows = b.app.datasets.read(b.model, b.dataset, part="test").filter(pl.col("event_at") >= since)
    assert verdict.rows == rows.height < b.dataset.test_rows


def test_a_champion_that_saw_the_whole_window_is_refused(bench) -> None:
    """With no unseen row there is no verdict, and no release."""
    b = bench(PLAIN)
    champion = b.predictor(good, 1, trained_until=b.dataset.until)

    verdict = b.judge(b.contest(b.predictor(good, 2), champion)).verdict

    assert verdict.decision is Decision.REFUSED
    assert "unseen by all" in verdict.reason


def raises(x: pl.DataFrame) -> np.ndarray:
    raise RuntimeError("the feed is gone")


BAD = {
    "a champion that cannot score": (good, raises, "champion v1 cannot score"),
    "a candidate that cannot score": (raises, good, "candidate v2 cannot score"),
    "NaN from the candidate": (lambda x: np.where(x["kilograms"] > 1.99, np.nan, 1.0), good, "not a number"),
    "infinity from the champion": (good, lambda x: good(x) / 0.0, "not a number"),
    "a constant candidate": (lambda x: np.full(x.height, 1.5), good, "same answer"),
    "too few predictions": (lambda x: good(x)[1:], good, "cannot score"),
}


@pytest.mark.parametrize("case", BAD)
def test_the_gate_fails_closed(bench, case) -> None:
    """Law 6: whatever cannot be judged is refused with its reason, never released."""
    candidate, champion, why = BAD[case]
    b = bench(PLAIN)

    with np.errstate(divide="ignore"):
        verdict = b.judge(b.contest(b.predictor(candidate, 2), b.predictor(champion, 1))).verdict

    assert verdict.decision is Decision.REFUSED
    assert why in verdict.reason


def test_a_champion_that_cannot_be_loaded_refuses(bench) -> None:
    """A champion whose bundle is damaged is no reason to release without a comparison."""
    b = bench(PLAIN)

    contest = b.contest(b.predictor(good, 2), None, champion_version=1, failure="the champion v1 cannot be loaded")

    verdict = b.judge(contest).verdict
    assert (verdict.decision, verdict.against) == (Decision.REFUSED, "champion")
    assert "cannot be loaded" in verdict.reason


def test_a_metric_that_raises_refuses(bench) -> None:
    """A broken metric is no verdict."""
    body = PLAIN + "\n@m.metric\ndef broken(y, p):\n    raise ValueError('no')\n"
    b = bench(body)

    verdict = b.judge(b.contest(b.predictor(good, 2), b.predictor(good, 1))).verdict

    assert verdict.decision is Decision.REFUSED
    assert "metric broken failed" in verdict.reason


def test_a_metric_of_all_rows_is_resampled_by_day(bench) -> None:
    """A whole metric (here a median) gets its interval from the jackknife over days; its direction is minded."""
    body = MODEL.format(more='gate=gate(metric="median_hit", margin=0.2), ') + (
        "\n@m.metric(whole=True, better='higher')\n"
        "def median_hit(y, p):\n    return float(1 - np.median(np.abs(y - p)))\n"
    )
    b = bench(body)

    better = b.judge(b.contest(b.predictor(good, 2), b.predictor(off_by(1.0), 1))).verdict
    worse = b.judge(b.contest(b.predictor(off_by(1.0), 2), b.predictor(good, 1))).verdict

    assert better.decision is Decision.PASS
    assert better.difference is not None
    assert better.difference < 0 < (worse.difference or 0)
    assert better.candidate_score is not None
    assert better.candidate_score > (better.champion_score or 0)
    assert worse.decision is Decision.WORSE


def uneven(x: pl.DataFrame) -> np.ndarray:
    """As good on the whole, but for some parcels better and for some worse."""
    return good(x) + 0.1 * np.sin(1e4 * x["kilograms"].to_numpy())


def test_past_its_deadline_an_undecided_candidate_is_released(bench) -> None:
    """Once the champion is stale, not significantly worse and below three margins is enough; the verdict says so."""
    b = bench(MODEL.format(more='gate=gate(metric="absolute_error", margin=0.008), '))
    contest = b.contest(b.predictor(uneven, 2), b.predictor(good, 1))

    fresh = b.judge(contest).verdict
    stale = b.judge(contest, later=timedelta(days=60)).verdict

    assert fresh.decision is Decision.INCONCLUSIVE
    assert fresh.days_needed is not None
    assert fresh.days_needed > fresh.days
    assert (stale.decision, stale.released_on_deadline) == (Decision.PASS, True)


def test_slices_are_compared_too(bench) -> None:
    """Each value of a declared slice has its rows and its difference."""
    b = bench(PLAIN + "\n@m.slice\ndef zone(rows):\n    return rows['zone']\n")

    evaluation = b.judge(b.contest(b.predictor(off_by(0.1), 2), b.predictor(good, 1)))

    zones = evaluation.slices["zone"]
    assert isinstance(zones, dict)
    assert set(zones) == {"near", "far"}
    assert sum(part["rows"] for part in zones.values()) == evaluation.verdict.rows


def test_a_slice_that_raises_refuses(bench) -> None:
    """A broken slice is no verdict, and no end of the run."""
    b = bench(PLAIN + "\n@m.slice\ndef zone(rows):\n    raise ValueError('no')\n")

    evaluation = b.judge(b.contest(b.predictor(good, 2), b.predictor(good, 1)))

    assert evaluation.verdict.decision is Decision.REFUSED
    assert "slice zone failed" in evaluation.verdict.reason
    assert evaluation.slices == {}


def test_the_same_run_is_judged_once(bench) -> None:
    """A step that comes again gives the evaluation that it made."""
    from perene.pipelines.validation import validate

    b = bench(PLAIN)
    run = b.app.runs.create(
        "parcels", trigger="manual", due_at=b.app.time.now(), created_at=b.app.time.now(), actor="test"
    )
    contest = b.contest(b.predictor(good, 2), b.predictor(good, 1))

    first, second = (
        validate(contest, datasets=b.app.datasets, evaluations=b.app.evaluations, now=b.app.time.now(), run=run.id)
        for _ in range(2)
    )

    assert first.id == second.id
    assert len(b.app.evaluations.list("parcels")) == 1


POSTS = """
def train(x, y):
    return None

def post(rows, p):
    return {post}

m = Model("parcels", label=Label("hours", float, **WAIT), train=train, post=post,
          gate=gate(metric="absolute_error", margin="5%"), **terms)
"""


def reposted(b, predictor, post):
    """The same version, as if its code had another post step."""
    from copy import copy
    from dataclasses import replace

    model = copy(predictor.model)
    model._hooks = [replace(hook, function=post) if hook.kind == "post" else hook for hook in model._hooks]
    predictor.model = model
    return predictor


def test_post_steps_are_judged_too(bench) -> None:
    """A candidate whose raw output is as good, but whose answers are worse, is left to a person."""
    b = bench(POSTS.format(post="p.clip(0, 100)"))
    spoilt = reposted(b, b.predictor(good, 2), lambda rows, p: p + 1.0)
    flat = reposted(b, b.predictor(good, 3), lambda rows, p: p * 0 + 1.0)

    same = b.judge(b.contest(b.predictor(good, 4), b.predictor(good, 1))).verdict
    worse = b.judge(b.contest(spoilt, b.predictor(good, 1))).verdict
    constant = b.judge(b.contest(flat, b.predictor(good, 1))).verdict

    assert same.decision is Decision.PASS
    assert worse.decision is Decision.REFUSED
    assert worse.reason.startswith("after the post steps: worse than the champion")
    assert constant.decision is Decision.REFUSED
    assert "same answer" in constant.reason


def test_post_steps_may_change_the_scale(bench) -> None:
    """Where the metric has no value for the champion's answers, the raw output alone is judged."""
    body = POSTS.format(post="p * np.nan").replace("absolute_error", "squared_error")
    b = bench(body)

    verdict = b.judge(b.contest(b.predictor(good, 2), b.predictor(good, 1))).verdict

    assert verdict.decision is Decision.PASS
