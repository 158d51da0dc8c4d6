"""README.md does what it says: its model is the demo's, its commands run, its answers have the form that they get."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from perene.demo.flights import read_flights
from perene.demo.replay import Plan
from perene.demo.show import run

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
MODEL = ROOT / "src/perene/demo/template/models/late_arrival.py"
BEGIN, END = datetime(2013, 3, 1, tzinfo=UTC), datetime(2013, 3, 9, tzinfo=UTC)


def blocks(kind: str) -> list[str]:
    """The fenced blocks of a kind."""
    return re.findall(rf"```{kind}\n(.*?)```", README, re.DOTALL)


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block, with what it is said to print."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        last = 0
        while "\n".join(lines[: last + 1]).count("'") % 2:  # a quotation goes on
            last += 1
        yield "\n".join(lines[: last + 1]), "\n".join(lines[last + 1 :])


@pytest.fixture(scope="module")
def printed(folder) -> str:
    """What the shortened demo printed."""
    return (folder.parent / "printed.txt").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The demo's project after eight days of March with a third of the flights."""
    folder, out = tmp_path_factory.mktemp("readme") / "perene-demo", io.StringIO()
    flights = read_flights().sample(fraction=0.3, seed=2013, shuffle=True)
    with contextlib.redirect_stdout(out):
        run(folder, plan=Plan(since=BEGIN, http_from=END, until=END), flights=flights)
    (folder.parent / "printed.txt").write_text(out.getvalue())
    return folder


@pytest.fixture
def shell(tmp_path):
    """Run a command line of the README with bash, where ``perene`` is this environment's."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "perene").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m perene.cli "$@"\n')
    (tmp_path / "bin" / "perene").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}

    def call(line: str, at: Path) -> str:
        done = subprocess.run(
            ["bash", "-ec", line], cwd=at, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        return done.stdout

    return call


def test_the_first_commands_are_targets_of_make() -> None:
    """What a newcomer types first is there; CI runs ``make test``, ``make demo`` is what the demo's tests shorten."""
    said = [line.split()[1:3] for line in blocks("console")[0].splitlines()]
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert said == [["make", "demo"], ["make", "test"]]
    assert {"demo", "test", "check"} <= set(targets)


def test_the_model_is_the_demos() -> None:
    """The file in the README is the file that the demo writes and runs."""
    assert blocks("python") == [MODEL.read_text()]


def test_the_demo_prints_what_is_shown(printed) -> None:
    """The table has the same columns, and its lines have the same form; figures are those of the whole replay."""
    shown, told = blocks("text")[0].splitlines(), printed.splitlines()

    def form(line: str) -> str:
        return re.sub(r"\bv\d+\b", "v", re.sub(r"\s+", " ", line)).strip()

    assert [form(line) for line in shown[:2]] == [form(line) for line in told[:2]]
    lines = [line for line in shown if line.startswith(("Mar", "all"))]
    assert [len(re.sub(r"\([^)]*\)", "", line).split()) for line in lines] == [
        len(re.sub(r"\([^)]*\)", "", line).split()) for line in told if line.startswith(("Mar", "all"))
    ]


def test_the_commands_in_the_demos_folder_run(folder, tmp_path, shell) -> None:
    """Looking around in the project that the demo left works."""
    own = Path(shutil.copytree(folder, tmp_path / "perene-demo"))
    looked = [shell(line, own) for line, _ in commands(blocks("console")[1])]

    assert "late-arrival" in looked[0]
    assert "live" in looked[1]
    assert "reads back the same" in looked[2]


def test_the_requests_get_such_answers(folder, tmp_path, shell, up) -> None:
    """While it is up, each request of the README is answered in the form that is shown, and so is the trace."""
    own = Path(shutil.copytree(folder, tmp_path / "perene-demo"))
    assert [line for line, _ in commands(blocks("console")[2])] == ["perene up"]
    with up(own) as running:
        for line, shown in commands(blocks("console")[3]):
            said = shell(line.replace(":8780", f":{running.port}"), own)
            if line.startswith("curl"):
                assert form_of(json.loads(said)) == form_of(json.loads(shown))
            else:
                names = [re.split(r"\t|  |(?<=v\d) |(?<=v\d\d) ", row)[0] for row in said.splitlines()]
                assert [re.sub(r"v\d+", "v", name) for name in names] == [
                    re.sub(r"v\d+", "v", re.split(r"  |(?<=v\d\d) ", row)[0]) for row in shown.splitlines()
                ]


def test_a_new_project_of_ones_own_runs(tmp_path, shell) -> None:
    """The commands of "Your own" work one after another, and the line of Python after them."""
    at = tmp_path
    for line, _ in commands(blocks("console")[4]):
        if line.startswith("cd "):
            at = at / line.removeprefix("cd ")
        else:
            shell(line, at)
    code = re.search(r"`(perene\.open_project[^`]*)`", README)

    assert code is not None
    shell(f"{sys.executable} -c 'import perene; {code.group(1)}'", tmp_path)


def form_of(value: object) -> object:
    """The names and types of a JSON value."""
    if isinstance(value, dict):
        return {name: form_of(item) for name, item in value.items()}
    if isinstance(value, list):
        return [form_of(item) for item in value]
    return type(value).__name__
