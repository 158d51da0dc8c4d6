"""GET /metrics, as Prometheus' own parser reads it."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

import perene
from perene.app import open_project

MODEL = "parcel-hours"


def page(port: int, accept: str = "") -> tuple[str, str]:
    """The page and its content type."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics", headers={"accept": accept} if accept else {})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    assert response.status == 200, text
    return text, response.headers["content-type"]


def samples(port: int) -> dict[str, dict[tuple[str, ...], float]]:
    """Every sample by name and the values of its labels, in the order of their names."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in plain(page(port)[0]):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def test_answers_and_refusals_are_counted_by_row(tiny, server_of, a_row) -> None:
    """Each protocol's rows count once, by how they ended; a request's time counts once."""
    with server_of(tiny) as server:
        client = server.client()
        before = samples(server.port)["perene_predictions_total"]
        client.predict([a_row(1), a_row(2), a_row(3)])
        client.predict([a_row(1, grams=-1.0), a_row(2)])
        client.ask("POST", "/invocations", {"dataframe_records": [a_row(4)]})
        client.post_truth([{"number": 1, "sent_at": "2026-05-01T12:00:00Z", "hours": 2.0}])
        client.post_truth([{"number": 1}])

        found = samples(server.port)
        client.close()

    assert before == {
        (mode, MODEL, outcome): 0.0
        for mode in ("online", "stored")
        for outcome in ("answered", "refused", "failed", "abandoned")
    }
    counted = found["perene_predictions_total"]
    assert counted["online", MODEL, "answered"] == 4
    assert counted["online", MODEL, "refused"] == 2
    assert counted["online", MODEL, "failed"] == 0
    assert found["perene_prediction_duration_seconds_count"][MODEL, "request"] == 2
    assert found["perene_prediction_duration_seconds_count"][MODEL, "log"] == 2
    assert found["perene_prediction_duration_seconds_sum"][MODEL, "request"] > 0
    assert found["perene_predictions_lost_total"] == {(MODEL,): 0.0}
    assert found["perene_labels_total"] == {(MODEL, "accepted"): 1.0, (MODEL, "refused"): 1.0}


def test_freshness_runs_and_alerts_are_told_as_moments_and_counts(server, wait_for) -> None:
    """What the project's status says, in base units; versions are a label of _info only."""
    found = wait_for(lambda: told if "perene_reviews_waiting" in (told := samples(server.port)) else None)

    assert found["perene_project_up"] == {(): 1.0}
    assert found["perene_model_info"] == {(MODEL, "1"): 1.0}
    live_since = found["perene_model_live_since_timestamp_seconds"][(MODEL,)]
    assert 0 < found["perene_model_trained_through_timestamp_seconds"][(MODEL,)] < live_since
    assert found["perene_model_stale_after_seconds"][(MODEL,)] > 0
    assert found["perene_runs_total"][MODEL, "released"] == 1
    assert found["perene_runs_total"][MODEL, "failed"] == 0
    assert found["perene_run_last_success_timestamp_seconds"][(MODEL,)] > 0
    assert set(found["perene_run_duration_seconds"]) == {
        (MODEL, step) for step in ("collect", "dataset", "train", "validate", "release")
    }
    assert found["perene_alerts_firing"] == {(MODEL, "notice"): 0.0, (MODEL, "page"): 0.0}
    assert found["perene_reviews_waiting"] == {(MODEL,): 0.0}
    named = {name for name, values in found.items() if any("1" in key for key in values)}
    assert named <= {"perene_model_info"}


def test_ground_truth_that_belongs_to_nothing_is_told(tiny, server_of, call, a_row, wait_for) -> None:
    """An id that nobody knows is taken in, and counted by the status and the metrics until its prediction is found."""
    with server_of(tiny) as server, closing(server.client()) as client, closing(open_project(tiny)) as app:
        answered = client.predict([a_row(1)])[1]["predictions"][0]["prediction_id"]
        status, _ = client.post_truth([{"prediction_id": id_, "hours": 2.0} for id_ in (answered, "mine", "nobody's")])
        app.drained()
        told = call(tiny, "status", MODEL), call(tiny, "status", MODEL, "--json").data
        client.predict([a_row(2, prediction_id="mine")])
        app.drained()
        unmatched = wait_for(lambda: samples(server.port).get("perene_labels_unmatched"))

    fields = dict(line.split("\t") for line in told[0].lines)
    assert status == 202
    assert fields["labels"].endswith("2 belong to no prediction that was answered")
    assert told[1]["unmatched_labels"] == 2
    assert unmatched == {(MODEL,): 1.0}


@pytest.mark.parametrize(
    ("accept", "kind", "parse"),
    [
        ("", "text/plain", plain),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
            "application/openmetrics-text",
            openmetrics,
        ),
    ],
)
def test_the_page_is_in_the_form_that_was_asked_for(server, accept, kind, parse) -> None:
    """Both of Prometheus' text formats are whole: its own parser reads them, and every name is perene's."""
    text, content_type = page(server.port, accept)

    families = list(parse(text))
    assert content_type.startswith(kind)
    assert len(families) > 15
    assert all(family.name.startswith("perene_") for family in families)
    assert all(family.documentation for family in families)


def test_the_page_of_metrics_names_each_with_its_labels(server) -> None:
    """docs/reference/metrics.md has a line for every family, with its kind and labels, and for no other."""
    text = (Path(perene.__file__).parent / "docs" / "reference" / "metrics.md").read_text()
    told = re.findall(r"^\| `(perene_\w+)` \| (\w+) \| ([a-z, ]*) ?\|", text, re.MULTILINE)

    known = {}
    for family in plain(page(server.port)[0]):
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        known[family.name + ("_total" if family.type == "counter" else "")] = (family.type, labels)
    assert {name for name, _, _ in told} == known.keys()
    for name, kind, labels in told:
        assert kind == known[name][0]
        assert {label for label in labels.strip().split(", ") if label} >= known[name][1]


def test_the_database_being_away_leaves_its_gauges_out(tiny, server_of, a_row, wait_for) -> None:
    """Counters are told all the same, and perene_project_up says why the rest is missing."""
    database = tiny / ".perene" / "perene.db"
    with server_of(tiny) as server:
        client = server.client()
        for name in (database.name, f"{database.name}-wal", f"{database.name}-shm"):
            path = database.with_name(name)
            if path.exists():
                path.rename(path.with_name(f"away-{name}"))
        database.mkdir()
        client.predict([a_row(1)])

        found = samples(server.port)
        client.close()

    assert found["perene_project_up"] == {(): 0.0}
    assert found["perene_predictions_total"]["online", MODEL, "answered"] == 1
    assert "perene_alerts_firing" not in found


def predict(port: int, rows: list[dict[str, Any]]) -> int:
    """Ask for predictions over a connection of its own; the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"rows": rows})
    connection.request("POST", f"/v1/models/{MODEL}/predict", body, {"content-type": "application/json"})
    status = connection.getresponse().status
    connection.close()
    return status


def test_every_process_of_a_server_gives_the_sums_of_all(tiny, a_row, wait_for) -> None:
    """With several workers on one port it does not matter which is asked; one that is killed takes nothing away."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "perene.cli", "serve", "--port", str(port), "--workers", "2"]
    with (tiny / "serve.log").open("wb") as log, subprocess.Popen(command, cwd=tiny, stderr=log) as process:
        try:
            wait_for(lambda: "listening on" in (tiny / "serve.log").read_text(), seconds=60)
            statuses = [predict(port, [a_row(number)]) for number in range(40)]
            before = [samples(port)["perene_predictions_total"]["online", MODEL, "answered"] for _ in range(10)]
            workers = psutil.Process(process.pid).children()
            workers[0].kill()
            wait_for(lambda: "answers again" in (tiny / "serve.log").read_text(), seconds=60)
            after = [samples(port)["perene_predictions_total"]["online", MODEL, "answered"] for _ in range(5)]
        finally:
            process.terminate()
            process.wait(60)

    assert statuses == [200] * 40
    assert before == [40.0] * 10
    assert after == [40.0] * 5
    assert [path.name for path in (tiny / ".perene" / "metrics").iterdir()] == ["lock"]
