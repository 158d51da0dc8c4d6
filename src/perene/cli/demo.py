"""``perene demo``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perene.cli.door import Door
from perene.cli.output import Mode
from perene.cli.terminal import is_terminal
from perene.cli.verbs import Verb

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    "demo",
    cls=Verb,
    project=False,
    examples="""
      perene demo
      perene demo --into /tmp/flights
      perene demo --yes --json         replaces an earlier one; for programs
    """,
)
@click.option("--into", metavar="DIR", default="perene-demo", help="The folder to write (default: ./perene-demo).")
@click.option("--yes", is_flag=True, help="Replace an earlier demo without being asked.")
@click.option("--no-input", is_flag=True, help="Ask nothing, as where no person is at the terminal.")
@click.pass_obj
def command(door: Door, into: str, yes: bool, no_input: bool) -> None:
    """Make a working example in ./perene-demo and replay it.

    It predicts which flights out of New York will arrive late, and lives the year 2013 in a few minutes: predictions,
    ground truth, retraining every week, releases. An existing folder is replaced only if the demo wrote it.
    """
    from pathlib import Path

    from perene.demo import run_demo

    folder = Path(into)
    if not (yes or no_input):
        _ask(folder)
    prints = door.out.mode in (Mode.HUMAN, Mode.TSV)
    data = run_demo(folder, prints=prints, is_coloured=not door.no_colour)
    if not prints:
        door.out.done("demo", data, text="", id=folder.resolve())


def _ask(folder: Path) -> None:
    """Where a person is at the terminal, ask before an earlier demo is replaced, with what was changed in it."""
    import sys

    from perene.demo.folder import MARKER
    from perene.errors import NotAllowed

    if not ((folder / MARKER).is_file() and is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        return
    if not click.confirm(f"Replace {folder}, an earlier demo, with all that was changed in it?", err=True):
        raise NotAllowed(f"{folder} stays as it is", mend="perene demo --into ANOTHER-FOLDER, or perene demo --yes")
