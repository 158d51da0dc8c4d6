"""The flights project that ``perene demo`` writes and replays."""

from __future__ import annotations

from pathlib import Path


def run_demo(into: Path, *, prints: bool = True, is_coloured: bool = True) -> dict[str, object]:
    """Write the flights project into a folder, replay 2013 in it, print the table by month and leave report.html.

    Returns what the table and the report show. ``prints`` is for the table; progress goes to stderr in any case.

    Raises:
        NotAllowed: the folder exists and the demo did not write it.
    """
    from perene.demo.show import as_data, run

    return as_data(run(into, prints=prints, is_coloured=is_coloured), into)


__all__ = ["run_demo"]
