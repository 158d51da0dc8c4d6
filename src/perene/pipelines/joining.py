"""Examples from the product's own log: predictions joined with their ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import polars as pl

from perene.definition.model import Model
from perene.pipelines.changing import compared, counted, no_examples, to_append
from perene.pipelines.windows import DAY, Window
from perene.records.dataset import Changes
from perene.repositories import Fence
from perene.repositories.examples import LOGGED, Examples
from perene.repositories.predictions import Predictions
from perene.storage.envelope import INSTANT, Log, predictions_columns, truths_columns
from perene.storage.lake import Lake, collected

_EVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How far the logs were joined: up to these numbers, for days before ``until``, as known at ``as_of``."""

    predictions: int = 0
    truths: int = 0
    until: date = date.min
    as_of: datetime = _EVER

    @property
    def source(self) -> str:
        """The name of the append that brings the examples up to here."""
        return f"{LOGGED}:{self.predictions}:{self.truths}:{self.until.isoformat()}:{self.as_of.isoformat()}"


def seen_before(lake: Lake, model: str) -> Seen:
    """How far the last collection came; its append says so."""
    for ingest in reversed(lake.ingests.committed(model, Log.EXAMPLES)):
        origin, *parts = ingest.source.split(":", 4)
        if origin == LOGGED:
            predictions, truths, until, as_of = parts
            return Seen(
                predictions=int(predictions), truths=int(truths), until=date.fromisoformat(until),
                as_of=datetime.fromisoformat(as_of),
            )  # fmt: skip
    return Seen()


def join_logs(
    model: Model,
    window: Window,
    *,
    now: datetime,
    examples: Examples,
    predictions: Predictions,
    fence: Fence | None = None,
) -> Changes:
    """Say as examples what is new in the logs about days whose labels have had their wait.

    A row is one identity: its last request before the event (the first one after it, where none came before), with the
    newest truth of any of its predictions. Without a truth it stays without a label.
    """
    lake = examples.lake
    before = seen_before(lake, model.name)
    after = Seen(
        predictions=lake.settle(model.name, Log.PREDICTIONS),
        truths=lake.settle(model.name, Log.TRUTHS),
        until=max(window.until.date(), before.until),
        as_of=max(now, before.as_of),
    )
    days = sorted(_days_to_join(model, lake, before, after))
    parts = [
        _changes(model, part, after, examples=examples, predictions=predictions)
        for part in lake.portions(model.name, Log.PREDICTIONS, days)
    ]
    changes = pl.concat(parts) if parts else compared(no_examples(model), no_examples(model))
    examples.append(model, to_append(changes, now=now, origin=LOGGED, dated=True), after.source, fence=fence)
    return counted(changes)


def _changes(
    model: Model, days: Sequence[date], after: Seen, *, examples: Examples, predictions: Predictions
) -> pl.DataFrame:
    upto = (after.predictions, after.truths)
    rows = collected(
        lambda: predictions.with_truth(model, None, None, after.as_of, days=days, upto=upto),
        model.name,
        Log.PREDICTIONS,
    )
    return compared(_as_examples(model, rows), examples.current(model, LOGGED, days))


def _days_to_join(model: Model, lake: Lake, before: Seen, after: Seen) -> set[date]:
    """Days that got predictions or truths since, and those whose labels have had their wait only now."""
    touched = lake.touched_days(model.name, Log.PREDICTIONS, after=before.predictions, upto=after.predictions)
    days = touched | _days_of_truths(model, lake, before, after)
    if before.until != date.min:  # the first time, every day is touched
        days |= {before.until + i * DAY for i in range((after.until - before.until).days)}
    return {day for day in days if day < after.until}


def _days_of_truths(model: Model, lake: Lake, before: Seen, after: Seen) -> set[date]:
    """The days of the events about which something was said, or became known, since."""
    new = (pl.col("ingest") > before.truths) | (pl.col("known_at") > before.as_of)
    known = new & (pl.col("known_at") <= after.as_of)

    def said() -> pl.LazyFrame:
        lines = lake.scan(model.name, Log.TRUTHS, columns=truths_columns(model), upto=after.truths)
        return lines.filter(known).select("day", "prediction_id")

    fresh = collected(said, model.name, Log.TRUTHS)
    keyed = fresh.filter(pl.col("prediction_id").is_null())["day"].unique().to_list()
    ids = fresh.select(pl.col("prediction_id").drop_nulls().unique())
    if ids.is_empty():
        return set(keyed)

    def named() -> pl.LazyFrame:
        asked = lake.scan(model.name, Log.PREDICTIONS, columns=predictions_columns(model), upto=after.predictions)
        mine = asked.select("prediction_id", "day").join(ids.lazy(), on="prediction_id", how="semi")
        return mine.select(pl.col("day").unique())

    return {*keyed, *collected(named, model.name, Log.PREDICTIONS)["day"].to_list()}


def _as_examples(model: Model, predictions: pl.DataFrame) -> pl.DataFrame:
    """One row per identity: a request, and the label that was known last.

    A request that was made after its event may tell of it, so it does not count beside one that was made before.
    """
    ordered = predictions.sort("key", "event_at", "predicted_at", "prediction_id")
    known = pl.col("known_at").is_not_null()
    newest = pl.col("known_at").filter(known).arg_max()
    in_time = pl.col("predicted_at") <= pl.col("event_at")
    rows = ordered.group_by("key", "event_at", maintain_order=True).agg(
        row=pl.when(in_time.any()).then(pl.col("request").filter(in_time).last()).otherwise(pl.col("request").first()),
        label=pl.col("label").filter(known).get(newest, null_on_oob=True),
        known_at=pl.col("known_at").max(),
    )
    asked_at = pl.col("event_at") - model.asked
    return rows.with_columns(
        row=pl.col("row").cast(pl.Struct(dict(model.schema.polars))),
        known_at=pl.coalesce("known_at", asked_at).cast(INSTANT),
    )
