"""Works runs: one step after another, each result recorded before the next begins.

Laws. A step whose result is recorded is never run again, by whichever worker. A step may begin more than once (its
worker was killed): its effects go through ``RunContext.fence`` and are the same effect when they come again. A step
that raises fails its run; nothing is skipped in silence. While the database is away, a worker keeps what a step gave
and waits.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from perene.errors import Conflict, LostLease, PereneError, StorageError
from perene.records.run import Run, RunState
from perene.repositories import Fence
from perene.repositories.runs import Runs
from perene.repositories.stored import storable_mapping

log = logging.getLogger("perene.worker")

LEASE = timedelta(seconds=30)
MOST_DEATHS = 5  # a run in which so many workers died is not tried again
PAUSES_S = (1.0, 30.0)  # the first and the longest, each twice the one before

Told = TypeVar("Told")


@dataclass(slots=True, kw_only=True)
class RunContext:
    """What a step gets. ``outcome`` is its to set: the run's end in a word.

    ``results`` are those of the steps before; ``now`` is the run's project time, the same for every step and attempt;
    ``fence`` guards its effects; ``lost`` is set when another worker took the run over.
    """

    run: Run
    results: Mapping[str, Mapping[str, object]]
    now: datetime
    fence: Fence
    outcome: str | None = None
    lost: threading.Event = field(default_factory=threading.Event)


Step = Callable[[RunContext], Mapping[str, object]]


class Worker:
    """Takes runs and works them. ``owner`` is this worker's own name; ``on_end`` hears of each, and of its error.

    ``others`` are the steps of runs that are no turn of the cycle, by trigger.
    ``pause`` waits that many seconds, before what the database did not take is told again.
    """

    def __init__(
        self,
        runs: Runs,
        steps: Mapping[str, Step],
        *,
        owner: str,
        others: Mapping[str, Mapping[str, Step]] | None = None,
        lease: timedelta = LEASE,
        on_end: Callable[[Run, PereneError | None], None] | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._runs = runs
        self._steps = dict(steps)
        self._others = dict(others or {})
        self._owner = owner
        self._lease = lease
        self._on_end = on_end
        self._pause = pause

    def work_one(self, model: str | None = None) -> Run | None:
        """Take one run (of a model) and work it to its end; gives it as it stands then. None when none waits."""
        run = self._runs.claim(self._owner, self._lease, model=model)
        if run is None:
            return None
        try:
            return self._work(run)
        except LostLease:  # another worker goes on with it, or a person cancelled it
            return self._runs.get(run.id)
        except (KeyboardInterrupt, SystemExit):
            with suppress(LostLease, StorageError):
                self._runs.give_back(run)
            raise

    def _work(self, run: Run) -> Run:
        if run.deaths >= MOST_DEATHS:
            return self._fail(run, None, _left_too_often(run))
        results = {step.name: step.result or {} for step in run.steps if step.state is RunState.SUCCEEDED}
        context = RunContext(run=run, results=results, now=run.created_at, fence=self._runs.fence(run))
        with self._beating(run, context.lost):
            for name, step in self._others.get(run.trigger, self._steps).items():
                if name in results:
                    continue
                self._tell(run, lambda name=name: self._runs.begin_step(run, name))  # type: ignore[misc]
                try:
                    result = storable_mapping(step(context), f"the result of {name}")
                except (LostLease, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001  # the edge of a step: what a user's code raises is recorded
                    return self._fail(run, name, _as_ours(name, error))
                self._finish(run, name, result, outcome=context.outcome)
                results[name] = result
            ended = self._tell(run, lambda: self._runs.succeed(run))
        self._hear(ended, None)
        return ended

    def _finish(self, run: Run, name: str, result: Mapping[str, object], *, outcome: str | None) -> None:
        try:
            self._tell(run, lambda: self._runs.finish_step(run, name, result, outcome=outcome))
        except Conflict:  # the database took it, and was away before it could say so
            done = (step.name for step in self._runs.get(run.id).steps if step.attempt == run.attempt and step.result)
            if name not in done:
                raise

    def _fail(self, run: Run, step: str | None, error: PereneError) -> Run:
        told = {name: getattr(error, name) for name in ("code", "what", "why", "seen", "mend")}
        failed = self._tell(run, lambda: self._runs.fail(run, step, storable_mapping(told)))
        self._hear(failed, error)
        return failed

    def _hear(self, run: Run, error: PereneError | None) -> None:
        if self._on_end is not None:
            on_end = self._on_end
            self._tell(run, lambda: on_end(run, error))

    def _tell(self, run: Run, deed: Callable[[], Told]) -> Told:
        """Write something of a run; while the database is away, wait, and write it then."""
        pause_s, longest_s = PAUSES_S
        while True:
            try:
                return deed()
            except StorageError as error:
                log.warning("database_away run=%d pause_s=%g what=%s why=%s", run.id, pause_s, error.what, error.why)
                self._pause(pause_s)
                pause_s = min(2 * pause_s, longest_s)

    @contextmanager
    def _beating(self, run: Run, lost: threading.Event) -> Iterator[None]:
        """Beat in a thread of its own while the body works."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(self._lease.total_seconds() / 4):
                try:
                    self._runs.heartbeat(run)
                except LostLease:
                    lost.set()
                    return
                except StorageError:  # the next beat tries again; if the lease ran out, every write's fence knows
                    continue

        thread = threading.Thread(target=beat, name=f"heartbeat of run {run.id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _as_ours(step: str, error: BaseException) -> PereneError:
    """The error of a step, with the last lines of code that it came through when it is not perene's."""
    if isinstance(error, PereneError):
        return error
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return PereneError(
        f"the step {step} raised {type(error).__name__}",
        why=str(error),
        seen=tuple(f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames),
        mend="mend what the last of these lines names, then train again",
        code="step-failed",
    )


def _left_too_often(run: Run) -> PereneError:
    return PereneError(
        f"run {run.id} of {run.model} was given up",
        why=f"{MOST_DEATHS} workers died in it",
        mend=f"look at the step that they were in: perene run show {run.id}",
        code="run-given-up",
    )
