"""The command line.

Until a command runs, only click and the standard library are loaded, so that ``perene --help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from perene.cli.failures import INTERRUPTED, USAGE, Report, exit_code, report_of
from perene.cli.tree import root
from perene.errors import PereneError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: the door at which every error is shown.

    0 is success, 1 a failed operation, 2 wrong usage or settings, 3 a negative verdict that was asked for,
    4 not allowed, 5 not found, 8 still pending, 124 out of time, 130 interrupted.
    """
    asked = list(sys.argv[1:] if arguments is None else arguments)
    if "_PERENE_COMPLETE" in os.environ:
        root.main(asked, prog_name="perene")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show ● shows ?
    try:
        code = _run(asked)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader (head, less) has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(asked: list[str]) -> int:
    try:
        with root.make_context("perene", list(asked)) as context:
            root.invoke(context)
        return 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as bare:
        click.echo(bare.format_message())
        return USAGE
    except (click.Abort, KeyboardInterrupt, EOFError):
        click.echo("\ninterrupted", err=True)
        return INTERRUPTED
    except (PereneError, click.ClickException) as error:
        return _refuse(report_of(error), asked, code=exit_code(error))
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the edge of the process: what was not foreseen is shown and recorded
        return _refuse(report_of(error), asked, code=1)


def _refuse(report: Report, asked: list[str], *, code: int) -> int:
    options = asked[: asked.index("--")] if "--" in asked else asked
    report.show(sys.stderr, as_json="--json" in options, colour="--no-color" not in options)
    return code
