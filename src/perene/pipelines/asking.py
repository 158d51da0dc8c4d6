"""Asking the source: for days that are missing, whose labels may still come, or that are to be revisited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import polars as pl

from perene.definition.hooks import Hook
from perene.definition.model import Model
from perene.errors import DataError, PereneError
from perene.pipelines.changing import compared, counted, to_append
from perene.pipelines.checking import Arrived, check_examples, hide_later, refuse_many
from perene.pipelines.windows import DAY, Window, ranges, shown
from perene.records.dataset import Changes
from perene.repositories import Fence
from perene.repositories.examples import Examples, midnight
from perene.repositories.sources import SourceDay, Sources, quarantined
from perene.storage.envelope import Log

SOURCE = "source"
_USUAL = 28  # days before a gap that say whether it is one


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What one collection of a source needs to know."""

    model: Model
    hook: Hook
    now: datetime
    run: int | None
    examples: Examples
    sources: Sources
    fence: Fence | None = None


@dataclass(slots=True, kw_only=True)
class Told:
    """What the source was asked and answered: the ranges of days, rows, rows set aside, and what changed."""

    calls: list[dict[str, str]] = field(default_factory=list)
    rows: int = 0
    quarantined: int = 0
    changes: list[Changes] = field(default_factory=list)


def days_to_ask(model: Model, window: Window, asked: dict[date, SourceDay], now: datetime) -> list[date]:
    """The days of the window that the source must be asked for now."""
    young = (now - model.revisit).date() if model.revisit else date.max
    return [day for day in window.days if _must_ask(model, day, asked.get(day), young=young, now=now)]


def _must_ask(model: Model, day: date, before: SourceDay | None, *, young: date, now: datetime) -> bool:
    if before is None:
        return True
    if before.asked_at >= now:  # this collection's own earlier try
        return False
    return midnight(day + DAY) + model.label.wait > before.asked_at or day >= young


def ask_source(ask: Ask, window: Window) -> Told:
    """Ask for the days that need it, in ranges of days that follow each other, and say what is new or other.

    Raises DataError: the source failed, more than the declared share of a call's rows is bad, or rows are missing that
    were to be expected.
    """
    days = window.days
    asked = ask.sources.days(ask.model.name, days[0], days[-1] + DAY)
    told = Told()
    for first, until in ranges(days_to_ask(ask.model, window, asked, ask.now)):
        _ask_range(ask, (first, until), told)
    return told


def _ask_range(ask: Ask, span: tuple[date, date], told: Told) -> None:
    model, (first, until) = ask.model, span
    who = f"{ask.hook.name}() for {shown(first, until)}"
    since_until = (midnight(first), midnight(until))
    arrived = check_examples(model, _called(ask, since_until, who), now=ask.now, who=who, span=since_until)
    aside = quarantined(model.name, arrived.aside, run=ask.run, origin=SOURCE, at=ask.now)
    try:
        refuse_many(model, arrived, who)
        new = hide_later(model, arrived.examples, ask.now)
        told.changes.append(_say(ask, span, new))
    except DataError:
        ask.sources.set_aside(aside)
        raise
    ask.sources.answered(model.name, _by_day(new, arrived, span, ask.now), aside, fence=ask.fence)
    told.calls.append({"since": first.isoformat(), "until": until.isoformat()})
    told.rows += arrived.total
    told.quarantined += arrived.bad_days.len()


def _called(ask: Ask, span: tuple[datetime, datetime], who: str) -> object:
    """What source() returns; whatever it raises is a DataError with its place."""
    try:
        return ask.hook(since=span[0], until=span[1])
    except PereneError:
        raise
    except Exception as error:
        raise DataError(
            f"{who} failed",
            why=f"{type(error).__name__}: {error}",
            mend=f"mend the source at {ask.hook.line}, then run it again",
            code="source-failed",
        ) from error


def _say(ask: Ask, span: tuple[date, date], new: pl.DataFrame) -> Changes:
    """Append what is new or other than what the source said before about these days, and retract what it lacks."""
    model, (first, until) = ask.model, span
    days = [first + timedelta(days=i) for i in range((until - first).days)]
    after = ask.examples.lake.horizon(model.name, Log.EXAMPLES)
    before = ask.examples.current(model, SOURCE, days)
    if new.is_empty():
        _refuse_gap(ask, span, before)
    changes = compared(new, before)
    rows = to_append(changes, now=ask.now, origin=SOURCE, dated=model.label.known_at is not None)
    if rows.height:
        # A try that was cut off after its append says in the next one only what the source answers otherwise now.
        source = f"run:{ask.run}:source:{first}..{until}@{ask.now.isoformat()}:after {after}"
        ask.examples.append(model, rows, source, fence=ask.fence)
    return counted(changes)


def _refuse_gap(ask: Ask, span: tuple[date, date], before: pl.DataFrame) -> None:
    """Refuse an answer without rows where there were some before, or where every day of late had some."""
    first, until = span
    alone = ask.model.examples == SOURCE
    if not alone and before.is_empty():
        return
    usual = ask.examples.counts(ask.model, first - _USUAL * DAY, first)
    if before.is_empty() and len(usual) < _USUAL:
        return
    seen = [f"{before.height:,} rows of these days came before"] if before.height else []
    if usual:
        last = max(usual)
        span_text = f"the {len(usual)} days before with rows had {min(usual.values()):,}–{max(usual.values()):,} a day"
        seen.append(f"last day with rows before: {last.isoformat()} ({usual[last]:,}); {span_text}")
    raise DataError(
        f"the dataset for {ask.model.name} could not be built",
        why=f"{ask.hook.name}() returned 0 rows for {shown(first, until)}",
        seen=tuple(seen),
        mend=f"check the source, then perene train {ask.model.name}; days without rows pass once a later day has some",
        code="data-empty",
    )


def _by_day(new: pl.DataFrame, arrived: Arrived, span: tuple[date, date], now: datetime) -> list[SourceDay]:
    """Each day of the range: its rows, those with a label, and those that were set aside (a row without a time counts
    to the first day)."""
    first, until = span
    good = new.group_by(day=pl.col("event_at").dt.date()).agg(rows=pl.len(), labelled=pl.col("label").count())
    found = {row["day"]: row for row in good.iter_rows(named=True)}
    bad = dict(arrived.bad_days.fill_null(first).clip(first, until - DAY).value_counts().iter_rows())
    nothing = {"rows": 0, "labelled": 0}
    days: Sequence[date] = [first + timedelta(days=i) for i in range((until - first).days)]
    return [
        SourceDay(
            day=day, asked_at=now, rows=found.get(day, nothing)["rows"],
            labelled=found.get(day, nothing)["labelled"], quarantined=bad.get(day, 0),
        )
        for day in days
    ]  # fmt: skip
