"""Workers: steps in order, each recorded before the next; takeovers, failures, interruptions, hangs of the database."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perene.errors import DataError, LostLease, PereneError
from perene.records.run import Run, RunState
from perene.repositories.models import Models
from perene.repositories.runs import Runs
from perene.scheduling.worker import MOST_DEATHS, RunContext, Worker
from perene.storage.database import Database

DUE = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=30)
QUICK = timedelta(seconds=0.2)  # a worker with this lease beats twenty times a second


@pytest.fixture
def runs(database, clock) -> Runs:
    """The runs of a project with the models m and n."""
    for name in ("m", "n"):
        Models(database).register(name, {}, DUE)
    return Runs(database, clock)


def queue(runs: Runs, model: str = "m") -> Run:
    return runs.create(model, trigger="manual", due_at=DUE, created_at=DUE, actor="ana")


class Steps:
    """Three steps that note that they ran; ``deeds`` says what one does besides."""

    def __init__(self, **deeds: Callable[[RunContext], object]) -> None:
        self.ran: list[str] = []
        self.contexts: list[RunContext] = []
        self.saw: list[dict[str, object]] = []  # the results that each step was given
        self._deeds = deeds

    def of(self, owner: str = "w") -> dict[str, Callable[[RunContext], object]]:
        return {name: lambda context, name=name: self._step(f"{owner}:{name}", context) for name in ("a", "b", "c")}

    def _step(self, name: str, context: RunContext) -> object:
        self.ran.append(name)
        self.contexts.append(context)
        self.saw.append(dict(context.results))
        deed = self._deeds.get(name.partition(":")[2])
        return {"by": name} if deed is None else deed(context)


def worker(runs: Runs, steps: Steps, owner: str = "w", **more: object) -> Worker:
    return Worker(runs, steps.of(owner), owner=owner, **more)


def raise_(error: BaseException) -> Callable[[RunContext], object]:
    def deed(context: RunContext) -> object:
        raise error

    return deed


def eventually(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.005)


# ── steps ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_steps_run_in_order_and_hand_on_their_results(runs) -> None:
    """Each step sees what those before it gave, and the run's own project time."""
    queue(runs)
    steps = Steps()

    run = worker(runs, steps).work_one()

    assert steps.ran == ["w:a", "w:b", "w:c"]
    assert (run.state, run.owner, run.attempt) == (RunState.SUCCEEDED, "w", 1)
    assert [(step.name, step.result) for step in run.steps] == [(n, {"by": f"w:{n}"}) for n in ("a", "b", "c")]
    assert steps.saw == [{}, {"a": {"by": "w:a"}}, {"a": {"by": "w:a"}, "b": {"by": "w:b"}}]
    assert {context.now for context in steps.contexts} == {run.created_at}


def test_a_worker_without_a_run_does_nothing(runs) -> None:
    """None waits: None is given; and a worker of one model leaves those of others."""
    steps = Steps()
    nothing = worker(runs, steps).work_one()
    queue(runs)

    assert nothing is None
    assert worker(runs, steps).work_one("n") is None
    assert steps.ran == []
    assert worker(runs, steps).work_one("m") is not None


def test_a_step_may_say_how_the_run_ended(runs) -> None:
    """The outcome that a step sets is recorded with its result."""
    queue(runs)

    def decide(context: RunContext) -> object:
        context.outcome = "inconclusive"
        return {}

    assert worker(runs, Steps(c=decide)).work_one().outcome == "inconclusive"


def test_a_result_is_kept_as_json(runs) -> None:
    """Numbers of numpy and instants become what JSON has."""
    queue(runs)
    values = {"n": np.int64(3), "ok": np.bool_(True), "share": np.float32(0.5), "none": float("nan"), "at": DUE}

    run = worker(runs, Steps(a=lambda _: values)).work_one()

    expected = {"n": 3, "ok": True, "share": 0.5, "none": None, "at": "2026-01-01T00:00:00.000000Z"}
    assert run.steps[0].result == expected


@pytest.mark.parametrize("result", [{"a": {1, 2}}, None, 3])
def test_a_result_that_cannot_be_recorded_fails_the_run(runs, result) -> None:
    """What JSON cannot hold, or is no mapping, is the step's failure, not the worker's end."""
    queue(runs)
    steps = Steps(b=lambda _: result)

    run = worker(runs, steps).work_one()

    assert (run.state, run.error["code"]) == (RunState.FAILED, "step-failed")
    assert steps.ran == ["w:a", "w:b"]


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_step_that_raises_fails_its_run_with_the_place(runs) -> None:
    """The error tells the step, what was raised and the line that raised it; nothing after it runs."""
    queue(runs)

    def divide(context: RunContext) -> object:
        return {"share": 1 / 0}

    steps = Steps(b=divide)

    run = worker(runs, steps).work_one()

    assert steps.ran == ["w:a", "w:b"]
    assert (run.state, run.outcome) == (RunState.FAILED, "failed")
    assert run.error["what"] == "the step b raised ZeroDivisionError"
    assert run.error["why"] == "division by zero"
    line = divide.__code__.co_firstlineno + 1
    assert run.error["seen"][-1] == f"{__file__}:{line} in divide"
    assert [step.state for step in run.steps] == [RunState.SUCCEEDED, RunState.FAILED]
    assert run.steps[1].error == run.error


def test_an_error_of_ours_is_told_as_it_is(runs) -> None:
    """Its code, what, why, seen and mend stand in the run."""
    queue(runs)
    error = DataError("no rows", why="the source gave none", mend="mend it", seen=("2026-01-01: 0",), code="no-rows")

    run = worker(runs, Steps(a=raise_(error))).work_one()

    assert run.error == {
        "code": "no-rows",
        "what": "no rows",
        "why": "the source gave none",
        "seen": ["2026-01-01: 0"],
        "mend": "mend it",
    }


def test_a_failed_run_is_not_taken_again(runs, clock) -> None:
    """A failure is an end."""
    queue(runs)
    worker(runs, Steps(a=raise_(ValueError("no")))).work_one()
    clock.move(days=1)

    assert worker(runs, Steps()).work_one() is None


def test_whoever_listens_is_told_of_each_end(runs) -> None:
    """on_end hears of a success without an error, and of a failure with it."""
    told: list[tuple[RunState, str | None]] = []

    def hear(run: Run, error: PereneError | None) -> None:
        told.append((run.state, error and error.what))

    queue(runs)
    worker(runs, Steps(), on_end=hear).work_one()
    queue(runs, "n")
    worker(runs, Steps(b=raise_(DataError("no rows"))), on_end=hear).work_one()

    assert told == [(RunState.SUCCEEDED, None), (RunState.FAILED, "no rows")]


def test_a_run_in_which_workers_die_is_given_up(runs, clock) -> None:
    """After MOST_DEATHS workers that fell silent in it, the next one ends it without a step, and tells so."""
    queue(runs)
    for n in range(MOST_DEATHS):
        assert runs.claim(f"dead-{n}", LEASE) is not None
        clock.move(seconds=31)
    told: list[PereneError | None] = []
    steps = Steps()

    run = worker(runs, steps, on_end=lambda _, error: told.append(error)).work_one()

    assert (run.state, run.error["code"], steps.ran) == (RunState.FAILED, "run-given-up", [])
    assert [error.code for error in told] == ["run-given-up"]


def test_a_run_is_tried_as_often_as_is_said(runs, clock) -> None:
    """The last attempt still works."""
    queue(runs)
    for n in range(MOST_DEATHS - 1):
        runs.claim(f"dead-{n}", LEASE)
        clock.move(seconds=31)

    run = worker(runs, Steps()).work_one()

    assert (run.state, run.deaths) == (RunState.SUCCEEDED, MOST_DEATHS - 1)


def test_an_interruption_is_no_death(runs) -> None:
    """A run that was given back any number of times is worked like a new one."""
    queue(runs)
    for _ in range(2 * MOST_DEATHS):
        with pytest.raises(KeyboardInterrupt):
            worker(runs, Steps(a=raise_(KeyboardInterrupt()))).work_one()

    run = worker(runs, Steps()).work_one()

    assert (run.state, run.deaths, run.attempt) == (RunState.SUCCEEDED, 0, 2 * MOST_DEATHS + 1)


@pytest.mark.parametrize("code", [0, 3, None, "enough"])
def test_a_step_that_exits_fails_its_run(runs, code) -> None:
    """sys.exit() in a user's code is that step's failure, not the worker's end."""
    queue(runs)

    run = worker(runs, Steps(b=raise_(SystemExit(code)))).work_one()

    assert (run.state, run.error["what"]) == (RunState.FAILED, "the step b raised SystemExit")


def test_a_panic_in_a_step_fails_its_run(runs) -> None:
    """A panic of a native library, which is no Exception of Python's, is that step's failure too."""
    queue(runs)

    run = worker(runs, Steps(b=raise_(pl.exceptions.PanicException("index out of bounds")))).work_one()

    assert (run.state, run.error["why"]) == (RunState.FAILED, "index out of bounds")


# ── a database that is away ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Outage:
    """A database whose folder is taken away, and brought back after so many pauses of whoever waits for it."""

    folder: Path
    pauses: int = 4
    waited: list[float] = field(default_factory=list)

    def begin(self) -> None:
        self.folder.rename(self.folder.with_name("away"))

    def pause(self, seconds: float) -> None:
        self.waited.append(seconds)
        if len(self.waited) % self.pauses == 0:
            self.folder.with_name("away").rename(self.folder)


@pytest.fixture
def outage(empty_database, tmp_path) -> Iterator[tuple[Outage, Runs]]:
    """Runs of the models m and n in a database that can be taken away."""
    folder = tmp_path / "here"
    folder.mkdir()
    database = Database(f"sqlite:///{shutil.copy(empty_database, folder / 'perene.db')}")
    for name in ("m", "n"):
        Models(database).register(name, {}, DUE)
    yield Outage(folder), Runs(database, lambda: DUE)
    database.close()


@pytest.mark.parametrize("end", [None, ValueError("no")])
def test_a_worker_waits_for_a_database_that_is_away(outage, end) -> None:
    """Fault: the database is gone when a step ends. Promise: nothing is done again. Proof: pauses, each twice the last,
    then the step's own result, or failure, is recorded.
    """
    away, runs = outage
    queue(runs)

    def last_deed(context: RunContext) -> object:
        away.begin()
        if end:
            raise end
        return {"by": "w:b"}

    steps = Steps(b=last_deed)

    run = worker(runs, steps, pause=away.pause).work_one()

    assert away.waited == [1.0, 2.0, 4.0, 8.0]
    assert steps.ran == ["w:a", "w:b"] if end else ["w:a", "w:b", "w:c"]
    assert run.state is (RunState.FAILED if end else RunState.SUCCEEDED)
    assert [step.attempt for step in run.steps] == [1] * len(steps.ran)
    assert (run.error or {}).get("why") == (str(end) if end else None)


def test_whoever_listens_hears_after_an_outage_too(outage) -> None:
    """What hears of a run's end and needs the database is told again until it can."""
    away, runs = outage
    queue(runs)
    heard: list[int] = []

    def hear(run: Run, error: PereneError | None) -> None:
        if not away.waited:
            away.begin()
        heard.append(runs.get(run.id).id)

    run = worker(runs, Steps(), pause=away.pause, on_end=hear).work_one()

    assert heard == [run.id]
    assert len(away.waited) == away.pauses


def test_pauses_do_not_grow_for_ever(outage) -> None:
    """The longest pause is half a minute."""
    away, runs = outage
    away.pauses = 8
    queue(runs)

    worker(runs, Steps(a=lambda _: away.begin() or {}), pause=away.pause).work_one()

    assert away.waited == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


# ── taking over ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_interrupted_worker_gives_its_run_back(runs) -> None:
    """It goes on at once with another worker, at the step that was interrupted; what is recorded is not run again."""
    queue(runs)
    steps, again = Steps(b=raise_(KeyboardInterrupt())), Steps()

    with pytest.raises(KeyboardInterrupt):
        worker(runs, steps, "first").work_one()
    between = runs.list()[0]
    run = worker(runs, again, "second").work_one()

    assert (between.state, between.owner) == (RunState.QUEUED, None)
    assert steps.ran + again.ran == ["first:a", "first:b", "second:b", "second:c"]
    assert again.saw[0] == {"a": {"by": "first:a"}}
    assert [step.attempt for step in run.steps] == [1, 2, 2]


def test_an_interrupted_worker_that_lost_its_run_leaves_it(runs, clock) -> None:
    """A run that another worker has is not given back by the one before."""
    queue(runs)

    def be_taken_over(context: RunContext) -> object:
        clock.move(seconds=31)
        assert runs.claim("rival", LEASE) is not None
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker(runs, Steps(b=be_taken_over)).work_one()

    assert (runs.list()[0].state, runs.list()[0].owner) == (RunState.RUNNING, "rival")


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_slow_worker_does_after_a_takeover_is_dropped(runs, clock, fails) -> None:
    """Silent for longer than its lease, it neither records a result nor a failure, and nobody hears an end of it."""
    queue(runs)
    told: list[Run] = []
    rival = Steps()

    def be_slow(context: RunContext) -> object:
        clock.move(seconds=31)
        taken = worker(runs, rival, "rival").work_one()
        assert taken is not None
        if fails:
            raise ValueError("too late")
        return {"by": "the slow one"}

    slow = Steps(b=be_slow)

    run = worker(runs, slow, on_end=lambda run, _: told.append(run)).work_one()

    assert (run.state, run.owner, run.attempt) == (RunState.SUCCEEDED, "rival", 2)
    assert slow.ran + rival.ran == ["w:a", "w:b", "rival:b", "rival:c"]
    assert run.steps[1].result == {"by": "rival:b"}
    assert told == []


def test_effects_after_a_takeover_are_refused(runs, database, clock) -> None:
    """A step's fence raises LostLease once another worker has the run; that ends the step, and fails no run."""
    queue(runs)

    def lose_and_write(context: RunContext) -> object:
        clock.move(seconds=31)
        runs.claim("rival", LEASE)
        with pytest.raises(LostLease), database.write() as connection:
            context.fence(connection)
        with database.write() as connection:
            context.fence(connection)
        return {}

    run = worker(runs, Steps(b=lose_and_write)).work_one()

    assert (run.state, run.owner) == (RunState.RUNNING, "rival")


# ── beating ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_step_that_takes_long_keeps_its_lease(runs, clock) -> None:
    """The worker beats while a step works, so that nobody takes the run however long the step takes."""
    queue(runs)

    def take_long(context: RunContext) -> object:
        for _ in range(5):
            now = clock.move(seconds=0.15)
            eventually(lambda now=now: runs.get(context.run.id).heartbeat_at == now)
            assert runs.claim("rival", QUICK) is None
        return {}

    run = worker(runs, Steps(b=take_long), lease=QUICK).work_one()

    assert (run.state, run.attempt) == (RunState.SUCCEEDED, 1)


def test_a_worker_hears_that_it_lost_its_run(runs) -> None:
    """A cancelled run's step is told so, and can end early."""
    queue(runs)
    heard: list[bool] = []

    def wait(context: RunContext) -> object:
        runs.cancel(context.run.id, actor="ana", at=DUE)
        heard.append(context.lost.wait(20))
        return {}

    run = worker(runs, Steps(b=wait), lease=QUICK).work_one()

    assert heard == [True]
    assert run.state is RunState.CANCELLED


def test_a_hang_of_the_database_does_not_lose_the_lease(runs, database, clock, beside) -> None:
    """Fault: the database refuses writes for a moment. Promise: the worker goes on. Proof: it beats again after."""
    queue(runs)
    hasty = beside(database, patience_s=0.01)

    def hang(context: RunContext) -> object:
        with database.write():
            time.sleep(0.2)  # four beats fail meanwhile
        now = clock.move(seconds=0.15)
        eventually(lambda: runs.get(context.run.id).heartbeat_at == now)
        clock.move(seconds=0.15)
        assert runs.claim("rival", QUICK) is None
        assert not context.lost.is_set()
        return {}

    run = worker(Runs(hasty, clock), Steps(b=hang), lease=QUICK).work_one()

    assert (run.state, run.attempt) == (RunState.SUCCEEDED, 1)


@pytest.mark.parametrize("end", [None, ValueError("no"), KeyboardInterrupt()])
def test_nobody_beats_for_a_run_that_has_ended(runs, end) -> None:
    """However a run ends, the thread that beat for it ends with it."""
    queue(runs)
    with contextlib.suppress(KeyboardInterrupt):
        worker(runs, Steps(b=raise_(end)) if end else Steps(), lease=QUICK).work_one()

    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("heartbeat")]
