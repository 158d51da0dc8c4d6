"""Law 10: Python, the command line and HTTP tell the same, for they call the same functions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from perene.app import open_project
from perene.records.plain import plain_data

MODEL = "parcel-hours"


def told_by_command(folder: Path, *arguments: str) -> object:
    """The data that a command prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "perene.cli", *arguments, "--project", str(folder), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)["data"]


@pytest.fixture(scope="module")
def predicted(server, a_row) -> str:
    """The id of a prediction whose truth was posted."""
    client = server.client()
    made = client.predict([a_row(4711, grams=750.0)])[1]["predictions"][0]["prediction_id"]
    assert client.post_truth([{"prediction_id": made, "hours": 0.75}])[0] == 202
    client.close()
    return made


def test_a_trace_is_the_same_at_every_door(server, client, predicted) -> None:
    """Request, features, steps, answer, truth: one function says them."""
    app = open_project(server.folder)

    by_python = plain_data(app.trace(predicted))

    assert by_python == client.ask("GET", f"/v1/predictions/{predicted}")[1]
    assert by_python == told_by_command(server.folder, "prediction", "show", predicted)
    assert (by_python["key"], by_python["truth"]["label"]) == ({"number": 4711}, 0.75)
    app.close()


def test_what_is_live_is_the_same_at_every_door(server, client) -> None:
    """The ledger, the server and the command line name one version."""
    app = open_project(server.folder)

    live = app.models.get(MODEL).champion

    assert client.ask("GET", f"/v1/models/{MODEL}")[1]["live_version"] == live
    assert [m["champion"] for m in told_by_command(server.folder, "model", "list")] == [live]
    assert [s["live"] for s in told_by_command(server.folder, "status")] == [live]
    app.close()
