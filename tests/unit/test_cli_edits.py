"""Edits of a project under a process that has read it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from perene.cli.edits import Edits
from perene.definition.project import load_project

MODEL = "models/hours.py"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project's folder; its model imports one file, and one lies beside it."""
    (tmp_path / "models").mkdir()
    (tmp_path / "perene.toml").write_text('project = "p"\n')
    (tmp_path / MODEL).write_text("import near\n")
    (tmp_path / "near.py").write_text("A = 1\n")
    (tmp_path / "aside.py").write_text("B = 1\n")
    return tmp_path


@pytest.fixture
def edits(folder: Path) -> Edits:
    """Those of a process that has just read the project."""
    project = load_project(folder, environment=None, variables={})
    return Edits(folder, project.settings.models)


def looks(edits: Edits, times: int = 4) -> list[list[str]]:
    return [found for _ in range(times) if (found := edits.look())]


@pytest.mark.parametrize("name", [MODEL, "near.py", "perene.toml", "models/new.py"])
def test_each_change_is_told_once(folder, edits, name) -> None:
    """Of a model, of what it imports, of the settings, and of a model that is new; and so is the next one.

    A file that is saved again as it is has not changed again.
    """
    assert looks(edits) == []
    for text in ("C = 12345\n", "C = 123456\n"):
        (folder / name).write_text(text)

        assert looks(edits) == [[name]]
        os.utime(folder / name, ns=(1, 1))
        assert looks(edits) == []


def test_what_goes_away_is_a_change(folder, edits) -> None:
    """A model file that is removed is told."""
    (folder / MODEL).unlink()

    assert looks(edits) == [[MODEL]]


def test_what_is_written_in_several_steps_is_told_together(folder, edits) -> None:
    """Nothing is told while files still change from one look to the next."""
    (folder / MODEL).write_text("")
    first = edits.look()
    (folder / "near.py").write_text("A = 23\n")
    second = edits.look()

    assert (first, second) == ([], [])
    assert looks(edits) == [[MODEL, "near.py"]]


@pytest.mark.parametrize("is_told", [False, True])
def test_what_is_again_as_it_was_is_no_change(folder, edits, is_told) -> None:
    """Neither a file that was only touched, nor one that was changed back."""
    text = (folder / MODEL).read_text()
    if is_told:
        (folder / MODEL).write_text("D = 4\n")
        assert looks(edits) == [[MODEL]]
    (folder / MODEL).write_text(text)
    os.utime(folder / MODEL, ns=(1, 1))

    assert looks(edits) == []


def test_files_that_declare_nothing_are_not_looked_at(folder, edits) -> None:
    """A script beside the models, and data, may change as they like."""
    (folder / "aside.py").write_text("B = 22\n")
    (folder / "models" / "list.txt").write_text("a\n")

    assert looks(edits) == []


def test_a_folder_that_cannot_be_read_ends_no_process(folder, edits) -> None:
    """As where its disk is away for a moment; what changed meanwhile is told at the latest when it is back."""
    broken = folder / "models" / "broken.py"
    broken.symlink_to("x" * 300)  # the system refuses to look at it
    (folder / MODEL).write_text("D = 4\n")
    with pytest.raises(OSError, match="too long"):
        broken.stat()
    meanwhile = looks(edits)
    broken.unlink()

    assert [*meanwhile, *looks(edits)] == [[MODEL]]


def test_the_line_names_the_files_and_the_mend(folder, edits) -> None:
    """It says which files, who goes on by the old ones, and what to start again; nothing without a change."""
    assert edits.told("this worker goes on", again="perene worker") == ""
    (folder / MODEL).write_text("D = 4\n")
    edits.look()

    line = edits.told("this worker goes on", again="perene worker")

    assert line.startswith(f"{MODEL} changed: this worker goes on by what was read at the start")
    assert line.endswith("perene check, then start perene worker again")
    assert "\n" not in line
