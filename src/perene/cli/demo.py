"""``perene demo``."""

from __future__ import annotations

import click

from perene.cli.verbs import Verb


@click.command(
    "demo",
    cls=Verb,
    prints=False,
    project=False,
    examples="""
      perene demo
      perene demo --into /tmp/flights
    """,
)
@click.option("--into", metavar="DIR", default="perene-demo", help="The folder to write (default: ./perene-demo).")
def command(into: str) -> None:
    """Make a working example in ./perene-demo and replay it.

    It predicts which flights out of New York will arrive late, and lives the year 2013 in a few minutes: predictions,
    ground truth, retraining every week, releases. An existing folder is replaced only if the demo wrote it.
    """
    from pathlib import Path

    from perene.demo import run_demo

    run_demo(Path(into))
