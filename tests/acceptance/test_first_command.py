"""The first command in a project: what only looks makes nothing, what does something makes the database."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from perene.app import open_project

MODEL = "parcel-hours"
ROW = {"number": 1, "sent_at": "2026-05-01T12:00:00Z", "grams": 5.0}
TRUTH = {"number": 1, "sent_at": "2026-05-01T12:00:00Z", "hours": 1.0, "arrived_at": "2026-05-01T13:00:00Z"}
LOOKING = [
    "status", "status --check", f"status {MODEL}", f"predict {MODEL} sent.json", "model list", f"model show {MODEL}",
    f"model history {MODEL}", "release list", "release show 1", "release approve 1 --why x", "release reject 1 --why x",
    f"release rollback {MODEL} --why x", f"dataset list {MODEL}", f"dataset show {MODEL}", f"dataset verify {MODEL}",
    f"prediction list {MODEL}", "prediction show x", "run list", "run show 1", "alert list", "alert show 1",
]  # fmt: skip
BEGINNING = [
    f"model hold {MODEL} --why x", f"model resume {MODEL}", f"label import {MODEL} known.json",
    f"dataset import {MODEL} past.json", "scheduler --once", "worker --once",
]  # fmt: skip


@pytest.fixture
def new(tmp_path) -> Path:
    """A project in which nothing has run, with files to give to its commands."""
    folder = Path(shutil.copytree(Path(__file__).parent.parent / "tiny", tmp_path / "tiny"))
    for name, row in (("sent", ROW), ("known", TRUTH), ("past", ROW | TRUTH)):
        (folder / f"{name}.json").write_text(json.dumps([row]))
    return folder


@pytest.mark.parametrize("arguments", LOOKING)
def test_what_only_looks_says_that_nothing_has_run_and_makes_nothing(call, new, arguments) -> None:
    """The exit code is 5, the mend is the command that begins, and no database is there afterwards."""
    said = call(new, *arguments.split())

    assert (said.code, said.out) == (5, "")
    assert said.err.startswith("error[never-run]: nothing has run here yet\n")
    assert f"  mend  perene train {MODEL} makes it" in said.err
    assert not (new / ".perene").exists()


def test_a_deleted_database_is_not_replaced_in_silence(call, tiny) -> None:
    """Where .perene was deleted, status says so instead of showing a project that has never lived."""
    shutil.rmtree(tiny / ".perene")

    said = call(tiny, "status")

    assert said.code == 5
    assert "if there was one, bring it back" in said.err
    assert not (tiny / ".perene").exists()


@pytest.mark.parametrize("arguments", BEGINNING)
def test_what_does_something_makes_the_database(call, new, arguments) -> None:
    """It may be the first command of a project; then looking works."""
    assert call(new, *arguments.split()).code == 0

    assert call(new, "status").code == 0


def test_an_empty_postgresql_database_is_new_too(call, new, postgres, monkeypatch) -> None:
    """Tables are made by what does something."""
    monkeypatch.setenv("PERENE__DATABASE", postgres.create())

    before = call(new, "status")
    assert call(new, "model", "resume", MODEL).code == 0

    assert (before.code, before.err.partition(":")[0]) == (5, "error[never-run]")
    assert call(new, "status").code == 0


def test_a_project_is_begun_from_python(new) -> None:
    """open_project makes what is needed, unless it is told not to."""
    app = open_project(new)
    app.close()

    open_project(new, may_begin=False).close()
    assert (new / ".perene" / "perene.db").exists()
