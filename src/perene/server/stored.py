"""Stored predictions as a server gives them out: looked up by key, logged like those that it computes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from perene.app import App
from perene.definition.model import Model
from perene.errors import Conflict, PereneError
from perene.pipelines.journaling import AnsweredRows, row_digest
from perene.pipelines.looking import LookedUp, find_fresh, look_up, nothing_stored
from perene.records.generation import Generation
from perene.records.identity import plain
from perene.server.answering import Answering
from perene.server.batch import Desk
from perene.server.given import Given, TwiceInBatch
from perene.storage.generations import GenerationGone, Kept, Reading

_LOOK_EVERY = timedelta(seconds=0.5)  # machine time


@dataclass(frozen=True, slots=True)
class Opened:
    """The generation that is read, since when the pointer was looked at; and the one before, for who reads it still."""

    generation: Generation
    reading: Reading
    looked_at: datetime
    before: Reading | None = None


class StoredAnswers:
    """The stored predictions of every model. Any thread may call it.

    A new generation is read half a second after its load at the latest. While the database is away, that which was read
    last is read on.
    """

    def __init__(self, app: App, desk: Desk) -> None:
        self._app = app
        self._desk = desk
        self._opened: dict[str, Opened] = {}
        self._turn = threading.Lock()

    def at_hand(self, model: str) -> Opened | None:
        """What is read, where it is a file and the pointer was looked at just now: no database is asked for either."""
        opened = self._opened.get(model)
        if opened is None or self._app.database.dialect != "sqlite" or not self._is_new(opened):
            return None
        return opened

    def answer(
        self,
        answering: Answering,
        keys: Sequence[str],
        ids: Sequence[str | None] | None = None,
        *,
        opened: Opened | None = None,
    ) -> dict[str, object]:
        """The answer to a request for the stored predictions of keys, which is logged by then.

        ``ids`` are the prediction ids that the caller gave. The same id and key again get the logged answer.
        ``opened`` is what is ``at_hand``.

        Raises:
            NotFound: something is not stored; ServingError: it is too old, is no number, or cannot be logged.
            Conflict: a prediction id belongs to another key, or to a row.
        """
        model, now = answering.model, self._desk.time.now()
        kept, generation = self._find(model, keys, now, opened or self._current(model.name))
        found = look_up(model, kept, generation, now=now, recorded_at=self._desk.machine())
        given = self._given(model, keys, ids)
        rows = _named(found.rows, given)
        new = [n for n in range(len(rows)) if n not in given or given[n].logged is None]
        answering.log(rows if len(new) == len(rows) else rows.take(new))
        live = answering.predictor
        return _told(model, found, rows, given, live=None if live is None else live.version.version)

    def close(self) -> None:
        """Let go of what is read."""
        with self._turn:
            for opened in self._opened.values():
                for reading in (opened.reading, opened.before):
                    if reading is not None:
                        reading.close()
            self._opened.clear()

    def _find(self, model: Model, keys: Sequence[str], now: datetime, opened: Opened) -> tuple[list[Kept], Generation]:
        try:
            return find_fresh(model, keys, opened.generation, opened.reading, now=now), opened.generation
        except GenerationGone:  # two loads ended since the pointer was looked at
            opened = self._current(model.name, again=True)
            return find_fresh(model, keys, opened.generation, opened.reading, now=now), opened.generation

    def _current(self, model: str, *, again: bool = False) -> Opened:
        with self._turn:
            before, now = self._opened.get(model), self._desk.machine()
            if before is not None and not again and self._is_new(before):
                return before
            try:
                generation = self._app.generations.current(model)
            except PereneError:
                if before is None:
                    raise
                generation = before.generation
            if generation is None:
                raise nothing_stored(model)
            self._opened[model] = self._moved(model, before, generation, now)
            return self._opened[model]

    def _is_new(self, opened: Opened) -> bool:
        return self._desk.machine() - opened.looked_at < _LOOK_EVERY

    def _moved(self, model: str, before: Opened | None, generation: Generation, now: datetime) -> Opened:
        if before is not None and before.generation.id == generation.id:
            return replace(before, looked_at=now)
        reading = self._app.shelf.store.open(model, generation.id)
        if before is None:
            return Opened(generation, reading, now)
        if before.before is not None:
            before.before.close()
        return Opened(generation, reading, now, before.reading)

    def _given(self, model: Model, keys: Sequence[str], ids: Sequence[str | None] | None) -> dict[int, Given]:
        wanted = {n: Given(id_, row_digest({"key": keys[n]})) for n, id_ in enumerate(ids or ()) if id_ is not None}
        try:
            return self._desk.given.look_up(model, wanted) if wanted else {}
        except TwiceInBatch:
            raise Conflict("a prediction id stands twice in this request", mend="give each key its own") from None


def _named(rows: AnsweredRows, given: dict[int, Given]) -> AnsweredRows:
    """The rows with the ids that the caller gave them."""
    if not given:
        return rows
    ids = [given[n].id if n in given else id_ for n, id_ in enumerate(rows.prediction_id)]
    digests = [given[n].digest if n in given else "" for n in range(len(rows))]
    return msgspec.structs.replace(rows, prediction_id=ids, row_digest=digests)


def _told(
    model: Model, found: LookedUp, rows: AnsweredRows, given: dict[int, Given], *, live: int | None
) -> dict[str, object]:
    held = {hook.step.settings["reason"] for hook in model.posts if hook.recheck and hook.step is not None}
    generation = found.generation
    predictions: list[dict[str, object]] = []
    removals = rows.removed or [None] * len(rows)
    for n, (id_, final, reason) in enumerate(zip(rows.prediction_id, rows.final, removals, strict=True)):
        before = given[n].logged if n in given else None
        version, computed_at = generation.version, generation.computed_at
        value: object = final
        removed, more = reason, dict[str, object]()
        if before is not None:
            version, computed_at = before.version, before.computed_at or computed_at
            more = {"model_version": version, "repeated": True}
            if removed not in held:  # what may not be answered now is not answered again
                value, removed = before.prediction, before.removed
        if removed is not None:
            more["removed"] = removed
        how = {"mode": "stored", "computed_at": plain(computed_at), "outdated": version != live}
        predictions.append({"prediction_id": id_, "prediction": value, **more, **how})
    return {
        "model": model.name,
        "model_version": generation.version,
        "request_id": found.request_id,
        "predictions": predictions,
    }
