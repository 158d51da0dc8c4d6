"""A changed declaration: what the data of a model cannot follow is refused before anything is read or written by it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from perene.app import App, open_project
from perene.errors import DeclarationError

UNFIT = {
    "another type": ("grams: Annotated[float, Gt(0)]", "grams: int", "the field grams is int now"),
    "a field that goes": ('    zone: Literal["near", "far"] = "near"\n', "", "the field zone is gone"),
    "a field that must be given": ("    number: int\n", "    number: int\n    floor: int\n", "the field floor is new"),
    "another key": ('key=["number"]', 'key=["number", "zone"]', "the key is number, zone now"),
    "another label": ('Label("hours", float', 'Label("late", bool', "the label is late (binary) now"),
    "another answer": (
        "m = Model(",
        "def words(p) -> list[str]:\n    return ['x' for _ in p]\n\nm = Model(",
        "an answer is",
    ),
}
FIT = {
    "an optional field": ("    number: int\n", "    number: int\n    floor: int | None = None\n"),
    "a wider choice": ('Literal["near", "far"]', 'Literal["near", "far", "abroad"]'),
    "other windows": ('train_on="20d"', 'train_on="10d"'),
}


@pytest.fixture
def dialect() -> str:
    """Nothing here depends on the database."""
    return "sqlite"


def reopened(app: App, folder: Path, old: str, new: str) -> App:
    """The project once more, at another place (modules are loaded once), with a changed model file."""
    shutil.copytree(app.project.folder, folder)
    file = folder / "models" / "parcels.py"
    text = file.read_text()
    assert old in text
    changed = text.replace(old, new)
    file.write_text(changed.replace("train=train, ", "train=train, post=words, ") if "words" in new else changed)
    return open_project(folder)


@pytest.mark.parametrize("case", UNFIT)
def test_what_the_data_cannot_follow_is_refused(open_app, tmp_path, case) -> None:
    """Law 11: it would be read as something that it is not; the model's line and the change are named."""
    old, new, what = UNFIT[case]
    app = open_app()
    app.train("parcels", actor="test")

    with pytest.raises(DeclarationError) as told:
        reopened(app, tmp_path / "changed", old, new)

    (mistake,) = told.value.mistakes
    assert what in mistake.what
    assert mistake.where.startswith("models/parcels.py:")


@pytest.mark.parametrize("case", FIT)
def test_what_the_data_can_follow_is_taken(open_app, tmp_path, case) -> None:
    """Optional fields, rules and windows change freely, and the next run is made of old and new rows."""
    app = open_app()
    app.train("parcels", actor="test")

    after = reopened(app, tmp_path / "changed", *FIT[case])
    run = after.train("parcels", actor="test")
    after.close()

    assert run.error is None


def test_before_there_is_data_everything_may_change(open_app, tmp_path) -> None:
    """A model that has learnt and answered nothing yet can still become another."""
    old, new, _ = UNFIT["another label"]

    after = reopened(open_app(), tmp_path / "changed", old, new)

    assert after.models.get("parcels").declaration["label"]["name"] == "late"
    after.close()
