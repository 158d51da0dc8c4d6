"""Ground truth: what was said about outcomes, and which of it holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from perene.definition.model import Model
from perene.storage.envelope import Log, conform, truths_columns
from perene.storage.lake import Lake


class Truths:
    """The ground-truth logs. A correction is a new row, a retraction a row that says so; the newest holds."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    def append(self, model: Model, frame: pl.DataFrame, source: str) -> int:
        """Append truths once for this source; returns the ingest number. Of equal ones the last is kept.

        The columns are those of ``storage.envelope.truths_columns``. Raises StorageError, and then nothing was written.
        """
        rows = conform(frame, truths_columns(model))
        said = ["prediction_id", "key", "event_at", "known_at"]
        rows = rows.unique(subset=said, keep="last", maintain_order=True)
        return self._lake.append(model.name, Log.TRUTHS, rows, source=source)

    def scan(self, model: Model, since: datetime | None = None, until: datetime | None = None) -> pl.LazyFrame:
        """Everything that was said about events of [since, until); by its day, where only a prediction is named."""
        columns = truths_columns(model)
        return self._lake.scan(model.name, Log.TRUTHS, columns=columns, since=since, until=until)


def newest_truths(said: pl.LazyFrame, subject: Sequence[str]) -> pl.LazyFrame:
    """What holds of each subject: its newest truth by ``(known_at, ingest)``; none when that took the label back."""
    ordered = said.sort("known_at", "ingest", maintain_order=True)
    newest = ordered.unique(subset=list(subject), keep="last", maintain_order=True)
    return newest.filter(~pl.col("retracted")).select(*subject, "label", "known_at")
