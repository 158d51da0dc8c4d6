"""The demo, shortened: two weeks of March with three flights in ten, the last two days over HTTP."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from perene.app import App, open_project
from perene.cli import main
from perene.demo.flights import read_flights
from perene.demo.folder import MARKER
from perene.demo.replay import MODEL, Plan
from perene.demo.results import AUC, LOSS, Results
from perene.demo.show import as_data, run
from perene.records.plain import plain_data
from perene.storage.envelope import Log

PLAN = Plan(
    since=datetime(2013, 3, 1, tzinfo=UTC),
    http_from=datetime(2013, 3, 14, tzinfo=UTC),
    until=datetime(2013, 3, 16, tzinfo=UTC),
)
WAIT = timedelta(hours=36)
FLIGHT = ["carrier", "flight", "origin", "sched_dep"]


@dataclass(frozen=True, kw_only=True)
class Demo:
    """A demo that has run: its flights, its project, what it measured and printed."""

    flights: pl.DataFrame
    folder: Path
    app: App
    results: Results
    printed: str

    def log(self) -> pl.DataFrame:
        """The prediction log, with the request's fields as columns."""
        return self.app.predictions.scan(self.app.model(MODEL)).collect().unnest("request")

    def asked(self) -> pl.DataFrame:
        """The flights that were to be asked for, and when."""
        asked = self.flights.with_columns(asked_at=pl.col("sched_dep") - pl.duration(hours=1))
        return asked.filter(pl.col("asked_at").is_between(PLAN.since, PLAN.until, closed="left"))

    def measured(self) -> pl.DataFrame:
        """Answered flights whose wait is over and that have landed, each with what the first version says of it."""
        known = self.asked().filter(
            pl.col("sched_dep").is_between(PLAN.since, PLAN.until - WAIT), pl.col("landed_at") <= PLAN.until
        )
        rows = self.log().select(*FLIGHT, "raw").join(known, on=FLIGHT)
        assert self.results.first is not None
        return rows.with_columns(first=self.app.predictor(MODEL, self.results.first).predict(rows).raw)


@pytest.fixture(scope="module")
def flights() -> pl.DataFrame:
    """Three flights in ten."""
    return read_flights().sample(fraction=0.3, seed=2013, shuffle=True)


@pytest.fixture(scope="module")
def demo(flights, tmp_path_factory) -> Iterator[Demo]:
    """The shortened demo."""
    folder, printed = tmp_path_factory.mktemp("demo") / "perene-demo", io.StringIO()
    with contextlib.redirect_stdout(printed):
        results = run(folder, plan=PLAN, flights=flights)
    app = open_project(folder)
    yield Demo(flights=flights, folder=folder, app=app, results=results, printed=printed.getvalue())
    app.close()


def test_flights_are_asked_for_an_hour_before_and_answered_by_what_was_live(demo):
    """Each answer was given one hour before departure, in bulk or over HTTP, by the version that was live then."""
    log = demo.log()
    live = [demo.app.releases.live_at(MODEL, at) for at in log["predicted_at"]]

    assert (log["sched_dep"] - log["predicted_at"]).unique().to_list() == [timedelta(hours=1)]
    assert log["model_version"].to_list() == live


def test_every_flight_is_in_the_log_once_or_counted(demo):
    """Each flight that was asked for is one line of the log, unless no version was live: those are counted."""
    log, asked = demo.log(), demo.asked()
    first_live = demo.app.releases.history(MODEL)[0].since
    told = demo.results.told

    answered = asked.filter(pl.col("asked_at") >= first_live)
    assert log.select(FLIGHT).sort(FLIGHT).equals(answered.select(FLIGHT).sort(FLIGHT))
    assert told.unanswered == asked.height - answered.height > 0
    assert log["prediction_id"].n_unique() == log.height == told.bulk + told.http


def test_what_it_prints_is_told_to_machines(demo):
    """perene demo --json has the folder, the report, and each line of the table, as JSON."""
    data = plain_data(as_data(demo.results, demo.folder))

    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert Path(data["report"]).read_text().startswith("<!")
    assert [line["name"] for line in [*data["lines"], data["total"]]] == ["March", "all"]
    assert data["total"]["quality"]["answered"] + data["later"] == demo.log().height
    assert data["as_of"] == "2013-03-16T00:00:00.000000Z"


def test_the_last_days_went_over_http(demo):
    """What was asked for from that day on was answered by a server, minute by minute, and drained once."""
    over_http = demo.log().filter(pl.col("predicted_at") >= PLAN.http_from)
    requests = over_http.group_by("predicted_at").agg(pl.col("request_id").n_unique(), pl.col("ingest").n_unique())

    assert over_http.height == demo.results.told.http > 0
    assert requests["request_id"].to_list() == [1] * requests.height
    assert over_http["request_id"].n_unique() == requests.height


def test_no_truth_comes_before_its_flight_has_landed(demo):
    """The ground truth is of flights that landed in time, known when they did, each once; of others there is none."""
    said = demo.app.lake.scan(MODEL, Log.TRUTHS).collect()
    landed = demo.asked().filter(pl.col("landed_at") < PLAN.until)

    known = said.select("event_at", "known_at", "label").sort(pl.all())
    assert known.equals(landed.select(event_at="sched_dep", known_at="landed_at", label="late").sort(pl.all()))
    assert said.select("key", "event_at").is_unique().all()
    assert not said["retracted"].any()


def test_a_cycle_knows_what_had_happened_and_nothing_more(demo):
    """A dataset holds the archive and the answered flights of its window, with the labels of what had landed."""
    model, log = demo.app.model(MODEL), demo.log()
    answered = demo.flights.join(log.select(FLIGHT), on=FLIGHT, how="semi")
    for version in demo.app.datasets.list(MODEL):
        told = pl.concat([demo.flights.filter(pl.col("sched_dep") < PLAN.since), answered])
        inside = told.filter(pl.col("sched_dep").is_between(version.since, version.until, closed="left"))
        expected = inside.with_columns(label=pl.when(pl.col("landed_at") <= version.created_at).then("late"))

        rows = demo.app.datasets.read(model, version)

        assert rows.select(*FLIGHT, "label").sort(FLIGHT).equals(expected.select(*FLIGHT, "label").sort(FLIGHT))


def test_a_cycle_runs_every_week(demo):
    """The schedule's runs are at the beginning and at each due time, and each ended."""
    runs = sorted(demo.app.runs.list(MODEL), key=lambda run: run.id)

    assert [run.created_at.day for run in runs] == [1, 7, 14]
    assert {run.trigger for run in runs} == {"schedule"}
    assert {run.state.value for run in runs} == {"succeeded"}


def test_the_table_is_what_the_logs_say(demo):
    """Loss, AUC, bias, labels and flights of the table are those of plain Polars and scikit-learn."""
    quality, rows = demo.results.total.quality, demo.measured()
    y = pl.col("late")
    losses = rows.select(-pl.when(y).then(pl.col(p)).otherwise(1 - pl.col(p)).log().alias(p) for p in ("raw", "first"))
    in_month = demo.log().filter(pl.col("sched_dep") < PLAN.until)
    mature = in_month.filter(pl.col("sched_dep") <= PLAN.until - WAIT).height

    loss, auc = quality.metric(LOSS), quality.metric(AUC)
    assert (loss.live.value, loss.rescored.value) == pytest.approx((losses["raw"].mean(), losses["first"].mean()))
    assert loss.difference.value == pytest.approx(losses["raw"].mean() - losses["first"].mean())
    assert auc.live.value == pytest.approx(roc_auc_score(rows["late"], rows["raw"]))
    assert auc.rescored.value == pytest.approx(roc_auc_score(rows["late"], rows["first"]))
    assert quality.bias.observed.value == pytest.approx(rows["raw"].mean() - rows["late"].mean())
    assert (quality.answered, quality.mature, quality.labelled) == (in_month.height, mature, rows.height)
    assert np.isfinite([loss.difference.lower, loss.difference.upper]).all()


def test_the_table_is_printed(demo):
    """What is printed are those numbers: a line for the month and one for all, then what they mean."""
    total = demo.results.total
    loss = total.quality.metric(LOSS)
    lines = demo.printed.splitlines()
    (month,), (every,) = ([line for line in lines if line.startswith(name)] for name in ("Mar ", "all "))

    for number in (f"{total.quality.answered:,}", f"{loss.live.value:.3f}", f"{loss.rescored.value:.3f}"):
        assert number in month.split()
        assert number in every.split()
    assert [int(word) for word in every.split()[-3:]] == [
        sum(run.outcome == outcome for run in demo.app.runs.list(MODEL))
        for outcome in ("released", "worse", "inconclusive")
    ]
    assert f"{demo.results.told.unanswered:,} flights were asked for before a version was live" in demo.printed


def test_the_report_needs_nothing_else(demo):
    """report.html has its figures in it, and neither loads nor runs anything."""
    text = (demo.folder / "report.html").read_text()

    assert text.count('role="img"') == 3
    assert not re.findall(r"<script|<link|<img|<iframe|@import|url\(|\bsrc=|\bhref=|\son\w+=", text)
    assert set(re.findall(r"https?://[^\"' <]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in unescape(text)


def test_time_stands_at_the_end(demo):
    """Project time stands where the replay ended."""
    assert demo.app.time.now() == PLAN.until


def test_the_project_is_whole(demo):
    """The project is sound, and what its README and its traffic need is there."""
    assert main(["check", "--project", str(demo.folder)]) == 0
    for name in ("README.md", "traffic.py", "perene.toml", ".gitignore", "data/archive.parquet", "report.html"):
        assert (demo.folder / name).is_file()
    assert not (demo.folder / "gitignore").exists()


def test_another_folder_is_refused(tmp_path, capsys):
    """A folder that the demo did not write is left as it is, and the error says what to do."""
    (tmp_path / "mine.txt").write_text("mine")

    assert main(["demo", "--into", str(tmp_path)]) == 4

    assert "mend" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_second_run_starts_afresh(demo, flights, tmp_path):
    """A folder of the demo is replaced, whatever has been put into it."""
    folder = tmp_path / "perene-demo"
    shutil.copytree(demo.folder, folder)
    (folder / "notes.txt").write_text("mine")
    day = Plan(since=PLAN.since, http_from=PLAN.since + timedelta(days=1), until=PLAN.since + timedelta(days=1))

    with contextlib.redirect_stdout(io.StringIO()):
        results = run(folder, plan=day, flights=flights)

    assert len(results.total.cycles) == 1
    assert (folder / MARKER).is_file()
    assert not (folder / "notes.txt").exists()


def test_traffic_asks_and_tells_by_the_projects_time(demo, server_of, tmp_path):
    """traffic.py asks for what is due at project time, tells what has landed, and may be started again."""
    folder, now = tmp_path / "perene-demo", PLAN.until + timedelta(hours=2)
    shutil.copytree(demo.folder, folder)
    app = open_project(folder)
    app.time.advance(now)
    before = app.predictions.scan(app.model(MODEL)).collect()
    with server_of(folder) as server:
        said = [_first_line_of_traffic(folder, server.port) for _ in range(2)]
        assert app.drained()
    new = app.predictions.scan(app.model(MODEL)).collect().join(before, on="prediction_id", how="anti")
    told = app.lake.scan(MODEL, Log.TRUTHS).collect().filter(pl.col("known_at") >= PLAN.until)
    app.close()

    due = demo.flights.filter(pl.col("sched_dep").is_between(now, now + timedelta(hours=1), closed="right"))
    landed = demo.flights.filter(
        pl.col("landed_at").is_between(PLAN.until, now), pl.col("sched_dep") >= PLAN.since + timedelta(hours=1)
    )
    assert said[0] == said[1]
    assert new.height == due.height > 0
    assert new["predicted_at"].unique().to_list() == [now]
    assert told.select("key", "event_at").n_unique() == landed.height > 0


def _first_line_of_traffic(folder: Path, port: int) -> str:
    """Start traffic.py, and end it after its first line."""
    command = [sys.executable, str(folder / "traffic.py"), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as traffic:
        assert traffic.stdout is not None
        line = traffic.stdout.readline()
        traffic.send_signal(signal.SIGINT)
    return line


def test_traffic_needs_python_only(demo):
    """traffic.py imports nothing but the standard library."""
    tree = ast.parse((demo.folder / "traffic.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


@pytest.mark.parametrize("width", [1200, 400])
def test_the_report_is_whole_in_a_browser(demo, needs, width):
    """In Chromium the page asks for nothing, complains of nothing, shows three figures, and never scrolls sideways."""
    needs("chromium")
    from playwright.sync_api import sync_playwright

    asked, complaints = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((demo.folder / "report.html").as_uri())
        figures = page.get_by_role("img").all()
        sizes = [figure.bounding_box() for figure in figures]
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        page.get_by_text("Show the numbers").first.click()
        numbers = page.locator("figure table").first.inner_text()
        browser.close()

    assert [url.rpartition("/")[2] for url in asked] == ["report.html"]
    assert complaints == []
    assert len(sizes) == 3
    assert all(size["height"] > 40 and size["width"] > width / 2 for size in sizes)
    assert overflow <= 0
    assert f"{demo.results.total.quality.metric(LOSS).live.value:.3f}"[:3] in numbers


def test_a_folder_in_use_is_refused(tmp_path, capsys):
    """While a server of the folder runs, the demo does not take it away under it."""
    from perene.storage.journal import Journal, journal_folder

    folder = tmp_path / "perene-demo"
    folder.mkdir()
    (folder / MARKER).write_text("")
    journal = Journal(journal_folder(folder), "living")

    assert main(["demo", "--into", str(folder)]) == 4

    journal.close()
    assert "a server of it runs" in capsys.readouterr().err
    assert (folder / MARKER).exists()
