"""The cycle: one run through all its steps, again and again, on a schedule, with faults in between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from perene.errors import NotFound
from perene.pipelines.serving import serve_bulk
from perene.records.run import STEPS, RunState

START = datetime(2026, 3, 1, tzinfo=UTC)
TWO_MODELS = """
from sklearn.linear_model import LinearRegression

def train(x: np.ndarray, y):
    return LinearRegression().fit(x, y)

first = Model("parcels", label=Label("hours", float, **WAIT), train=train, **terms)
second = Model("others", label=Label("hours", float, **WAIT), train=train, **terms)
"""


def test_the_steps_of_a_run_are_the_steps_that_are_told(open_app) -> None:
    """A run's steps have the names and the order that the record promises."""
    app = open_app()

    run = app.train("parcels", actor="test")

    assert tuple(step.name for step in run.steps) == STEPS
    assert (run.state, run.outcome) == (RunState.SUCCEEDED, "released")


def test_a_replay_runs_the_schedule(open_app) -> None:
    """Law 13: in replayed time each due time makes one run, and each run knows only what was known then."""
    app = open_app()
    app.time.start_replay(START)
    outcomes = []
    for day in range(4):
        app.time.advance(START + timedelta(days=day, hours=2))
        assert len(app.schedule()) == 1
        assert app.schedule() == []
        run = app.worker().work_one()
        outcomes.append((run.due_at, run.outcome))

    assert [due for due, _ in outcomes] == [START + timedelta(days=day) for day in range(4)]
    assert {outcome for _, outcome in outcomes} <= {"released", "inconclusive"}
    assert [d.version for d in app.datasets.list("parcels")] == [4, 3, 2, 1]
    for dataset in app.datasets.list("parcels"):
        rows = app.datasets.read(app.model("parcels"), dataset)
        assert rows["event_at"].max() < dataset.until <= dataset.as_of
        assert app.datasets.verify(app.model("parcels"), dataset).ok


def test_what_was_live_is_known_for_any_past_time(open_app) -> None:
    """R2: the ledger tells which version was live at an instant."""
    app = open_app()
    app.time.start_replay(START)
    for day in range(3):
        app.time.advance(START + timedelta(days=day))
        app.train("parcels", actor="test")

    assert app.releases.live_at("parcels", START - timedelta(seconds=1)) is None
    live = [app.releases.live_at("parcels", START + timedelta(days=day, hours=1)) for day in range(3)]
    assert live == sorted(live)
    assert live[0] == 1
    assert live[-1] == app.models.get("parcels").champion


def test_a_version_is_live_from_when_it_went_live(open_app) -> None:
    """R2: a run that waited or worked for long makes its version live at its end, and not when it was asked for."""
    app = open_app()
    app.time.start_replay(START)
    app.schedule()
    app.time.advance(START + timedelta(hours=2))

    app.worker().work_one()

    assert app.releases.live_at("parcels", START + timedelta(hours=1)) is None
    assert app.releases.live_at("parcels", START + timedelta(hours=2)) == 1
    assert app.datasets.latest("parcels").as_of == START


def test_a_prediction_is_traced_within_its_model(open_app) -> None:
    """Law 3: ids are a model's own: of two predictions with one id each model shows its own."""
    app = open_app(TWO_MODELS)
    rows = pl.DataFrame({"number": [5], "sent_at": [START], "grams": [500.0]})
    for name in ("parcels", "others"):
        app.train(name, actor="test")
        model = app.model(name)
        made = serve_bulk(
            app.predictor(name), model.schema.check(rows).good, model=model, predicted_at=START, recorded_at=START
        )
        app.predictions.append(model, made.with_columns(prediction_id=pl.lit("order-1")), f"test:{name}")

    traces = [app.trace("order-1", model=name) for name in ("parcels", "others")]

    assert [trace["model"] for trace in traces] == ["parcels", "others"]
    with pytest.raises(NotFound, match="of others"):
        app.trace("order-2", model="others")


def test_a_version_leads_to_its_dataset_and_code(open_app) -> None:
    """R7: from a logged prediction to the version, its dataset version, and back to the rows that it learnt from."""
    app = open_app()
    app.train("parcels", actor="test")
    rows = pl.DataFrame({"number": [5], "sent_at": [app.time.now()], "grams": [500.0]})
    made = app.predict("parcels", rows, log=True)

    trace = app.trace(made["prediction_id"][0])

    version = app.models.version("parcels", int(str(trace["model_version"])))
    dataset = app.datasets.get("parcels", int(str(trace["dataset_version"])))
    assert version.dataset == dataset.version
    assert app.datasets.read(app.model("parcels"), dataset, part="train").height == version.rows
    assert trace["features"] == {"kilograms": 0.5, "far": 0.0}
    assert trace["request"]["grams"] == 500.0


def test_truth_is_found_with_its_prediction(open_app) -> None:
    """S19: a truth by id wins over one by key and time; the newest holds; null takes it back."""
    app = open_app()
    app.train("parcels", actor="test")
    at = app.time.now() - timedelta(hours=3)
    rows = pl.DataFrame({"number": [5], "sent_at": [at], "grams": [500.0]})
    made = app.predict("parcels", rows, log=True)["prediction_id"][0]

    def truth_after(**columns: object) -> object:
        app.add_truths("parcels", pl.DataFrame({k: [v] for k, v in columns.items()}), source="test")
        truth = app.trace(made)["truth"]
        return None if truth is None else truth["label"]

    by_key = truth_after(number=5, sent_at=at, hours=1.0, arrived_at=at + timedelta(minutes=1))
    by_id = truth_after(prediction_id=made, hours=2.0, arrived_at=at + timedelta(minutes=1))
    corrected = truth_after(prediction_id=made, hours=2.5, arrived_at=at + timedelta(minutes=2))
    of_others = truth_after(number=6, sent_at=at, hours=9.0, arrived_at=at + timedelta(minutes=3))
    taken_back = truth_after(prediction_id=made, hours=None, arrived_at=at + timedelta(minutes=4))

    assert (by_key, by_id, corrected, of_others, taken_back) == (1.0, 2.0, 2.5, 2.5, 1.0)


@pytest.mark.parametrize("late", [timedelta(0), timedelta(days=3)])
def test_missed_schedules_are_one_run(open_app, late) -> None:
    """What a stopped scheduler missed is made up by one run, not by many."""
    app = open_app()
    app.time.start_replay(START)
    app.schedule()
    app.worker().work_one()
    app.time.advance(START + timedelta(days=1) + late)

    assert len(app.schedule()) == 1
    assert app.worker().work_one().due_at == START + timedelta(days=1) + late


def test_a_failed_run_leaves_what_is_live(open_app, write_project) -> None:
    """T7: a failure alarms and the champion stays; the next good run takes the alert back."""
    from perene.app import open_project

    app = open_app()
    app.train("parcels", actor="test")
    file = app.project.folder / "models" / "parcels.py"
    good = file.read_text()

    file.write_text(good.replace("def train(x, y, seed):", "def train(x, y, seed):\n    raise RuntimeError('broken')"))
    broken = open_project(app.project.folder)
    failed = broken.train("parcels", actor="test")
    alerts = [(alert.rule, alert.why) for alert in broken.alerts.list(state="firing")]
    broken.close()
    file.write_text(good)
    mended = open_project(app.project.folder)
    after = mended.train("parcels", actor="test")

    assert (failed.state, app.models.get("parcels").champion is not None) == (RunState.FAILED, True)
    assert alerts[0][0] == "run-failed"
    assert "broken" in alerts[0][1]
    assert after.state is RunState.SUCCEEDED
    assert mended.alerts.list(state="firing") == []
    mended.close()


def test_a_replays_time_stands_while_a_run_works(open_app) -> None:
    """Project time runs on at the settings' speed, stands while a run works, and goes on after it."""
    app = open_app(settings="[time]\nspeed = 3600\n")
    app.time.start_replay(START)
    app.train("parcels", actor="test")  # the engine is warm after it
    speeds = []

    def look() -> None:
        app.wind(actor="test")
        anchor = app.time.anchor()
        assert anchor is not None
        speeds.append(anchor.speed)

    look()
    later = START + timedelta(hours=1)
    app.runs.create("parcels", trigger="manual", due_at=later, created_at=app.time.now(), actor="test")
    worker = app.worker()
    step = worker._steps["dataset"]
    worker._steps["dataset"] = lambda context: (look(), step(context))[1]
    worker.work_one()
    look()

    assert speeds == [3600.0, 0.0, 3600.0]
