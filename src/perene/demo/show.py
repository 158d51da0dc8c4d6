"""``perene demo``, from an empty folder to the table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import polars as pl
from rich.console import Console

from perene.app import open_project
from perene.demo.flights import read_flights
from perene.demo.folder import ensure_free, write_folder
from perene.demo.progress import shown
from perene.demo.replay import Plan, replay
from perene.demo.report import report
from perene.demo.results import Results, measure
from perene.demo.summary import print_results

REPORT = "report.html"
_SPINS = "1000"  # OpenMP threads that wait for each other spin that often, then leave the cores to the others


def run(
    into: Path,
    *,
    plan: Plan | None = None,
    flights: pl.DataFrame | None = None,
    prints: bool = True,
    is_coloured: bool = True,
) -> Results:
    """Write the flights project into a folder, replay 2013 in it, print the table by month and leave report.html.

    Args:
        plan: when the replay begins and ends; March to November when None.
        flights: as ``read_flights`` gives them; all of 2013 when None.
        prints: whether the table goes to stdout; progress goes to stderr in any case.
        is_coloured: whether a terminal that can show colours gets them.

    Raises:
        NotAllowed: the folder exists and the demo did not write it.
        NotFound: the flights are not installed.
    """
    colours: Literal["auto"] | None = "auto" if is_coloured else None
    out, err = (Console(highlight=False, stderr=stderr, color_system=colours) for stderr in (False, True))
    plan = plan or Plan()
    ensure_free(into)
    flights = read_flights() if flights is None else flights
    os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    write_folder(into, flights, since=plan.since, until=plan.until)
    app = open_project(into)
    try:
        with shown(plan, err) as progress:
            told = replay(app, flights, plan, progress)
        results = measure(app, plan, told)
    finally:
        app.close()
    (into / REPORT).write_text(report(results), encoding="utf-8")
    if prints:
        print_results(results, into, out)
    return results


def as_data(results: Results, into: Path) -> dict[str, object]:
    """What the table and the report show, for JSON."""
    named = ("as_of", "mature_until", "first", "live", "lines", "total", "weeks", "later")
    shown = {name: getattr(results, name) for name in named}
    return {"folder": str(into.resolve()), "report": str((into / REPORT).resolve()), **shown}
