"""Ready-made post steps in a running server: what must not be answered is not, from the next request on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from perene.app import open_project

MODEL = "parcel-hours"
STEPS = """
from perene import post

hours.post(post.clip(0, 3))
hours.post(post.filter("grams", above=5000, reason="too heavy to say", instead=-1))
hours.post(post.block("number", file="removed/parcels.txt", reason="by order of a court", instead=0, name="legal"))
"""


@pytest.fixture(scope="module")
def made(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny project with three steps and a list of nothing, trained and live."""
    folder = Path(shutil.copytree(trained, tmp_path_factory.mktemp("steps") / "tiny"))
    file = folder / "models" / "parcel_hours.py"
    file.write_text(file.read_text() + STEPS)
    write(folder, "")
    app = open_project(folder)
    app.train(MODEL, actor="test")
    assert app.models.champion(MODEL).version == 2
    app.close()
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A copy for one test."""
    return Path(shutil.copytree(made, tmp_path / "tiny"))


@pytest.fixture
def client(project, server_of) -> Iterator[Any]:
    with server_of(project) as server, closing(server.client()) as client:
        yield client


def write(folder: Path, ids: str) -> None:
    """Write the list as its users shall: beside, and then moved."""
    listed = folder / "removed" / "parcels.txt"
    listed.parent.mkdir(exist_ok=True)
    fresh = listed.with_suffix(".new")
    fresh.write_text(ids)
    fresh.replace(listed)


def ask(client: Any, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    status, answer = client.predict(rows)
    assert status == 200, answer
    return answer["predictions"]


def test_a_list_is_obeyed_without_a_new_version_and_without_a_restart(project, client, a_row) -> None:
    """What is answered instead is told with its reason, and so is what the list lets go again."""
    rows = [a_row(7, grams=1000), a_row(8, grams=1000)]
    before = ask(client, rows)

    write(project, "7\n")
    while_listed = ask(client, rows)
    write(project, "")
    after = ask(client, rows)

    values = [[one["prediction"] for one in answers] for answers in (before, while_listed, after)]
    assert values[0] == values[2]
    assert values[1] == [0, values[0][1]]
    assert [one.get("removed") for one in (*before, *while_listed, *after)] == [
        None, None, "by order of a court", None, None, None,
    ]  # fmt: skip


def test_the_log_and_the_trace_say_what_the_model_said_and_why_it_was_not_answered(
    project, client, a_row, call
) -> None:
    """Each step with before and after; the same in the trace over HTTP and on the command line."""
    write(project, "7\n")
    blocked, heavy = ask(client, [a_row(7, grams=6000), a_row(8, grams=6000)])

    _, trace = client.ask("GET", f"/v1/predictions/{blocked['prediction_id']}")
    said = call(project, "prediction", "show", blocked["prediction_id"])
    other = call(project, "prediction", "show", heavy["prediction_id"], "--json").data

    names = ["clip", "filter", "legal"]
    raw = trace["raw"]
    assert [step["name"] for step in trace["steps"]] == names
    assert [(step["before"], step["after"]) for step in trace["steps"]] == [(raw, 3.0), (3.0, -1), (-1, -1)]
    assert (trace["answer"], trace["removed"]) == (-1, "too heavy to say")
    assert (heavy["prediction"], heavy["removed"]) == (-1, "too heavy to say")
    assert "answer\t-1, removed: too heavy to say" in said.out
    assert [step["name"] for step in other["steps"]] == names
    assert (other["removed"], other["rank"], other["group"]) == ("too heavy to say", None, None)


def test_an_answer_that_is_given_again_obeys_the_list_too(project, client, a_row) -> None:
    """The same prediction id gets the logged answer, unless what it is about may not be answered any more."""
    row = a_row(7, grams=1000) | {"prediction_id": "mine"}
    (first,) = ask(client, [row])

    write(project, "7\n")
    (again,) = ask(client, [row])
    write(project, "")
    (last,) = ask(client, [row])

    told = {"prediction": 0, "removed": "by order of a court", "model_version": 2, "repeated": True}
    assert again == {"prediction_id": "mine", **told}
    assert last["prediction"] == first["prediction"]
    assert "removed" not in last


def test_a_list_that_cannot_be_read_answers_nothing_until_it_can(project, client, a_row) -> None:
    """With its error; the server goes on by itself when the file is back."""
    write(project, "seven\n")
    status, answer = client.predict([a_row(8)])

    assert (status, answer["code"]) == (500, "list-unreadable")
    assert "line 1 is 'seven'" in answer["why"]

    write(project, "7\n")
    assert "removed" not in ask(client, [a_row(8)])[0]


def test_a_list_that_cannot_be_read_is_found_before_anything_is_trained(project, call) -> None:
    """``perene check`` does the ready-made steps to rows of the source, and names the line of the step."""
    assert call(project, "check").code == 0

    (project / "removed" / "parcels.txt").unlink()
    said = call(project, "check")

    assert said.code == 2
    assert "parcels.txt cannot be read" in said.err
    assert "models/parcel_hours.py:" in said.err


def test_a_version_whose_list_is_missing_is_not_trained(project) -> None:
    """Its steps cannot be done, and the run says why."""
    (project / "removed" / "parcels.txt").unlink()
    app = open_project(project)
    try:
        run = app.train(MODEL, actor="test")
    finally:
        app.close()

    assert run.state == "failed"
    assert "parcels.txt" in str(run.error)
