"""The flights project that ``perene demo`` writes and replays."""

from __future__ import annotations

from pathlib import Path


def run_demo(into: Path) -> None:
    """Write the flights project into a folder, replay 2013 in it, print the table by month and leave report.html.

    Raises:
        NotAllowed: the folder exists and the demo did not write it.
    """
    from perene.demo.show import run

    run(into)


__all__ = ["run_demo"]
