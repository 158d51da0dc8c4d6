"""A rehearsal: a version is loaded and asked as in a server, without its network, in a process of its own.

The task runs on a folder with ``job.json`` and ``rows.arrow``. It leaves ``rehearsal.json`` there, or ``error.json``.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter

import msgspec
import numpy as np
import polars as pl
import uvloop
from numpy.typing import NDArray

from perene.clock import machine_clock
from perene.definition.groups import groups_of, places_by_group
from perene.definition.label import Task
from perene.definition.model import Model
from perene.errors import PereneError
from perene.pipelines.predictor import Predictor, load_predictor
from perene.pipelines.rehearsing import ERROR, JOB, MADE, ROWS, Job
from perene.records.rehearsal import REST, Paced, Rehearsal, Spread
from perene.repositories.predictions import Predictions
from perene.server.answering import Answering
from perene.server.aside import Aside
from perene.server.batch import Desk, native
from perene.server.given import GivenIds
from perene.server.lineup import Lineup
from perene.server.losses import Losses
from perene.server.requests import Limits, read_rows, take_ids
from perene.server.stopwatch import Stopwatch
from perene.server.tally import Tally
from perene.storage.bundles import Bundles
from perene.storage.database import Database
from perene.storage.journal import Journal, read_open
from perene.storage.lake import Lake

_TRIES, _ROUND_S, _LONG_S = 8, 0.2, 20.0  # each request is sent so often, unless that takes long
_LEAST, _MOST = 10, 200  # requests of a size
_WARM_UP = 3  # requests
_GC_EVERY = 50_000  # new objects, as in a server
_LIMITS = Limits(max_body=2**40, max_rows=2**30, deadline=None)  # budgets decide here


def rehearse(folder: Path) -> None:
    """Load the job's version, ask it, and leave what was measured."""
    job = msgspec.json.decode((folder / JOB).read_bytes(), type=Job)
    rows = pl.read_ipc(folder / ROWS)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            measured = runner.run(_measured(job, rows, folder))
    except PereneError as error:
        told = {"what": error.what, "why": error.why, "mend": error.mend}
        (folder / ERROR).write_bytes(msgspec.json.encode(told))
        raise
    (folder / MADE).write_bytes(msgspec.json.encode(measured))


async def _measured(job: Job, rows: pl.DataFrame, folder: Path) -> Rehearsal:
    bundles = Bundles(Path(job.bundles))
    files = bundles.open(job.version.bundle).manifest["files"]
    rows.select(
        pl.all().is_null() & (pl.lit(1.0) / pl.len() > 0)
    )  # what polars keeps for its threads is not the model's
    gc.collect()
    before, started = _resident(), perf_counter()
    predictor = load_predictor(bundles, job.version, project=Path(job.project))
    load_s = perf_counter() - started
    gc.collect()
    loaded = _resident()
    known = rows.select(name for name in predictor.model.schema.polars if name in rows.columns)
    detour = predictor.why_not_native(known.head(64))
    with _stand(job, predictor, folder) as stand:
        gc.freeze()
        gc.set_threshold(_GC_EVERY)
        paced, serving = [], loaded
        for place, bodies in enumerate(_bodies_by_size(predictor.model, known, job.sizes)):
            paced.append(await stand.pace(bodies))
            if place < 2:
                serving = _resident()
    return Rehearsal(
        model=job.version.model, version=job.version.version, rows=rows.height, load_s=load_s,
        bundle=sum(int(file["size"]) for file in files.values()), loaded=max(loaded - before, 0),
        memory=max(loaded - before, serving - before, 0), process=serving, detour=detour,
        paced=tuple(sorted(paced, key=lambda one: one.rows)), failed=stand.failed, failure=stand.failure,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Still:
    """Project time, which stands."""

    at: datetime

    def now(self) -> datetime:
        return self.at


@contextlib.contextmanager
def _stand(job: Job, predictor: Predictor, folder: Path) -> Iterator[_Stand]:
    """What a server would answer with; its journal and an empty database lie in the task's folder."""
    journal = Journal(folder / "journal", "rehearsal", durability=job.durability)
    database = Database(f"sqlite:///{folder}/perene.db")
    lake = Lake(str(folder / "store"), database, machine_clock)
    tally = Tally()
    desk = Desk(
        time=_Still(at=job.now), machine=machine_clock, journal=journal, losses=Losses(), tally=tally,
        given=GivenIds(read_open(folder / "journal"), database, Predictions(lake, database)),
        aside=Aside(journal, tally), durability=job.durability, refuse_unlogged=True, queue_rows=2**31,
    )  # fmt: skip
    stand = _Stand(predictor, desk)
    try:
        yield stand
    finally:
        stand.answering.batcher.close()
        journal.close()
        database.close()


class _Stand:
    """Answers the bodies of requests one after another, and notes where their time goes."""

    def __init__(self, predictor: Predictor, desk: Desk) -> None:
        self.failed, self.failure = 0, ""
        self._watch = watch = Stopwatch()
        self._journal = desk.journal
        self._error: PereneError | None = None
        predictor.model = model = predictor.model.with_hooks(watch.watched_hook)
        for owner, method, stage in (
            (model.schema, "read_json", "check"),
            (model, "compute_features", "features"),
            (predictor, "predict", "model"),
            (desk.journal, "write", "journal"),
        ):
            watch.watch(owner, method, stage)
        self._stages = ("read", "check", "features", "model", *(f"post {hook.name}" for hook in model.posts))
        self._read = watch.around("read", lambda body: _read(body))
        self._render = watch.around("encode", native)
        self.answering = Answering(model, desk)
        self.answering.lineup = Lineup(champion=predictor)

    async def pace(self, bodies: Sequence[tuple[int, bytes]]) -> Paced:
        """Send requests several times, and take of each its quickest try: others stood in the way of the rest.

        Raises what the first error was, where none is answered.
        """
        warm = await self._sent(islice(cycle(bodies), _WARM_UP))
        usual = float(np.median([one.whole for one in warm if one]))
        requests = list(islice(cycle(bodies), min(max(int(_ROUND_S / usual), _LEAST), _MOST)))
        started = perf_counter()
        tries: list[list[_Answered | None]] = []
        while len(tries) < _TRIES and (not tries or perf_counter() - started < _LONG_S):
            tries.append(await self._sent(requests))
        every = [one for sent in tries for one in sent if one]
        quickest = [
            min(there, key=lambda one: one.whole)
            for same in zip(*tries, strict=True)
            if (there := [*filter(None, same)])
        ]
        return self._paced(quickest, tries=len(tries), every=every)

    async def _sent(self, requests: Iterable[tuple[int, bytes]]) -> list[_Answered | None]:
        """What became of each request; None of those that were refused."""
        sent = [await self._ask(rows, body) for rows, body in requests]
        if not any(sent) and self._error is not None:
            raise self._error
        return sent

    async def _ask(self, rows: int, body: bytes) -> _Answered | None:
        self._watch.take_laps()
        started = perf_counter()
        try:
            given, ids = self._read(body)
            await self.answering.submit(given, ids, self._render)
        except PereneError as error:
            self.failed += 1
            self.failure = self.failure or f"{error.what}: {error.why}".removesuffix(": ")
            self._error = error
            return None
        whole = perf_counter() - started
        with self._journal.turn():  # in the background it is written after the answer
            return _Answered(rows=rows, whole=whole, laps=self._watch.take_laps())

    def _paced(self, quickest: Sequence[_Answered], *, tries: int, every: Sequence[_Answered]) -> Paced:
        wholes = np.array([one.whole for one in quickest])
        parts = {
            stage: np.array([one.laps.get(stage, 0.0) for one in quickest])
            for stage in (*self._stages, "journal", "encode")
        }
        parts[REST] = np.maximum(wholes - np.sum(list(parts.values()), axis=0), 0.0)
        return Paced(
            rows=float(np.mean([one.rows for one in quickest])), requests=len(quickest), tries=tries,
            whole=_spread(wholes), stages={stage: _spread(seconds) for stage, seconds in parts.items()},
            disturbed=_spread(np.array([one.whole for one in every])),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answered:
    """A request: its rows, its seconds, and those of its stages."""

    rows: int
    whole: float
    laps: dict[str, float]


def _read(body: bytes) -> tuple[list[object], list[str | None] | None]:
    rows = read_rows(body, _LIMITS)
    return rows, take_ids(rows)


def _bodies_by_size(model: Model, rows: pl.DataFrame, sizes: Sequence[int]) -> Iterator[list[tuple[int, bytes]]]:
    """For each size the requests, each with the number of its rows; of a ranking, one request for each group."""
    texts = [msgspec.json.encode(row) for row in rows.iter_rows(named=True)]
    if model.label.task is Task.RANKING:
        yield [_body(texts, places.tolist()) for places in places_by_group(groups_of(model, rows))]
        return
    for size in sizes:
        places = np.resize(np.arange(len(texts)), max(len(texts) // size, 1) * size)
        yield [_body(texts, part.tolist()) for part in np.split(places, len(places) // size)]


def _body(texts: Sequence[bytes], places: Sequence[int]) -> tuple[int, bytes]:
    return len(places), b'{"rows":[' + b",".join(texts[place] for place in places) + b"]}"


def _spread(seconds: NDArray[np.float64]) -> Spread:
    p50, p95, p99 = np.quantile(seconds, (0.5, 0.95, 0.99)).tolist()
    return Spread(mean_s=float(seconds.mean()), p50_s=p50, p95_s=p95, p99_s=p99)


def _resident() -> int:
    """The memory of this process, in bytes: what it has now, or, where the system does not say, the most it had."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")
