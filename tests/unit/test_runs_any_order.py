"""Runs against a plain dict: whatever workers, people and clocks do in whatever order, both tell the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from perene.errors import Conflict, LostLease, NotAllowed
from perene.records.run import Run, RunState
from perene.repositories.models import Models
from perene.repositories.runs import Runs
from perene.storage.database import Database

START = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=30)
OPEN = (RunState.QUEUED, RunState.RUNNING)
names = st.sampled_from(["collect", "train"])


@dataclass
class Known:
    """A run as the dict has it."""

    model: str
    due_at: datetime
    state: RunState = RunState.QUEUED
    owner: str | None = None
    attempt: int = 0
    beat_at: datetime | None = None


class Work(RuleBasedStateMachine):
    """``runs`` by id; ``results`` by run and step; ``begun`` the step that a run is in, and the attempt."""

    emptied: Callable[[], Database]
    claims = Bundle("claims")

    @initialize()
    def open(self) -> None:
        self.now = START
        database = type(self).emptied()
        for model in ("m", "n"):
            Models(database).register(model, {}, START)
        self.real = Runs(database, lambda: self.now)
        self.runs: dict[int, Known] = {}
        self.results: dict[tuple[int, str], dict[str, object]] = {}
        self.begun: dict[int, tuple[str, int]] = {}

    def silent(self, known: Known) -> bool:
        return known.state is RunState.RUNNING and known.beat_at is not None and known.beat_at < self.now - LEASE

    def holds(self, claim: Run) -> bool:
        known = self.runs[claim.id]
        mine = (known.owner, known.attempt) == (claim.owner, claim.attempt)
        return mine and known.state is RunState.RUNNING

    def write(self, claim: Run, deed: Callable[[], object], refused: bool = False) -> bool:
        """Do it; whether it was done, which must be so exactly while the claim holds."""
        if not self.holds(claim):
            with pytest.raises(LostLease):
                deed()
            return False
        if refused:
            with pytest.raises(Conflict):
                deed()
            return False
        deed()
        return True

    @rule(model=st.sampled_from(["m", "n"]), hour=st.integers(0, 2), trigger=st.sampled_from(["schedule", "manual"]))
    def create(self, model: str, hour: int, trigger: str) -> None:
        due_at = START + timedelta(hours=hour)
        run = self.real.create(model, trigger=trigger, due_at=due_at, created_at=START, actor="ana")
        self.runs.setdefault(run.id, Known(model, due_at))

    @rule(seconds=st.sampled_from([1, 20, 31]))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(target=claims, owner=st.sampled_from(["a", "b"]), model=st.sampled_from(["m", None]))
    def claim(self, owner: str, model: str | None) -> object:
        mine = {id: run for id, run in self.runs.items() if model in (None, run.model)}
        busy = {run.model for run in self.runs.values() if run.state is RunState.RUNNING and not self.silent(run)}
        silent = [id for id, run in mine.items() if self.silent(run)]
        queued = [id for id, run in mine.items() if run.state is RunState.QUEUED and run.model not in busy]
        order = [sorted(ids, key=lambda id: (self.runs[id].due_at, id)) for ids in (silent, queued)]
        wanted = next(iter([*order[0], *order[1]]), None)

        run = self.real.claim(owner, LEASE, model=model)

        assert (None if run is None else run.id) == wanted
        if run is None:
            return multiple()
        known = self.runs[run.id]
        known.state, known.owner, known.attempt, known.beat_at = RunState.RUNNING, owner, known.attempt + 1, self.now
        assert (run.owner, run.attempt) == (owner, known.attempt)
        return run

    @rule(claim=claims)
    def beat(self, claim: Run) -> None:
        if self.write(claim, lambda: self.real.heartbeat(claim)):
            self.runs[claim.id].beat_at = self.now

    @rule(claim=claims, name=names)
    def begin(self, claim: Run, name: str) -> None:
        known = (claim.id, name) in self.results
        if self.begun.get(claim.id, (name,))[0] != name:
            return  # a worker is in one step at a time
        if self.write(claim, lambda: self.real.begin_step(claim, name), refused=known):
            self.runs[claim.id].beat_at = self.now
            self.begun[claim.id] = (name, claim.attempt)

    @rule(claim=claims, n=st.integers())
    def finish(self, claim: Run, n: int) -> None:
        name, attempt = self.begun.get(claim.id, ("collect", 0))
        not_begun = attempt != claim.attempt
        if self.write(claim, lambda: self.real.finish_step(claim, name, {"n": n}), refused=not_begun):
            self.runs[claim.id].beat_at = self.now
            self.results[claim.id, name] = {"n": n}
            del self.begun[claim.id]

    @rule(claim=claims)
    def give_back(self, claim: Run) -> None:
        if self.write(claim, lambda: self.real.give_back(claim)):
            self.end(claim.id, RunState.QUEUED)
            self.runs[claim.id].owner = None

    @rule(claim=claims)
    def succeed(self, claim: Run) -> None:
        if claim.id not in self.begun and self.write(claim, lambda: self.real.succeed(claim)):
            self.end(claim.id, RunState.SUCCEEDED, beat_at=self.now)

    @rule(claim=claims)
    def fail(self, claim: Run) -> None:
        if self.write(claim, lambda: self.real.fail(claim, self.begun.get(claim.id, (None,))[0], {"what": "broken"})):
            self.end(claim.id, RunState.FAILED, beat_at=self.now)

    @rule(claim=claims)
    def cancel(self, claim: Run) -> None:
        if self.runs[claim.id].state in OPEN:
            self.real.cancel(claim.id, actor="ben", at=START)
            self.end(claim.id, RunState.CANCELLED)
        else:
            with pytest.raises(NotAllowed):
                self.real.cancel(claim.id, actor="ben", at=START)

    def end(self, id: int, state: RunState, *, beat_at: datetime | None = None) -> None:
        known = self.runs[id]
        known.state, known.beat_at = state, beat_at or known.beat_at
        self.begun.pop(id, None)

    @invariant()
    def both_tell_the_same(self) -> None:
        real = self.real.list() if hasattr(self, "real") else []
        for run in real:
            known = self.runs[run.id]
            assert (run.state, run.owner, run.attempt) == (known.state, known.owner, known.attempt)
            assert run.heartbeat_at == known.beat_at
            for step in run.steps:
                assert (step.result or None) == self.results.get((run.id, step.name))
                assert (step.state is RunState.RUNNING) == (self.begun.get(run.id, (None,))[0] == step.name)
        at_work = [run.model for run in real if run.state is RunState.RUNNING]
        assert len(at_work) == len(set(at_work))


def test_runs_tell_what_a_dict_tells(emptied) -> None:
    """Claims, takeovers, lost leases, results and ends are those of the laws, in any order; a model works one run."""
    Work.emptied = staticmethod(emptied)

    run_machine(
        Work,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would last for minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
