"""New versions on live traffic, from outside: canaries, shadows, and fresh releases that are taken back."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from perene.app import App, open_project

MODEL = "parcel-hours"
SAYS = 'return self.base + self.slope * x["kilograms"].to_numpy()'  # of the model's code


class Stage:
    """A project with a live version, a candidate that waits, and a running server."""

    def __init__(self, folder: Path, server, wait_for: Callable[..., Any], call, a_row) -> None:
        self.folder, self.server, self.wait_for, self.call, self.a_row = folder, server, wait_for, call, a_row
        self.app: App = open_project(folder)

    def candidate(self, change: Callable[[str], str] = lambda code: code) -> int:
        """Train a version of changed code, while the model is held; gives its release."""
        path = self.folder / "models" / "parcel_hours.py"
        path.write_text(change(path.read_text()))
        self.app.close()
        self.app = open_project(self.folder)
        self.app.hold(MODEL, actor="test", why="a person decides")
        assert self.app.train(MODEL, actor="test").outcome == "held"
        self.app.resume(MODEL, actor="test")
        return self.app.releases.list(MODEL)[0].id

    def serves(self, **wanted: Any) -> None:
        """Wait until the server runs these versions."""
        with closing(self.server.client()) as client:
            self.wait_for(lambda: wanted.items() <= client.ask("GET", f"/v1/models/{MODEL}")[1].items(), seconds=60)

    def ask(self, count: int = 100, **row: Any) -> list[int]:
        """Ask for single rows of many keys; the version of each answer. None may fail."""
        with closing(self.server.client()) as client:
            answers = [client.predict([self.a_row(number, **row)]) for number in range(count)]
        assert {status for status, _ in answers} == {200}
        return [answer["model_version"] for _, answer in answers]

    def look(self, until: Callable[[], Any]) -> None:
        """Let the scheduler look, until something has come true; the servers tell their counts meanwhile."""
        self.wait_for(lambda: (self.app.schedule(), until())[1], seconds=60)

    def state(self, release: int) -> str:
        return self.app.releases.get(release).state.value

    def said(self, *arguments: object) -> str:
        """What a command prints."""
        said = self.call(self.folder, *arguments)
        assert said.code == 0, said.err
        return said.out


@pytest.fixture
def stage(tiny, server_of, wait_for, call, a_row) -> Iterator[Stage]:
    """One stage, in a project that nobody retrains by itself."""
    path = tiny / "models" / "parcel_hours.py"
    path.write_text(path.read_text().replace('every="1d"', "every=None"))
    with server_of(tiny) as server:
        made = Stage(tiny, server, wait_for, call, a_row)
        yield made
        made.app.close()


def test_a_canary_rises_step_by_step_and_becomes_live(stage) -> None:
    """approve --canary: its share of the keys gets the new version, more with each step, and at the end all do."""
    release = stage.candidate()
    said = stage.said("release", "approve", release, "--canary", "40% 1s, 80% 1s", "--why", "a try")
    stage.serves(live_version=1, canary={"version": 2, "share": 0.4})
    few = stage.ask()
    shown = stage.said("release", "show", release), stage.said("status", MODEL)
    stage.look(lambda: stage.app.models.get(MODEL).canary_share == 0.8)
    stage.serves(live_version=1, canary={"version": 2, "share": 0.8})
    many = stage.ask()
    stage.look(lambda: stage.state(release) == "live")
    stage.serves(live_version=2, canary=None)

    assert "v2 rolls out beside v1: 40% 1s, 80% 1s" in said
    assert "v2 answers 40 % of the keys" in shown[0]
    assert "rolling out" in shown[1]
    assert {1, 2} == {*few} == {*many}
    assert few.count(2) < many.count(2)
    assert all(later == 2 for before, later in zip(few, many, strict=True) if before == 2)
    assert set(stage.ask()) == {2}
    assert "release 2 rolling out" in stage.said("model", "history", MODEL)
    stage.app.drained()
    log = stage.app.predictions.scan(stage.app.model(MODEL)).collect()
    assert set(log.select("role", "model_version").iter_rows()) == {
        ("champion", 1), ("canary", 2), ("champion", 2),
    }  # fmt: skip


def test_a_canary_that_fails_is_taken_back_and_nobody_sees_it(stage) -> None:
    """Its code raises on live rows: the champion answers those, the canary is undone, and the alert names why."""
    release = stage.candidate(lambda code: code.replace(SAYS, f"{SAYS} + (0 if x.height > 4 else 1 / 0)"))
    stage.said("release", "approve", release, "--canary", "50% 1h", "--why", "a try")
    stage.serves(canary={"version": 2, "share": 0.5})
    answered = stage.ask(80)
    stage.look(lambda: stage.state(release) == "rolled back")
    stage.serves(live_version=1, canary=None)
    (alert,) = [alert for alert in stage.app.alerts.list(state="firing") if alert.rule == "canary-undone"]

    assert set(answered) == {1}
    assert alert.what.startswith(f"{MODEL} v2 was taken back from 50% of the keys")
    assert "failed on" in alert.why
    assert "the watch" in stage.said("release", "show", release)


def test_a_fresh_release_whose_answers_jump_is_rolled_back(stage) -> None:
    """On rows as no test had them: the former version answers these otherwise, so it is live again, on hold."""
    heavy = f"{SAYS} + (60.0 if x['kilograms'].max() > 2.0 else 0.0)"
    release = stage.candidate(lambda code: code.replace(SAYS, heavy))
    stage.said("release", "approve", release, "--why", "a try")
    stage.serves(live_version=2)
    with closing(stage.server.client()) as client:
        rows = [stage.a_row(number, grams=2100.0 + number) for number in range(300)]
        for _ in range(8):
            assert client.predict(rows)[0] == 200
    stage.look(lambda: stage.app.models.get(MODEL).champion == 1)
    stage.serves(live_version=1)
    (alert,) = [alert for alert in stage.app.alerts.list(state="firing") if alert.rule == "release-undone"]

    assert "answers jump" in alert.why
    assert stage.app.models.get(MODEL).held_by == "the watch"


def test_a_shadow_is_asked_logged_and_compared_and_never_answers(stage) -> None:
    """model shadow: every answer is the champion's; the shadow's lines are no answers anywhere; model show compares."""
    stage.candidate()
    stage.said("model", "shadow", MODEL, "2")
    stage.serves(live_version=1, shadow=2)
    answered = stage.ask(30)
    stage.wait_for(lambda: stage.app.servings.get(MODEL, 2, "shadow").rows == 30)
    listed = stage.said("prediction", "list", MODEL, "--limit", "100", "-q").split()
    one = stage.said("prediction", "show", f"shadow:2:{listed[0]}", "--json")
    shown = stage.said("model", "show", MODEL)
    stage.said("model", "shadow", MODEL, "--off")
    stage.serves(shadow=None)
    stage.app.drained()
    log, model = stage.app.predictions, stage.app.model(MODEL)

    assert set(answered) == {1}
    assert len(listed) == 30
    assert not any(id.startswith("shadow") for id in listed)
    assert '"role": "shadow"' in one.replace('":"', '": "')
    assert "v2 is asked beside v1 and answers nobody" in shown
    assert "30 requests, 0 failed" in shown
    assert (log.scan(model).collect().height, log.scan(model, shadow=2).collect().height) == (30, 30)


@pytest.fixture
def crowded(stage) -> Stage:
    """Version 1 is live, version 2 its shadow, and version 3, whose code fails, the canary of half the keys."""
    stage.candidate()
    stage.said("model", "shadow", MODEL, "2")
    release = stage.candidate(lambda code: code.replace(SAYS, f"{SAYS} + (0 if x.height > 4 else 1 / 0)"))
    stage.said("release", "approve", release, "--canary", "50% 1h", "--why", "a try")
    stage.serves(live_version=1, shadow=2, canary={"version": 3, "share": 0.5})
    return stage


def test_metrics_tell_each_role_s_requests_failures_and_durations(crowded) -> None:
    """What a canary failed on, its champion answered: the series of the roles say so, those of the callers do not."""
    crowded.ask(40)
    crowded.wait_for(lambda: measured(crowded.server.port, "version_requests_total")["answered", "shadow"] == 40)

    asked = measured(crowded.server.port, "version_requests_total")
    batches = measured(crowded.server.port, "version_duration_seconds_count")
    seconds = measured(crowded.server.port, "version_duration_seconds_sum")
    callers = measured(crowded.server.port, "predictions_total")
    assert 0 < asked.pop(("failed", "canary")) < 40
    assert asked == {
        ("answered", "champion"): 40, ("failed", "champion"): 0, ("answered", "canary"): 0,
        ("answered", "shadow"): 40, ("failed", "shadow"): 0,
    }  # fmt: skip
    assert (batches["champion",], batches["canary",]) == (40, 0)
    assert 1 <= batches["shadow",] <= 40
    assert min(seconds["champion",], seconds["shadow",]) > 0
    assert {key: rows for key, rows in callers.items() if rows} == {("online", "answered"): 40}


def measured(port: int, name: str) -> dict[tuple[str, ...], float]:
    """The samples of one name at /metrics, by the values of their labels but for the model, in order of the names."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as page:
        families = list(text_string_to_metric_families(page.read().decode()))
    samples = [sample for family in families for sample in family.samples if sample.name == f"perene_{name}"]
    return {tuple(v for k, v in sorted(s.labels.items()) if k != "model"): s.value for s in samples}


def test_every_loaded_version_is_ready_and_one_answers(crowded) -> None:
    """Open Inference Protocol: canary and shadow are ready and described, and infer is for the version that answers."""
    tensors = [
        {"name": "number", "shape": [1], "datatype": "INT64", "data": [1]},
        {"name": "sent_at", "shape": [1], "datatype": "BYTES", "data": ["2026-05-01T12:00:00Z"]},
        {"name": "grams", "shape": [1], "datatype": "FP64", "data": [500.0]},
    ]
    ready, described, answers = {}, {}, {}
    with closing(crowded.server.client()) as client:
        for version in (1, 2, 3, 4):
            path = f"/v2/models/{MODEL}/versions/{version}"
            ready[version] = client.ask("GET", f"{path}/ready")
            described[version] = client.ask("GET", path)
            answers[version] = client.ask("POST", f"{path}/infer", {"inputs": tensors})

    assert [status for status, _ in ready.values()] == [status for status, _ in described.values()] == [200] * 3 + [404]
    assert ready[3][1] == {"name": MODEL, "ready": True}
    assert described[1][1]["versions"] == ["1", "3", "2"]
    assert [status for status, _ in answers.values()] == [200, 404, 404, 404]
    assert all("version 1 answers" in answers[version][1]["error"] for version in (2, 3, 4))
    asked = measured(crowded.server.port, "predictions_total")
    assert {key: rows for key, rows in asked.items() if rows} == {("online", "answered"): 1}  # and logged


def test_a_release_reaches_every_process_of_a_project(stage, server_of, wait_for) -> None:
    """Law 9: two processes under load, one release: both answer by the new version soon, no answer fails or mixes."""
    release = stage.candidate()
    rows = [stage.a_row(number) for number in range(5)]
    answers: list[list[tuple[int, int, int]]] = [[], []]
    stop = threading.Event()

    def load(client, into: list[tuple[int, int, int]]) -> None:
        while not stop.is_set():
            status, answer = client.predict(rows)
            versions = {p.get("model_version", answer["model_version"]) for p in answer.get("predictions", ())}
            into.append((status, answer.get("model_version", 0), len(versions)))
        client.close()

    with ExitStack() as stack:
        servers = [stage.server, stack.enter_context(server_of(stage.folder))]
        threads = [
            threading.Thread(target=load, args=(server.client(), into))
            for server, into in zip(servers, answers, strict=True)
        ]
        for thread in threads:
            thread.start()
        at = datetime.now(UTC)
        stage.app.approve(release, actor="test", why="both")
        wait_for(lambda: all(into and into[-1][1] == 2 for into in answers), seconds=60)
        took = datetime.now(UTC) - at
        stop.set()
        for thread in threads:
            thread.join()

    assert took < timedelta(minutes=1)
    assert {(status, mixed) for into in answers for status, _, mixed in into} == {(200, 1)}
    for into in answers:
        versions = [version for _, version, _ in into]
        assert versions == sorted(versions)
