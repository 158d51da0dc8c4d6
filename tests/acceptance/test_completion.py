"""What a shell completes: commands, options, names and numbers of the project that it stands in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from perene.cli.completing import within

MODEL = "parcel-hours"


def completed(folder: Path, *words: str) -> list[str]:
    """What perene offers a shell after these words, the last of which is being typed."""
    environment = {
        "_PERENE_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "perene.cli"], cwd=folder, env=os.environ | environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["perene", "rel"], ["release"]),
        (["perene", "release", "ro"], ["rollback"]),
        (["perene", "status", ""], [MODEL]),
        (["perene", "status", "x"], []),
        (["perene", "dataset", "list", "par"], [MODEL]),
        (["perene", "model", "show", MODEL, "--version", ""], ["2", "1"]),
        (["perene", "model", "show", "other", "--version", ""], []),
        (["perene", "release", "rollback", MODEL, "--to", ""], ["2", "1"]),
        (["perene", "dataset", "verify", MODEL, "--version", ""], ["3", "2", "1"]),
        (["perene", "release", "show", ""], ["3", "2", "1"]),
        (["perene", "run", "show", ""], ["3", "2", "1"]),
        (["perene", "alert", "show", ""], ["1"]),
        (["perene", "train", MODEL, "--t"], ["--timeout"]),
        (["perene", "completion", ""], ["bash", "zsh", "fish"]),
    ],
    ids=" ".join,
)  # fmt: skip
def test_names_and_numbers_are_completed(lived, words, offered) -> None:
    """Commands, options, models, versions, releases, runs and alerts are offered, the newest first."""
    assert completed(lived, *words) == offered


def test_names_come_from_the_project_that_is_named(lived, tmp_path) -> None:
    """Outside of a project there is nothing to offer, and --project names one."""
    assert completed(tmp_path, "perene", "status", "") == []
    assert completed(tmp_path, "perene", "--project", str(lived), "status", "") == [MODEL]


def test_a_broken_project_offers_nothing_and_says_nothing(lived, tmp_path) -> None:
    """While one types, no error is shown: a wrong setting and a database that is no database offer nothing."""
    folder = Path(shutil.copytree(lived, tmp_path / "tiny"))
    (folder / ".perene" / "perene.db").write_bytes(b"no database")
    assert completed(folder, "perene", "status", "") == []
    (folder / "perene.toml").write_text("database = 3")
    assert completed(folder, "perene", "status", "") == []


def test_what_takes_longer_than_its_limit_offers_nothing() -> None:
    """A database that does not answer in time holds nobody up."""
    answered, began = threading.Event(), time.monotonic()

    def asked() -> list[list[str]]:
        answered.wait(60)
        return [["late"]]

    try:
        assert within(asked, limit_s=0.01) == []
        assert time.monotonic() - began < 30
    finally:
        answered.set()
    assert within(lambda: [["at once"]]) == [["at once"]]


def test_completing_loads_neither_the_models_nor_what_they_need(lived) -> None:
    """A name is offered without importing polars, SQLAlchemy or the project's files."""
    code = (
        "import sys; from perene.cli import main\n"
        "try: main([])\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    environment = {"_PERENE_COMPLETE": "bash_complete", "COMP_WORDS": "perene status ", "COMP_CWORD": "2"}

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=lived,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert MODEL in done.stdout
    assert not {"polars", "sqlalchemy", "pydantic", "numpy", "sklearn", "parcel_hours"} & set(done.stderr.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(call, tmp_path, shell) -> None:
    """perene completion prints the shell's own script, which asks perene."""
    said = call(tmp_path, "completion", shell)

    assert (said.code, said.err) == (0, "")
    assert f"_PERENE_COMPLETE={shell}_complete" in said.out
    assert call(tmp_path, "completion", "tcsh").code == 2


def test_bash_completes_with_the_script(lived, tmp_path) -> None:
    """In a real bash that has read the script, a model's name is completed."""
    (tmp_path / "perene").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m perene.cli "$@"\n')
    (tmp_path / "perene").chmod(0o755)
    typed = (
        'eval "$(perene completion bash)"; COMP_WORDS=(perene status par); COMP_CWORD=2;'
        '_perene_completion perene; echo "${COMPREPLY[@]}"'
    )

    done = subprocess.run(
        ["bash", "-ec", typed], cwd=lived, env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stdout.split() == [MODEL]
