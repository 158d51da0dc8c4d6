"""Data: from a source, the product's own log or a file to examples, and from examples to a dataset version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

import polars as pl

from perene.definition.model import Model
from perene.pipelines.asking import Ask, Told, ask_source
from perene.pipelines.changing import IDENTITY, compared, counted, to_append
from perene.pipelines.checking import check_examples, refuse_many
from perene.pipelines.cutting import cut
from perene.pipelines.joining import join_logs
from perene.pipelines.windows import window_of
from perene.records.dataset import Changes
from perene.records.identity import new_id, plain
from perene.repositories import Fence
from perene.repositories.examples import Examples
from perene.repositories.predictions import Predictions
from perene.repositories.sources import Sources, quarantined
from perene.storage.database import Database
from perene.storage.envelope import INSTANT, Log
from perene.storage.lake import Lake

__all__ = ["collect", "cut", "import_examples"]

_IMPORT = "import"


def collect(
    model: Model, *, now: datetime, lake: Lake, database: Database, run: int | None = None, fence: Fence | None = None
) -> dict[str, object]:
    """Bring new, late and corrected examples in; returns what was asked and what changed, as JSON.

    The source is asked for days that are missing, whose labels may still come, or that ``revisit`` covers; the
    prediction log is joined with the ground truth that came since. May be repeated at any point: nothing is said twice.

    Args:
        now: Project time. No label that is known later is used.
        fence: Called first in each transaction with the database.

    Raises:
        DataError: the source failed ("source-failed"), gave too many bad rows ("bad-rows"), no row where there must
            be some ("data-empty"), or not the columns of the label ("data-columns").
    """
    examples = Examples(lake)
    lake.settle(model.name, Log.EXAMPLES)  # what an earlier try left open
    window = window_of(model, now)
    told, joined = Told(), Changes()
    if "source" in model.examples and model.source_hook is not None:
        ask = Ask(
            model=model, hook=model.source_hook, now=now, run=run, examples=examples, sources=Sources(database),
            fence=fence,
        )  # fmt: skip
        told = ask_source(ask, window)
    if "log" in model.examples:
        predictions = Predictions(lake, database)
        joined = join_logs(model, window, now=now, examples=examples, predictions=predictions, fence=fence)
    for kept in Log:
        lake.tidy(model.name, kept)
    return {
        "since": plain(window.since),
        "until": plain(window.until),
        "asked": told.calls,
        "rows": told.rows,
        "quarantined": told.quarantined,
        "source": asdict(_total(told.changes)),
        "log": asdict(joined),
        "ingest": lake.horizon(model.name, Log.EXAMPLES),
    }


def import_examples(
    model: Model, frame: object, *, now: datetime, lake: Lake, database: Database, who: str = "the import"
) -> dict[str, object]:
    """Import rows with their labels; returns what changed, as JSON.

    An identity that was imported before is corrected. A label that is known only later (``later`` counts them) counts
    from then on; until then holds what was imported before.

    Raises:
        DataError: more than the declared share of rows is bad ("bad-rows"), or the label's columns are missing
            ("data-columns").
    """
    examples = Examples(lake)
    lake.settle(model.name, Log.EXAMPLES)
    arrived = check_examples(model, frame, now=now, who=who)
    aside = quarantined(model.name, arrived.aside, run=None, origin=_IMPORT, at=now)
    Sources(database).set_aside(aside)
    refuse_many(model, arrived, who)
    new = arrived.examples
    days = new["event_at"].dt.date().unique().to_list()
    changes = compared(new, examples.current(model, _IMPORT, days)).filter(~pl.col("gone"))
    rows = to_append(changes, now=now, origin=_IMPORT, dated=model.label.known_at is not None)
    later = _meanwhile(model, rows.filter(pl.col("known_at") > now), examples.current(model, _IMPORT, days, as_of=now))
    # Every import is an append of its own: what it says again, the comparison has left out.
    number = examples.append(model, pl.concat([later, rows]), f"{_IMPORT}:{who}:{new_id(lake.machine())}")
    told = {"rows": arrived.total, "quarantined": arrived.bad_days.len(), "ingest": number}
    return {**told, **asdict(counted(changes)), "later": new.filter(pl.col("known_at") > now)["label"].count()}


def _meanwhile(model: Model, later: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """What holds of rows until their labels are known: the label that held before, or none yet."""
    known = held.select(*IDENTITY, label_held="label", known_at_held="known_at")
    asked_at = (pl.col("event_at") - model.asked).cast(INSTANT)
    both = later.join(known, on=IDENTITY, how="left", maintain_order="left")
    hidden = both.with_columns(label="label_held", known_at=pl.coalesce("known_at_held", asked_at))
    return hidden.filter(pl.col("known_at") < later["known_at"]).select(later.columns)


def _total(changes: Sequence[Changes]) -> Changes:
    """The sum of changes."""
    return Changes(
        added=sum(c.added for c in changes),
        relabelled=sum(c.relabelled for c in changes),
        restated=sum(c.restated for c in changes),
        gone=sum(c.gone for c in changes),
    )
