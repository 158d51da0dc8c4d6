"""Law 7: every change that a person makes is written down with who, when, why and what was there before."""

from __future__ import annotations

import pytest

from perene.app import App, open_project

MODEL = "parcel-hours"


@pytest.fixture
def app(tiny) -> App:
    """A project with two versions that were live."""
    opened = open_project(tiny)
    opened.train(MODEL, actor="setup")
    yield opened
    opened.close()


DEEDS = {
    "hold": lambda app: app.hold(MODEL, actor="ana", why="because"),
    "resume": lambda app: (app.hold(MODEL, actor="ana", why="x"), app.resume(MODEL, actor="ana", why="because")),
    "rollback": lambda app: app.rollback(MODEL, actor="ana", why="because"),
    "approve": lambda app: app.approve(_proposed(app), actor="ana", why="because"),
    "reject": lambda app: app.reject(_proposed(app), actor="ana", why="because"),
    "run": lambda app: app.train(MODEL, actor="ana"),
}


def _proposed(app: App) -> int:
    """A release that stands open."""
    version = app.models.champion(MODEL)
    from dataclasses import replace

    made = app.models.add_version(replace(version, run=None))
    return app.releases.propose(
        MODEL, made.version, run=None, evaluation=None, at=app.time.now(), actor="perene", why="open"
    ).id


@pytest.mark.parametrize("verb", DEEDS)
def test_every_deed_is_in_the_audit_log(app, verb) -> None:
    """The newest line of a deed names its actor, its time, and (where one was given) its reason."""
    before = app.time.now()

    DEEDS[verb](app)

    line = next(line for line in app.audits.list() if line.verb == verb)
    assert line.actor == "ana"
    assert before <= line.at <= app.time.now()
    assert line.why == ("" if verb == "run" else "because")
    assert MODEL in line.object or MODEL in str(line.before)


@pytest.mark.parametrize("verb", ["approve", "rollback"])
def test_a_change_of_what_is_live_tells_before_and_after(app, verb) -> None:
    """Which version was live before, and which is now, stand in the line."""
    DEEDS[verb](app)

    line = next(line for line in app.audits.list() if line.verb == verb)
    assert line.before is not None
    assert line.after is not None
    assert line.before["champion"] == 2
    assert line.after["champion"] == app.models.get(MODEL).champion != 2


def test_a_rollback_holds_the_model_and_brings_the_old_answer_back(app) -> None:
    """V6, R6: the version before answers again, and automatic releases wait until somebody resumes them."""
    import polars as pl

    rows = pl.DataFrame({"number": [1], "sent_at": [app.time.now()], "grams": [500.0], "note": ["n"]})
    second = app.predict(MODEL, rows)["prediction"][0]
    first = app.predictor(MODEL, 1).predict(app.model(MODEL).schema.check(rows).good).final[0]

    app.rollback(MODEL, actor="ana", why="because")
    held = app.train(MODEL, actor="ana").outcome

    answer = app.predict(MODEL, rows)
    assert (answer["prediction"][0], answer["model_version"][0]) == (first, 1)
    assert first != second
    assert held == "held"


def test_a_rollback_to_a_damaged_version_is_refused(app) -> None:
    """A version that cannot be loaded is not gone back to: what is live stays."""
    from pathlib import Path

    from perene.errors import BundleError

    digest = app.models.version(MODEL, 1).bundle
    file = Path(app.settings.storage) / "bundles" / digest[:2] / digest / "fitted.pkl"
    file.write_bytes(b"x" + file.read_bytes()[1:])

    with pytest.raises(BundleError, match="cannot be used"):
        app.rollback(MODEL, actor="ana", why="because")

    assert app.models.get(MODEL).champion == 2
    assert app.models.get(MODEL).held_at is None
