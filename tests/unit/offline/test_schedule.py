"""When stored predictions are computed: by their own period, after a release, and when a person asks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from perene.app import open_project
from perene.records.run import OFFLINE, RunState
from perene.scheduling.schedule import create_offline

from .conftest import MODEL, POPULATION

DAILY = 'offline="1d", max_age="2d",'
START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def app(declare, opened, later):
    """The tiny project, whose population is predicted once a day."""
    return opened(declare(DAILY, POPULATION, every="None"), machine=later)


def loads(app) -> list:
    return [run for run in app.runs.list(MODEL) if run.trigger == OFFLINE]


def test_a_live_model_is_computed_at_once_and_then_daily(app, later) -> None:
    """The first load is due where none was; after it the next day's; two schedulers make one run."""
    made = [run for run in [*app.schedule(), *app.schedule()] if run.trigger == OFFLINE]
    ran = app.worker().work_one(MODEL)
    while ran.trigger != OFFLINE:
        ran = app.worker().work_one(MODEL)
    none = [run for run in app.schedule() if run.trigger == OFFLINE]
    later.move(days=1)
    next_day = [run for run in app.schedule() if run.trigger == OFFLINE]

    assert (len(made), none, len(next_day)) == (1, [], 1)
    assert (ran.state, ran.outcome) == (RunState.SUCCEEDED, "stored")
    assert ran.steps[0].result["rows"] == 5
    generation = app.generations.of_run(ran.id)
    assert app.generations.current(MODEL) == generation
    assert app.lookup(MODEL, [3])["computed_at"].to_list() == [ran.created_at] == [generation.computed_at]


def test_a_release_makes_a_load_due(app) -> None:
    """A new live version is computed with, though the day's load is done; once."""
    app.schedule()
    while app.worker().work_one(MODEL) is not None:
        pass
    before = len(loads(app))
    app.train(MODEL, actor="test")
    outdated = app.lookup(MODEL, [3])["outdated"].to_list()
    app.schedule()
    while app.worker().work_one(MODEL) is not None:
        pass
    app.schedule()

    live = app.models.champion(MODEL).version
    assert outdated == [True]
    assert len(loads(app)) == before + 1
    assert app.lookup(MODEL, [3]).to_dicts()[0]["model_version"] == live
    assert app.lookup(MODEL, [3])["outdated"].to_list() == [False]


def test_a_person_asks(app) -> None:
    """A run is queued for whoever asks, and a worker stores what it computes."""
    run = app.ask_offline(MODEL, actor="ana")
    while app.runs.get(run.id).state is RunState.QUEUED:
        app.worker().work_one(MODEL)

    assert (run.trigger, run.actor) == (OFFLINE, "ana")
    assert app.generations.of_run(run.id).actor == "ana"


def test_without_a_period_only_who_asks_gets_a_load(declare, opened) -> None:
    """A model that does not declare offline has no load of its own accord."""
    app = opened(declare(code=POPULATION))
    app.schedule()

    assert loads(app) == []


def test_a_failed_load_alerts_and_a_good_one_takes_it_back(declare, opened, tmp_path) -> None:
    """The alert is its own: a training run that succeeds does not take it back."""
    there = tmp_path / "there"
    wants = f"    if not __import__('pathlib').Path({str(there)!r}).exists():\n        raise KeyError('gone')\n"
    mark = '    """Five parcels, sent as the question is asked."""\n'
    app = opened(declare(DAILY, POPULATION.replace(mark, mark + wants)))
    run = app.ask_offline(MODEL, actor="test")
    while app.runs.get(run.id).state is RunState.QUEUED:
        app.worker().work_one(MODEL)
    app.train(MODEL, actor="test")
    failing = [(alert.rule, alert.what) for alert in app.alerts.list(state="firing")]
    there.touch()
    again = app.ask_offline(MODEL, actor="test")
    while app.runs.get(again.id).state is RunState.QUEUED:
        app.worker().work_one(MODEL)

    what = f"run {run.id} of {MODEL} failed: the population of {MODEL} could not be read"
    assert failing == [("store-failed", what)]
    assert app.alerts.list(state="firing") == []


def test_the_health_of_a_model_is_that_of_its_cycle(app) -> None:
    """A load that failed or succeeded is not taken for the last turn of the cycle."""
    app.schedule()
    while app.worker().work_one(MODEL) is not None:
        pass

    assert OFFLINE not in {run.trigger for run in app.runs.list(MODEL, without=OFFLINE)}
    assert app.status(MODEL)


def test_loads_are_due_in_the_time_of_a_replay(tiny, tmp_path) -> None:
    """In replayed time the population is asked as of the replay, day after day."""
    import shutil

    folder = tmp_path / "replayed"
    shutil.copytree(tiny, folder, ignore=shutil.ignore_patterns(".perene"))
    file = folder / "models" / "parcel_hours.py"
    file.write_text(file.read_text().replace('    every="1d",\n', f'    every="7d",\n    {DAILY}\n') + POPULATION)
    app = open_project(folder)
    try:
        app.time.start_replay(START)
        app.train(MODEL, actor="test")
        asked = []
        for day in range(3):
            app.time.advance(START + timedelta(days=day, hours=1))
            app.schedule()
            while app.worker().work_one(MODEL) is not None:
                pass
            asked += app.lookup(MODEL, [2])["sent_at"].to_list()
    finally:
        app.close()

    assert asked == [START + timedelta(days=day, hours=1) for day in range(3)]


def test_what_was_missed_is_one_load(app) -> None:
    """Days without a scheduler are one load, and a model of which nothing is live has none."""
    now = datetime(2026, 6, 10, 12, tzinfo=UTC)
    every = {MODEL: timedelta(days=1)}

    nobody = create_offline(app.runs, every, {}, now=now)
    made = create_offline(app.runs, every, {MODEL: now - timedelta(days=9)}, now=now)

    assert nobody == []
    assert [run.due_at for run in made] == [datetime(2026, 6, 10, tzinfo=UTC)]
