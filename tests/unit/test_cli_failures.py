"""How errors are shown, and their exit codes."""

from __future__ import annotations

import json
from io import StringIO

import click
import pytest

from perene import errors
from perene.cli import main
from perene.cli.failures import exit_code, report_of
from perene.cli.timeouts import StillAtWork


def shown(error: BaseException, **options) -> str:
    stream = StringIO()
    report_of(error).show(stream, **options)
    return stream.getvalue()


def test_an_error_is_shown_as_what_why_seen_mend():
    """An error has its code, its four parts and its page, each on its line; what spans lines is indented."""
    error = errors.DataError(
        "the dataset could not be built",
        why="flights() returned 0 rows",
        seen=("last day with rows: 2013-06-11", "before: 840 a day"),
        mend="check the source, then\nperene train late",
        code="data-empty",
    )

    assert shown(error) == (
        "error[data-empty]: the dataset could not be built\n"
        "  why   flights() returned 0 rows\n"
        "  seen  last day with rows: 2013-06-11\n"
        "        before: 840 a day\n"
        "  mend  check the source, then\n"
        "        perene train late\n"
        "  docs  perene docs data-empty\n"
    )


def test_an_error_as_json_has_the_same_parts():
    """With --json the error is a document too."""
    document = json.loads(shown(errors.NotFound("no model x", mend="perene model list"), as_json=True))

    assert document["kind"] == "error"
    assert document["data"] == {
        "code": "not-found",
        "what": "no model x",
        "why": "",
        "seen": [],
        "mend": "perene model list",
    }


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SettingsError("x", ()), 2),
        (errors.DeclarationError("x", ()), 2),
        (click.UsageError("x"), 2),
        (errors.NotAllowed("x"), 4),
        (errors.NotFound("x"), 5),
        (errors.TrainingError("x"), 1),
        (errors.Conflict("x"), 1),
        (StillAtWork("x"), 124),
    ],
)
def test_errors_have_their_exit_codes(error, code):
    """2 is for usage and configuration, 4 not allowed, 5 not there, 124 out of time, 1 for the rest."""
    assert exit_code(error) == code


def test_what_was_not_foreseen_is_short_and_says_how_to_report_it(monkeypatch):
    """An unexpected exception is shown without its traceback, which PERENE_DEBUG=1 adds."""
    try:
        raise ZeroDivisionError("division by zero")
    except ZeroDivisionError as error:
        brief = shown(error)
        monkeypatch.setenv("PERENE_DEBUG", "1")
        whole = shown(error)

    assert brief.startswith("error[unexpected]: ZeroDivisionError: division by zero\n")
    assert "PERENE_DEBUG=1" in brief
    assert "Traceback" not in brief
    assert "Traceback" in whole


def test_an_unknown_command_names_the_near_one(capsys):
    """A mistyped command is usage, with what was probably meant."""
    assert main(["stats"]) == 2

    assert "Did you mean 'status'?" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["release"]])
def test_no_command_is_answered_with_the_help(capsys, arguments):
    """Without a command the help comes on stdout, with the exit code of wrong usage and no error."""
    assert main(arguments) == 2

    said = capsys.readouterr()
    assert said.out.startswith("Usage: perene")
    assert said.err == ""


def test_usage_errors_say_where_the_help_is(capsys):
    """A wrong option ends with 2 and names the command whose help to read."""
    assert main(["version", "--nope"]) == 2

    assert "mend  perene version --help" in capsys.readouterr().err


def test_usage_errors_are_json_where_json_was_asked_for(capsys):
    """--json holds for errors of usage too."""
    assert main(["version", "--json", "--nope"]) == 2

    assert json.loads(capsys.readouterr().err)["data"]["code"] == "usage"


def test_an_interrupt_ends_with_130(capsys, monkeypatch):
    """Ctrl-C gives 130 and no traceback."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.metadata.version", interrupted)

    assert main(["version"]) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


def test_all_bad_rows_are_told_to_machines():
    """People read the first bad fields of many; JSON has them all."""
    fields = tuple(errors.BadField(row=row, field="km", what="is missing") for row in range(30))
    error = errors.BadRows("some rows cannot be read", fields)

    document = json.loads(shown(error, as_json=True))["data"]

    assert document["rows"][29] == {"row": 29, "field": "km", "what": "is missing"}
    assert len(document["rows"]) == 30
    assert "and 20 more" in shown(error)
