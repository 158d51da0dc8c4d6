"""The folder of the demo: a whole project, with the flights that its archive, and later its traffic, are made of."""

from __future__ import annotations

import gzip
import os
import shutil
from datetime import datetime
from pathlib import Path

import polars as pl

from perene.definition.template import read_template
from perene.demo.flights import ASKED
from perene.errors import NotAllowed
from perene.storage.journal import journal_folder, take_lock

MARKER = ".perene-demo"
_MARK = "perene demo wrote this folder, and replaces it when it runs again. Delete this file to keep the folder.\n"
_INSTANT = "%Y-%m-%dT%H:%M:%SZ"


def ensure_free(into: Path) -> None:
    """See that nothing is there but what the demo itself wrote.

    Raises:
        NotAllowed: something else is.
    """
    is_there = into.exists() or into.is_symlink()
    if is_there and (into.is_symlink() or not (into / MARKER).is_file()):
        raise NotAllowed(
            f"{into} is there already, and the demo did not write it",
            why=f"it has no file {MARKER}",
            mend="perene demo --into ANOTHER-FOLDER, or move that one away",
        )
    if is_there and _is_served(into):
        raise NotAllowed(
            f"{into} is in use, and would be replaced",
            why="a server of it runs",
            mend="stop its perene up, or perene demo --into ANOTHER-FOLDER",
        )


def _is_served(folder: Path) -> bool:
    """Whether a living server keeps its journal in a project's folder."""
    journals = journal_folder(folder)
    for lock in journals.glob("*.lock"):
        taken = take_lock(journals, lock.stem)
        if taken is None:
            return True
        os.close(taken)
    return False


def write_folder(into: Path, flights: pl.DataFrame, *, since: datetime, until: datetime) -> None:
    """Write the project: its files, the flights before ``since`` as its archive, those from ``until`` as its traffic.

    A folder that the demo wrote before is removed first.

    Args:
        flights: as ``read_flights`` gives them.
        since: when the replay begins.
        until: when it ends.

    Raises:
        NotAllowed: something is there that the demo did not write.
    """
    ensure_free(into)
    if into.exists():
        shutil.rmtree(into)
    into.mkdir(parents=True)
    (into / MARKER).write_text(_MARK, encoding="utf-8")
    for path, text in read_template("perene.demo").items():
        (into / path).parent.mkdir(parents=True, exist_ok=True)
        (into / path).write_text(text, encoding="utf-8")
    (into / "data").mkdir()
    flights.filter(pl.col("sched_dep") < since).write_parquet(into / "data" / "archive.parquet")
    with gzip.open(into / "data" / "december.jsonl.gz", "wb", compresslevel=6) as file:
        file.write(_traffic(flights, until).write_ndjson().encode())


def _traffic(flights: pl.DataFrame, since: datetime) -> pl.DataFrame:
    """What happens from an instant on: which flights are asked for and when, and what becomes of those in the air.

    A flight that was asked for before has no ``row``; one that never lands has no ``truth``.
    """
    asked_at = pl.col("sched_dep") - ASKED
    events = flights.with_columns(asked_at=asked_at, is_asked=asked_at >= since)
    events = events.filter(pl.col("is_asked") | (pl.col("landed_at") >= since))
    said = events.with_columns(pl.col("asked_at", "sched_dep", "landed_at").dt.strftime(_INSTANT))
    row = pl.struct(pl.exclude("asked_at", "is_asked", "late", "landed_at"))
    truth = pl.struct("carrier", "flight", "origin", "sched_dep", "late", "landed_at")
    return said.select(
        "asked_at",
        "sched_dep",
        "landed_at",
        row=pl.when("is_asked").then(row),
        truth=pl.when(pl.col("landed_at").is_not_null()).then(truth),
    )
