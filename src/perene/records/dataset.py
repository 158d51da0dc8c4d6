"""Dataset versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DayOfExamples:
    """What a dataset version holds of one day of events: its rows, those with a label, the labels' sum, and its
    digest."""

    day: date
    rows: int
    labelled: int
    label_sum: float
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What came and went since the version before: new rows, other labels, other fields, rows that are gone."""

    added: int = 0
    relabelled: int = 0
    restated: int = 0
    gone: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersion:
    """A question with a fixed answer: the examples of [since, until), known at ``as_of``, of appends up to ``ingest``.

    Training rows have ``since <= event_at < trained_until``; test rows ``split <= event_at < until``. Rows of
    [trained_until, split) are in neither: their labels come while the test already runs. ``digest`` proves the answer.
    """

    model: str
    version: int
    run: int | None
    created_at: datetime
    since: datetime
    trained_until: datetime
    split: datetime
    until: datetime
    as_of: datetime
    ingest: int
    rows: int
    train_rows: int
    test_rows: int
    labelled: int
    digest: str
    recipe: str
    changes: Changes
    quarantined: int
    statistics: Mapping[str, object]
