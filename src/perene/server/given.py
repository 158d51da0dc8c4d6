"""Prediction ids that callers gave: the same id and row again get the logged answer, another row a 409."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime

import polars as pl

from perene.definition.model import Model
from perene.errors import Conflict
from perene.pipelines.drain import KnownId, known_ids
from perene.pipelines.journaling import AnsweredRows, answered_rows, at_instant
from perene.repositories.predictions import Predictions
from perene.storage.database import Database
from perene.storage.journal import JournalReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """What was answered to an id before.

    Of a ranking with the place that it got, or why it got none; of a stored answer with when it was computed.
    """

    version: int
    prediction: object
    rank: int | None
    removed: str | None
    computed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """A given id, the digest of its row, and what was answered to it before, if anything."""

    id: str
    digest: str
    logged: Logged | None = None


class TwiceInBatch(Exception):
    """Two requests of one batch have one id: the second must see what the first logged."""


class GivenIds:
    """Where ids are looked up: the journals of every process on this machine, then the database and the lake.

    The journals come first: a line leaves them only when the database and the lake have it.
    """

    def __init__(self, journals: JournalReader, database: Database, predictions: Predictions) -> None:
        self._journals = journals
        self._database = database
        self._predictions = predictions

    def look_up(self, model: Model, wanted: Mapping[int, Given]) -> dict[int, Given]:
        """Add what was answered before. Raises Conflict for an id that belongs to another row."""
        ids = {given.id for given in wanted.values()}
        if len(ids) < len(wanted):
            raise TwiceInBatch
        waiting = {id_: answered_rows(body) for id_, body in self._journals.find_given(model.name, ids).items()}
        drained = known_ids(self._database, model.name, ids - set(waiting))
        found: dict[int, Given] = {}
        for place, given in wanted.items():
            before = waiting.get(given.id) or drained.get(given.id)
            if before is None:
                found[place] = given
                continue
            digest = before.row_digest if isinstance(before, KnownId) else (before.row_digest or [""])[0]
            if digest != given.digest:
                what = f"prediction {given.id} of {model.name} belongs to another row"
                raise Conflict(what, why="a prediction id stands for one row", mend="give each row an id of its own")
            if isinstance(before, AnsweredRows):
                found[place] = replace(given, logged=_waiting(before))
            else:
                found[place] = replace(given, logged=self._drained(model, given.id, before.day))
        return found

    def _drained(self, model: Model, prediction_id: str, day: date) -> Logged:
        lines = self._predictions.scan(model, days=[day]).filter(pl.col("prediction_id") == prediction_id)
        found = lines.select("model_version", "final", "rank", "removed", "computed_at").collect()
        if found.is_empty():
            what = f"prediction {prediction_id} of {model.name} was answered, but its line has been removed"
            raise Conflict(what, mend="ask with another prediction id")
        version, final, rank, removed, computed_at = found.row(0)
        return Logged(version=version, prediction=final, rank=rank, removed=removed, computed_at=computed_at)


def _waiting(line: AnsweredRows) -> Logged:
    """What a line says that is not drained yet."""
    return Logged(
        version=line.model_version,
        prediction=line.final[0],
        rank=line.rank[0] if line.rank else None,
        removed=line.removed[0] if line.removed else None,
        computed_at=None if line.computed_at is None else at_instant(line.computed_at),
    )
