"""A new project."""

from __future__ import annotations

import json
import tomllib
from datetime import date

from perene.cli import main
from perene.cli.projects import write_project


def test_a_new_project_has_settings_a_model_and_a_readme(tmp_path, capsys):
    """init writes every file of the template, filled in, and says which."""
    folder = tmp_path / "Corner Shop"

    assert main(["init", str(folder), "--json"]) == 0

    data = json.loads(capsys.readouterr().out)["data"]
    assert sorted(data["files"]) == [".gitignore", "README.md", "models/delivery_time.py", "orders.json", "perene.toml"]
    assert tomllib.loads((folder / "perene.toml").read_text())["project"] == "corner-shop"
    assert (folder / "README.md").read_text().startswith("# corner-shop\n")
    assert "$ perene check" in (folder / "README.md").read_text()


def test_nothing_that_is_there_is_overwritten(tmp_path, capsys):
    """init refuses a folder that has one of its files, names it, and writes nothing."""
    (tmp_path / "README.md").write_text("mine")

    assert main(["init", str(tmp_path)]) == 1

    assert "README.md" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_gitignore_that_is_there_is_kept(tmp_path):
    """A repository's own .gitignore is no obstacle."""
    (tmp_path / ".gitignore").write_text("mine\n")

    assert main(["init", str(tmp_path)]) == 0

    assert (tmp_path / ".gitignore").read_text() == "mine\n"
    assert (tmp_path / "perene.toml").exists()


def test_the_examples_are_of_the_day_before(tmp_path):
    """What a new project asks for, in its file and in its README, is recent, so that its truth counts in the status."""
    write_project(tmp_path, today=date(2031, 3, 1))

    orders = json.loads((tmp_path / "orders.json").read_text())
    assert {order["leaves_at"][:11] for order in orders} == {"2031-02-28T"}
    readme = (tmp_path / "README.md").read_text()
    assert readme.count("2031-02-28T18:30:00Z") == 2
    assert "left on 2031-02-28, the day before" in readme
