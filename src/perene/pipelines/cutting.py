"""Cutting a dataset version out of the examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime

import polars as pl

from perene.definition.model import Model
from perene.errors import DataError
from perene.pipelines.changing import compared, counted
from perene.pipelines.windows import DAY, Window, shown, window_of
from perene.records.dataset import Changes, DatasetVersion, DayOfExamples
from perene.records.identity import digest_of
from perene.repositories import Fence
from perene.repositories.datasets import Datasets, digest_of_version, question_of
from perene.repositories.examples import Question, midnight
from perene.repositories.sources import Sources
from perene.storage.database import Database
from perene.storage.envelope import Log
from perene.storage.lake import Lake


def cut(
    model: Model,
    *,
    now: datetime,
    lake: Lake,
    database: Database,
    run: int | None = None,
    fence: Fence | None = None,
) -> DatasetVersion:
    """Cut the next dataset version: the window that ends with the last day whose labels have had their wait.

    The same run again gives the version that it made. Days that did not change since an earlier version are not read.

    Args:
        now: Project time: what was known then is used.

    Raises:
        DataError: there is no row with a label to train on, or none to test on ("data-empty").
    """
    datasets = Datasets(database, lake)
    if run is not None and (made := datasets.of_run(run)) is not None:
        return made
    window = window_of(model, now)
    ingest = lake.settle(model.name, Log.EXAMPLES)
    question = Question(since=window.since, until=window.until, as_of=now, ingest=ingest)
    days = datasets.days.reckon(model, question)
    parts = _parts(datasets, model, question, window, days)
    _refuse_empty(model, window, parts, days)
    before = datasets.latest(model.name)
    changes, left = _changes(datasets, model, before, question, days)
    asked = Sources(database).days(model.name, window.since.date(), window.until.date())
    version = DatasetVersion(
        model=model.name, version=0, run=run, created_at=now, since=window.since, trained_until=window.trained_until,
        split=window.split, until=window.until, as_of=now, ingest=ingest, rows=sum(day.rows for day in days),
        train_rows=parts["train"]["rows"], test_rows=parts["test"]["rows"],
        labelled=sum(day.labelled for day in days), digest="", recipe=digest_of(model.declaration()),
        changes=changes, quarantined=sum(day.quarantined for day in asked.values()),
        statistics=_statistics(model, window, parts, days) | {"left_window": left},
    )  # fmt: skip
    return datasets.add(replace(version, digest=digest_of_version(version, days)), fence=fence)


Part = dict[str, int]


def _parts(
    datasets: Datasets, model: Model, question: Question, window: Window, days: Sequence[DayOfExamples]
) -> dict[str, Part]:
    """Rows and labelled rows of training and test. Only days that lie in two parts are read."""
    parts = {"train": (window.since, window.trained_until), "test": (window.split, window.until)}
    counts = {name: {"rows": 0, "labelled": 0} for name in parts}
    divided = []
    for day in days:
        start, end = midnight(day.day), midnight(day.day + DAY)
        if any(start < cut_at < end for cut_at in (window.trained_until, window.split)):
            divided.append(day.day)
            continue
        for name, (since, until) in parts.items():
            if max(start, window.since) >= since and min(end, window.until) <= until:
                counts[name]["rows"] += day.rows
                counts[name]["labelled"] += day.labelled
    if divided:
        rows = datasets.examples.answer(model, question, days=divided)
        for name, (since, until) in parts.items():
            inside = rows.filter(pl.col("event_at").is_between(since, until, closed="left"))
            counts[name]["rows"] += inside.height
            counts[name]["labelled"] += inside["label"].count()
    return counts


def _changes(
    datasets: Datasets,
    model: Model,
    before: DatasetVersion | None,
    question: Question,
    days: Sequence[DayOfExamples],
) -> tuple[Changes, int]:
    """What came and went since the version before, and how many rows went only because the window moved on.

    Rows are compared only of days whose digests differ.
    """
    if before is None:
        return Changes(added=sum(day.rows for day in days)), 0
    asked = question_of(before)
    now = {day.day: day for day in days}
    then = {day.day: day for day in datasets.days.reckon(model, asked)}
    added = sum(day.rows for key, day in now.items() if key not in then)
    gone = sum(day.rows for key, day in then.items() if key not in now)
    left = sum(day.rows for key, day in then.items() if key not in now and midnight(key + DAY) <= question.since)
    other = sorted(key for key in now.keys() & then.keys() if now[key].digest != then[key].digest)
    if not other:
        return Changes(added=added, gone=gone), left
    answer = datasets.examples.answer
    both = compared(answer(model, question, days=other), answer(model, asked, days=other))
    found = counted(both)
    left += both.filter(pl.col("gone") & (pl.col("event_at") < question.since)).height
    return replace(found, added=found.added + added, gone=found.gone + gone), left


def _statistics(
    model: Model, window: Window, parts: Mapping[str, Part], days: Sequence[DayOfExamples]
) -> dict[str, object]:
    labelled = sum(day.labelled for day in days)
    there = {day.day for day in days}
    inner = [day for day in window.days if days[0].day <= day <= days[-1].day]
    return {
        "train": dict(parts["train"]),
        "test": dict(parts["test"]),
        "label_mean": None if model.label.classes else sum(day.label_sum for day in days) / labelled,
        "first_day": days[0].day.isoformat(),
        "last_day": days[-1].day.isoformat(),
        "days": len(days),
        "days_without_rows": [day.isoformat() for day in inner if day not in there],
        "fewest_a_day": min(day.rows for day in days),
        "most_a_day": max(day.rows for day in days),
    }


def _refuse_empty(model: Model, window: Window, parts: Mapping[str, Part], days: Sequence[DayOfExamples]) -> None:
    """Refuse a window without a label to train on, or without one to test on. Raises DataError."""
    spans = {"train": (window.since, window.trained_until), "test": (window.split, window.until)}
    empty = next((name for name in spans if not parts[name]["labelled"]), None)
    if empty is None:
        return
    since, until = spans[empty]
    rows = parts[empty]["rows"]
    what = f"{rows:,} rows but no label" if rows else "0 rows"
    raise DataError(
        f"the dataset for {model.name} could not be built",
        why=f"there are {what} to {empty} on, for {shown(since.date(), _upto(until))}",
        seen=_seen(days),
        mend=_mend(model),
        code="data-empty",
    )


def _upto(until: datetime) -> date:
    """The first day after an instant, or its day at midnight."""
    return until.date() if until == midnight(until.date()) else until.date() + DAY


def _seen(days: Sequence[DayOfExamples]) -> tuple[str, ...]:
    if not days:
        return ("the window has no row at all",)
    last = days[-1]
    usual = [day.rows for day in days[-29:-1]]
    line = f"last day with rows: {last.day.isoformat()} ({last.rows:,}, {last.labelled:,} with a label)"
    if usual:
        line += f"; the {len(usual)} days with rows before had {min(usual):,}–{max(usual):,} a day"
    return (line,)


def _mend(model: Model) -> str:
    if "source" in model.examples:
        return f"check the source, then perene train {model.name}"
    return f"post ground truth, or perene dataset import {model.name} FILE; then perene train {model.name}"
