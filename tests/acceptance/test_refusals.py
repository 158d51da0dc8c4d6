"""What commands refuse: unknown names, wrong usage, files and rows that cannot be used; with form and exit code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

MODEL = "parcel-hours"

UNKNOWN = [
    ["status", "parcels"], ["train", "parcels"], ["predict", "parcels", "sent.json"], ["model", "show", "parcels"],
    ["model", "history", "parcels"], ["model", "hold", "parcels", "--why", "x"], ["model", "resume", "parcels"],
    ["release", "list", "parcels"], ["release", "rollback", "parcels", "--why", "x"], ["run", "list", "parcels"],
    ["dataset", "list", "parcels"], ["dataset", "show", "parcels"], ["dataset", "verify", "parcels"],
    ["dataset", "import", "parcels", "sent.json"], ["label", "import", "parcels", "sent.json"],
    ["prediction", "list", "parcels"], ["alert", "list", "parcels"],
    ["prediction", "stored", "parcels"], ["prediction", "lookup", "parcels", "1"], ["model", "shadow", "parcels", "1"],
    ["check", "parcels"], ["check", "parcels", "--serving"], ["worker", "--model", "parcels", "--once"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", UNKNOWN, ids=" ".join)
def test_an_unknown_model_is_5_with_the_names_there_are(call, lived, arguments) -> None:
    """Whoever names a model that is not there is told which are, and which was meant; the exit code is 5."""
    said = call(lived, *arguments)

    assert (said.code, said.out) == (5, "")
    assert said.err.startswith(f"error[not-found]: there is no model 'parcels'; did you mean {MODEL}?\n")
    assert f"the project has {MODEL}" in said.err


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["release", "show", 99], 5, "not-found"),
        (["run", "show", 99], 5, "not-found"),
        (["alert", "show", 99], 5, "not-found"),
        (["dataset", "show", MODEL, "--version", 99], 5, "not-found"),
        (["model", "show", MODEL, "--version", 99], 5, "not-found"),
        (["prediction", "show", "nobody"], 5, "not-found"),
        (["release", "reject", 1, "--why", "x"], 4, "not-allowed"),
        (["release", "rollback", MODEL, "--why", "x", "--to", 1], 1, "conflict"),
        (["release", "approve", 3], 2, "usage"),
        (["predict", MODEL, "missing.json"], 2, "usage"),
        (["predict", MODEL, "perene.toml", "--format", "json"], 1, "data-unreadable"),
        (["prediction", "list", MODEL, "--since", "yesterday"], 2, "usage"),
        (["modell"], 2, "usage"),
        (["up", "--port", 65536], 2, "usage"),
        (["dataset", "show", f"{MODEL}@x"], 2, "usage"),
        (["model", "show", f"{MODEL}@2", "--version", 1], 2, "usage"),
        (["train", MODEL, "--timeout", "0s"], 2, "usage"),
        (["status", "--env", "nowhere"], 2, "settings"),
    ],
)
def test_a_refusal_has_its_form_and_its_exit_code(call, lived, arguments, code, named) -> None:
    """An error is what, why, seen and mend on stderr, the same in JSON; stdout stays empty."""
    said, document = call(lived, *arguments), call(lived, *arguments, "--json")

    assert (said.code, said.out) == (code, "")
    assert said.err.startswith(f"error[{named}]: ")
    assert (document.code, document.out) == (code, "")
    assert json.loads(document.err)["data"]["code"] == named


def test_a_dataset_is_named_as_lists_name_it(call, lived) -> None:
    """What dataset list -q prints can be shown and verified; a v before the number does no harm."""
    newest = call(lived, "dataset", "list", MODEL, "-q").lines[-1]

    assert call(lived, "dataset", "show", newest, "-q").lines == [newest]
    assert call(lived, "dataset", "verify", newest.replace("@", "@v"), "-q").lines == [newest]


@pytest.mark.parametrize("verb", [["predict"], ["label", "import"], ["dataset", "import"]], ids=" ".join)
@pytest.mark.parametrize(("name", "content"), [("rows.json", "[]"), ("rows.csv", "number,grams\n"), ("no.csv", "")])
def test_a_file_without_rows_is_refused(call, lived, tmp_path, verb, name, content) -> None:
    """A file without rows is an error of its own wherever rows are read."""
    (tmp_path / name).write_text(content)

    said = call(lived, *verb, MODEL, tmp_path / name)

    assert said.code == 1
    assert said.err.startswith(f"error[data-empty]: {tmp_path / name} has no rows\n")


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_a_path_that_cannot_be_written_is_no_mistake_of_perene(call, lived, ending) -> None:
    """predict --out into a folder that is not there names the path and the reason."""
    said = call(lived, "predict", MODEL, "sent.json", "--out", f"/nowhere/answers.{ending}")

    assert said.code == 1
    assert said.err == (
        f"error[file-unusable]: /nowhere/answers.{ending}: No such file or directory\n"
        "  mend  check the path and its rights\n"
        "  docs  perene docs file-unusable\n"
    )


def test_rows_that_do_not_fit_are_named(call, lived, tmp_path) -> None:
    """predict refuses a file with bad rows, and says which fields of which rows are bad."""
    (tmp_path / "rows.json").write_text(json.dumps([{"number": 1, "sent_at": "2026-05-01T12:00:00Z", "grams": -1}]))

    said = call(lived, "predict", MODEL, tmp_path / "rows.json")

    assert said.code == 1
    assert "error[bad-rows]" in said.err
    assert "grams" in said.err


def test_a_wrong_project_is_2_with_every_mistake(call, tiny, tmp_path) -> None:
    """No project, a wrong setting or a wrong declaration is 2, and all mistakes are named at once."""
    assert call(tmp_path, "status").code == 2
    settings = (tiny / "perene.toml").read_text()
    (tiny / "perene.toml").write_text(settings.replace("[serve]", "[serve]\nprot = 1\nhost = 3"))
    said = call(tiny, "check")
    (tiny / "perene.toml").write_text(settings)
    code = tiny / "models" / "parcel_hours.py"
    code.write_text(code.read_text().replace('at="sent_at"', 'at="sent"').replace('key=["number"]', 'key=["no"]'))
    declared = call(tiny, "check")

    assert (said.code, declared.code) == (2, 2)
    assert "serve.prot" in said.err
    assert "serve.host" in said.err
    assert declared.err.count("parcel_hours.py:") >= 2


def test_a_project_without_a_live_version_says_what_to_do(call, tmp_path) -> None:
    """Before the first release, lists are empty and say why; what needs a live version is 5 and says train."""
    folder = Path(shutil.copytree(Path(__file__).parent.parent / "tiny", tmp_path / "tiny"))
    assert call(folder, "model", "resume", MODEL).code == 0
    (folder / "sent.json").write_text('[{"number": 1, "sent_at": "2026-05-01T12:00:00Z", "grams": 5.0}]')

    said = call(folder, "predict", MODEL, "sent.json")

    assert said.code == 5
    assert "perene train parcel-hours" in said.err
    assert call(folder, "dataset", "show", MODEL).code == 5
    for arguments in (["run", "list"], ["dataset", "list"], ["release", "list"], ["prediction", "list", MODEL]):
        shown = call(folder, *arguments, width=80)
        assert (shown.code, len(shown.lines)) == (0, 1)
        assert call(folder, *arguments, "--json").data == []
    assert "● progressing" not in call(folder, "status", width=80).out
    assert call(folder, "status", "--check").code == 0
