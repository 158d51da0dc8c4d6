"""How one model answers: a batch of requests in, answers out, and the journal in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from math import inf
from time import perf_counter

from perene.definition.model import Model
from perene.errors import ServingError, StorageError
from perene.pipelines.journaling import AnsweredRows
from perene.pipelines.predictor import Predictor
from perene.pipelines.serving import logged_fields
from perene.server.batch import Batch, Desk, PredictRequest, Render, native
from perene.server.batcher import Batcher
from perene.server.lineup import Lineup
from perene.server.meter import Meter
from perene.storage.journal import Entry

_LIGHT_ROWS, _LIGHT_S = 64, 0.010  # up to these, another thread costs more than it gives


class Answering:
    """One model's worker: ``lineup`` may be exchanged at any time and is read once per batch."""

    def __init__(self, model: Model, desk: Desk) -> None:
        self.model = model
        self.lineup: Lineup | None = None
        self.worked_at = -inf  # when it last answered something, by perf_counter
        self._desk = desk
        self._logged = logged_fields(model)
        self.waits_for_disk = desk.durability == "fsync"
        self.meter = (desk.meter or Meter([model.name])).of(model.name)
        self.batcher = Batcher[PredictRequest, bytes](model.name, self._work, limit_rows=desk.queue_rows)

    @property
    def predictor(self) -> Predictor | None:
        """The version that is live here; None before there is one."""
        return None if self.lineup is None else self.lineup.champion

    def submit(
        self,
        rows: list[object],
        ids: list[str | None] | None,
        render: Render = native,
        *,
        timeout_s: float | None = None,
        on_wait: Callable[[asyncio.Future[bytes]], object] | None = None,
    ) -> asyncio.Future[bytes]:
        """Queue a request; see ``PredictRequest`` and ``Batcher.submit``.

        Raises ServingError where nothing is live, or too many wait.
        """
        lineup = self.lineup
        if lineup is None:
            raise no_live_version(self.model.name)
        is_quick = lineup.champion.batch_s <= _LIGHT_S and (lineup.canary is None or lineup.canary.batch_s <= _LIGHT_S)
        is_small = len(rows) <= _LIGHT_ROWS and is_quick
        is_light = is_small and ids is None and not self.waits_for_disk  # given ids are looked up in the lake
        asked = PredictRequest(rows, ids, render)
        timeout_s = self._desk.timeout_s if timeout_s is None else timeout_s
        return self.batcher.submit(asked, len(rows), is_light=is_light, timeout_s=timeout_s, on_wait=on_wait)

    def _work(self, requests: Sequence[PredictRequest], deliver: Callable[[Sequence[bytes]], None]) -> None:
        lineup = self.lineup
        if lineup is None:
            raise no_live_version(self.model.name)
        started = perf_counter()
        batch = Batch(self.model, lineup, requests, self._desk)
        batch.compute()
        self.meter.took("compute", perf_counter() - started)
        answered = batch.answered(self._logged)
        entries = [entry for rows in answered for entry in rows.entries(self.model.name)]
        answers = batch.answers()
        if self._desk.durability == "background":
            with self._desk.journal.turn():  # so that a rotation comes before both or after both
                deliver(answers)
                self._log(entries, answered=True)
        else:
            self._log(entries, answered=not self._desk.refuse_unlogged)
            deliver(answers)
        if not lineup.is_alone:
            batch.ask_others(answered)

    def log(self, rows: AnsweredRows) -> None:
        """Log answers that were looked up, before they are given. Raises ServingError where they must be and cannot."""
        self._log(rows.entries(self.model.name), answered=not self._desk.refuse_unlogged)

    def _log(self, entries: Sequence[Entry], *, answered: bool) -> None:
        """Write to the journal. What cannot be written is refused, or counted as lost when it is answered anyway."""
        self.worked_at = started = perf_counter()
        if not entries:
            return
        try:
            self._desk.journal.write(entries)
            self.meter.took("log", perf_counter() - started)
        except StorageError as error:
            if not answered:
                mend = f'{error.mend}; on_log_failure = "answer" would answer and count it as lost'
                raise ServingError(
                    "the prediction cannot be logged", why=error.why, mend=mend, code="not-logged"
                ) from error
            lost = sum(entry.lines for entry in entries)
            self._desk.losses.add(self.model.name, lost, error)
            self.meter.lost(lost)


def no_live_version(model: str) -> ServingError:
    """There is nothing to answer with."""
    why = "no version of it has been released, or the server is still loading it"
    return ServingError(f"{model} has no live version", why=why, mend=f"perene train {model}", code="no-live-version")
