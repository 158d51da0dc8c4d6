"""What is computed after the answers left: shadows, and the version that a fresh one is compared with.

Laws. It delays and fails no answer. What it cannot keep up with is dropped, and counted where it is a shadow's.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from perene.definition.groups import Groups
from perene.definition.label import Task
from perene.definition.model import Model
from perene.errors import PereneError
from perene.pipelines.journaling import AnsweredRows
from perene.pipelines.predictor import Predictor
from perene.records.roles import SHADOW, shadow_id
from perene.server.answered import said_of
from perene.server.tally import Served, Tally, numbers_of
from perene.storage.envelope import keys
from perene.storage.journal import Entry, Journal

log = logging.getLogger("perene.server")

WAITING_ROWS = 10_000  # more that wait are dropped
PAIRS_PER_S = 200  # rows; a comparison of means needs no more
_ROUND_S = 0.05  # between two rounds, so that what came meanwhile is computed at once
_ROUND_ROWS = 512
_REMEMBERED = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Rows that another version is asked too: as a shadow of what was ``answered``, or to compare ``numbers``."""

    model: Model
    predictor: Predictor
    rows: pl.DataFrame
    groups: Groups | None = None  # of rows that are ranked
    answered: AnsweredRows | None = None
    served: Served = ("", 0, "")  # whose numbers they are
    numbers: NDArray[np.float64] | None = None


class Aside:
    """One thread for all models of a server; it begins with the first rows."""

    def __init__(self, journal: Journal, tally: Tally) -> None:
        self._journal = journal
        self._tally = tally
        self._waiting: deque[Asked] = deque()
        self._rows = 0
        self._pairs_left, self._paired_at = 0.0, time.monotonic()
        self._paired: set[object] = set()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def shadow(self, asked: Asked) -> None:
        """Ask a shadow, after a moment."""
        if not self._queue(asked):
            self._tally.dropped(_of_shadow(asked), asked.rows.height)

    def compare(self, asked: Asked) -> None:
        """Ask the version to compare with, as long as not enough was asked in this second."""
        now = time.monotonic()
        self._pairs_left = min(self._pairs_left + (now - self._paired_at) * PAIRS_PER_S, PAIRS_PER_S)
        self._paired_at = now
        if self._pairs_left > 0:
            self._pairs_left -= asked.rows.height
            self._queue(asked)

    def stop(self, patience_s: float = 5.0) -> None:
        """Finish what waits, as far as there is time; the rest is dropped."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(patience_s)

    def _queue(self, asked: Asked) -> bool:
        with self._changed:
            if self._stopping or self._rows + asked.rows.height > WAITING_ROWS:
                return False
            self._rows += asked.rows.height
            self._waiting.append(asked)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="perene-aside", daemon=True)
                self._thread.start()
            self._changed.notify()
        return True

    def _run(self) -> None:
        while part := self._take():
            self._do(part)
            if not self._stopping:
                time.sleep(_ROUND_S)

    def _take(self) -> list[Asked]:
        """What waits for the same version of the same kind, in order; nothing only at the end."""
        with self._changed:
            while not self._waiting and not self._stopping:
                self._changed.wait()
            part: list[Asked] = []
            rows = 0
            while self._waiting and (not part or _are_alike(part[0], self._waiting[0])) and rows < _ROUND_ROWS:
                part.append(self._waiting.popleft())
                rows += part[-1].rows.height
            self._rows -= rows
        return part

    def _do(self, part: Sequence[Asked]) -> None:
        try:
            if part[0].numbers is None:
                self._shadow(part)
            else:
                self._compare(part)
        except BaseException as error:  # noqa: BLE001 - the edge of a step: a version's code may raise anything
            if len(part) > 1:
                for one in part:
                    self._do([one])
                return
            log.warning("asked_aside model=%s version=%d why=%s", part[0].model.name, _version(part[0]), error)
            if part[0].numbers is None:
                self._tally.failed(_of_shadow(part[0]))

    def _shadow(self, part: Sequence[Asked]) -> None:
        first = part[0]
        rows = pl.concat([asked.rows for asked in part])
        started = time.perf_counter()
        output = first.predictor.predict(rows, groups=first.groups)
        seconds = time.perf_counter() - started
        said = said_of(first.model, first.predictor, rows, output)
        version = first.predictor.version
        start, entries = 0, list[Entry]()
        for asked in part:
            assert asked.answered is not None
            stop = start + len(asked.answered)
            beside = msgspec.structs.replace(
                asked.answered, **said.columns(start, stop), role=SHADOW, model_version=version.version,
                prediction_id=[shadow_id(version.version, id_) for id_ in asked.answered.prediction_id],
                recipe=version.recipe, row_digest=None,
            )  # fmt: skip
            entries += beside.entries(first.model.name)
            start = stop
        try:
            self._journal.write(entries)
        except PereneError as error:  # an answer that is lost is alarmed; this one is counted
            log.warning("shadow_not_logged model=%s rows=%d why=%s", first.model.name, rows.height, error.why)
            self._tally.dropped(_of_shadow(first), rows.height)
            return
        self._tally.answered(_of_shadow(first), requests=len(part), rows=rows.height, seconds=seconds)

    def _compare(self, part: Sequence[Asked]) -> None:
        """Each thing and event counts once: a caller that asks the same again and again would be all there is."""
        first = part[0]
        rows = pl.concat([asked.rows for asked in part])
        mine = np.concatenate([asked.numbers for asked in part if asked.numbers is not None])
        names = zip(keys(rows, first.model.key), rows[first.model.at].cast(pl.Int64), strict=True)
        new: dict[object, int] = {}
        for row, name in enumerate(names):
            if (first.served, name) not in self._paired:
                new.setdefault((first.served, name), row)
        places = list(new.values())
        other = numbers_of(first.predictor.predict(rows[places])) if new else None
        self._paired.update(new)  # not before: rows beside one that fails are asked again without it
        if len(self._paired) > _REMEMBERED:
            self._paired.clear()
        if other is not None:
            self._tally.paired(first.served, mine[places], other)


def _are_alike(one: Asked, other: Asked) -> bool:
    """Whether they may be computed at once. Rows that are ranked stay among those of their request."""
    is_same = one.predictor is other.predictor and one.served == other.served
    return is_same and (one.numbers is None) == (other.numbers is None) and one.model.label.task is not Task.RANKING


def _of_shadow(asked: Asked) -> Served:
    return asked.model.name, _version(asked), SHADOW


def _version(asked: Asked) -> int:
    return asked.predictor.version.version
