"""What people install: the wheel, built from the repository, without it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder that has perene out of its wheel, and nothing of the repository."""
    source, wheels = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    for name in ("src", "docs"):
        shutil.copytree(
            REPOSITORY / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    built = subprocess.run([*pip, "--wheel-dir", wheels, source], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = wheels.glob("perene-*.whl")
    folder = tmp_path_factory.mktemp("installed")
    with ZipFile(wheel) as files:
        files.extractall(folder)
    return folder


def test_the_wheel_has_every_page_of_the_docs(installed) -> None:
    """Each page of docs/ is in the package as it stands in the repository."""
    pages = {path.relative_to(REPOSITORY / "docs"): path.read_text() for path in (REPOSITORY / "docs").rglob("*.md")}

    there = installed / "perene" / "docs"

    assert {path.relative_to(there): path.read_text() for path in there.rglob("*.md")} == pages
    assert not there.is_symlink()


@pytest.mark.parametrize(
    ("arguments", "says"), [(["docs", "held"], "# held"), (["--help"], "Usage"), (["init", "shop"], "shop/perene.toml")]
)
def test_an_installed_perene_has_what_its_commands_need(installed, tmp_path, arguments, says) -> None:
    """Pages and templates are read from the package, wherever it is."""
    run = subprocess.run(
        [sys.executable, "-m", "perene.cli", *arguments],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True,
    )  # fmt: skip

    assert run.returncode == 0, run.stderr
    assert says in run.stdout
