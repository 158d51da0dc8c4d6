"""Runs: one per cause, one at a time, taken over from the silent; each step's result is recorded once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from perene.errors import Conflict, LostLease, NotAllowed, NotFound
from perene.records.run import Run, RunState
from perene.repositories.audits import Audits
from perene.repositories.models import Models
from perene.repositories.runs import Runs

DUE = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=30)


@pytest.fixture
def runs(database, clock) -> Runs:
    """The runs of a project with the models m and n."""
    for name in ("m", "n"):
        Models(database).register(name, {}, DUE)
    return Runs(database, clock)


def queue(runs: Runs, hour: int = 0, *, model: str = "m", trigger: str = "schedule") -> Run:
    return runs.create(model, trigger=trigger, due_at=DUE + timedelta(hours=hour), created_at=DUE, actor="ana")


def claimed(runs: Runs, owner: str = "w", *, model: str | None = None) -> Run:
    run = runs.claim(owner, LEASE, model=model)
    assert run is not None
    return run


def at_once(deeds: list[Callable[[], object]]) -> list[object]:
    """What deeds give that begin at the same moment, each in its thread."""
    gate, given = threading.Barrier(len(deeds)), [None] * len(deeds)

    def act(n: int) -> None:
        gate.wait()
        given[n] = deeds[n]()

    threads = [threading.Thread(target=act, args=(n,)) for n in range(len(deeds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return given


# ── creating ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_cause_makes_one_run(runs) -> None:
    """The same model, trigger and due time again give the run that there is; any other makes another."""
    first = queue(runs)

    assert queue(runs) == first
    assert len({first.id, queue(runs, 1).id, queue(runs, model="n").id, queue(runs, trigger="manual").id}) == 4


def test_a_cause_makes_one_run_also_when_it_has_ended(runs) -> None:
    """What was run for a due time is not run for it again."""
    run = queue(runs)
    runs.succeed(claimed(runs))

    assert (queue(runs).id, queue(runs).state) == (run.id, RunState.SUCCEEDED)


def test_many_that_ask_at_once_make_one_run(runs, database, clock, beside) -> None:
    """Schedulers in threads, each with connections of its own, get the same run."""
    others = [beside(database) for _ in range(6)]

    made = at_once([lambda db=db: queue(Runs(db, clock)) for db in others])

    assert len({run.id for run in made}) == 1
    assert len(runs.list()) == 1


def test_a_run_is_audited_once(runs, database) -> None:
    """Law 7: who asked for a run stands in the audit log, once however many ask."""
    run = queue(runs)
    queue(runs)

    (line,) = (line for line in Audits(database).list(about="model m") if line.verb == "run")
    assert (line.actor, line.after) == ("ana", {"trigger": "schedule", "run": run.id})


def test_a_run_of_an_unknown_model_is_refused(runs) -> None:
    """A run belongs to a model that the project has."""
    with pytest.raises(NotFound, match="no model 'mm'"):
        queue(runs, model="mm")


def test_the_next_run_waits_for_the_one_before(runs) -> None:
    """create_next makes nothing while a run of its trigger is open, or when one was due then or later."""

    def next_one(hour: int, trigger: str = "schedule") -> Run | None:
        due_at = DUE + timedelta(hours=hour)
        return runs.create_next("m", trigger=trigger, due_at=due_at, created_at=due_at, actor="scheduler")

    first = next_one(1)
    while_queued = next_one(2)
    run = claimed(runs)
    while_running = next_one(2)
    of_another_trigger = next_one(2, trigger="offline")
    runs.succeed(run)

    assert first is not None
    assert (while_queued, while_running) == (None, None)
    assert of_another_trigger is not None
    assert (next_one(0), next_one(1)) == (None, None)
    assert next_one(2) is not None


# ── claiming ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_run_that_is_due_first_comes_first(runs) -> None:
    """Runs are claimed in the order of their due times, then of their making."""
    made = [queue(runs, 2).id, queue(runs, 1, model="n").id, queue(runs, 1, trigger="manual").id]

    order = []
    while (run := runs.claim("w", LEASE)) is not None:
        order.append(run.id)
        runs.succeed(run)
    assert order == [made[1], made[2], made[0]]


def test_a_model_has_one_run_at_work(runs) -> None:
    """While a run of a model is worked on, its others wait; those of other models do not."""
    queue(runs, 1)
    queue(runs, 2)
    other = queue(runs, 3, model="n")

    first, second, third = (runs.claim(owner, LEASE) for owner in ("a", "b", "c"))

    assert (first.model, second.id, third) == ("m", other.id, None)
    runs.succeed(first)
    assert claimed(runs, "c").due_at == DUE + timedelta(hours=2)


def test_many_workers_share_the_runs(runs, database, clock, beside) -> None:
    """Workers that claim at once, each with connections of its own, never get the same run, nor two of one model."""
    for name in ("a", "b", "c"):
        Models(database).register(name, {}, DUE)
        queue(runs, 1, model=name)
        queue(runs, 2, model=name)
    others = [beside(database) for _ in range(6)]

    taken = at_once([lambda n=n, db=db: Runs(db, clock).claim(f"w{n}", LEASE) for n, db in enumerate(others)])

    got = [run for run in taken if run is not None]
    assert sorted(run.model for run in got) == ["a", "b", "c"]
    assert {run.due_at for run in got} == {DUE + timedelta(hours=1)}


def test_a_worker_may_ask_for_one_model(runs) -> None:
    """A claim for a model takes none of another, nor a silent one of another."""
    queue(runs)

    assert runs.claim("w", LEASE, model="n") is None
    queue(runs, 5, model="n")
    assert claimed(runs, model="n").model == "n"


def test_a_run_that_beats_is_kept(runs, clock) -> None:
    """A claim lasts as long as its worker beats within the lease."""
    queue(runs)
    run = claimed(runs)
    for _ in range(5):
        clock.move(seconds=29)
        runs.heartbeat(run)

    clock.move(seconds=30)
    assert runs.claim("other", LEASE) is None
    clock.move(seconds=0.001)
    assert claimed(runs, "other").id == run.id


def test_a_silent_run_comes_before_those_that_wait(runs, clock) -> None:
    """What a dead worker left is gone on with first, as another attempt, with what its steps gave."""
    queue(runs, 5)
    run = claimed(runs)
    runs.begin_step(run, "collect")
    runs.finish_step(run, "collect", {"rows": 3})
    queue(runs, 1, model="n")
    clock.move(seconds=31)

    taken = claimed(runs, "other")

    assert (taken.id, taken.attempt, taken.owner) == (run.id, 2, "other")
    assert [(step.name, step.result) for step in taken.steps] == [("collect", {"rows": 3})]


def test_a_claim_that_had_to_wait_for_the_database_lasts_a_whole_lease(runs, database, clock) -> None:
    """A claim that the database kept waiting begins to age when it is made, not when it was asked for."""
    queue(runs)

    class Late:
        """A clock by which each look comes 25 seconds after the one before."""

        def __call__(self) -> datetime:
            return clock.move(seconds=25)

    run = Runs(database, Late()).claim("slow", LEASE)

    assert run.heartbeat_at == clock.now
    clock.move(seconds=29)
    assert runs.claim("other", LEASE) is None


WRITES = {
    "heartbeat": lambda runs, run: runs.heartbeat(run),
    "give_back": lambda runs, run: runs.give_back(run),
    "begin_step": lambda runs, run: runs.begin_step(run, "late"),
    "finish_step": lambda runs, run: runs.finish_step(run, "collect", {"by": "old"}, outcome="old"),
    "succeed": lambda runs, run: runs.succeed(run),
    "fail": lambda runs, run: runs.fail(run, "collect", {"what": "old"}),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("how", ["taken over", "taken over by its own name", "cancelled", "ended"])
def test_whoever_lost_a_run_writes_nothing(runs, clock, write, how) -> None:
    """After a takeover, a cancellation or an end everything that the old worker writes raises LostLease."""
    queue(runs)
    old = claimed(runs, "old")
    runs.begin_step(old, "collect")
    if how.startswith("taken over"):
        clock.move(seconds=31)
        claimed(runs, "old" if "own" in how else "new")
    elif how == "cancelled":
        runs.cancel(old.id, actor="ana", at=DUE)
    else:
        runs.succeed(old)
    before = runs.get(old.id)

    with pytest.raises(LostLease, match=f"run {old.id} is not attempt 1 of old any more"):
        WRITES[write](runs, old)

    assert runs.get(old.id) == before


def test_a_fence_lets_effects_through_only_while_the_claim_holds(runs, database, clock) -> None:
    """An effect whose run was taken over is rolled back with its whole transaction."""
    queue(runs)
    old = claimed(runs, "old")
    fence = runs.fence(old)
    with database.write() as connection:
        fence(connection)
    clock.move(seconds=31)
    new = claimed(runs, "new")

    with pytest.raises(LostLease, match="attempt 2 by new"), database.write() as connection:
        fence(connection)
    with database.write() as connection:
        runs.fence(new)(connection)


# ── steps ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_step_is_recorded_with_its_times_and_attempt(runs, clock) -> None:
    """Of each step stand when it began and ended by machine time, in which attempt, and what it gave."""
    queue(runs)
    run = claimed(runs)
    began = clock.move(seconds=1)
    runs.begin_step(run, "collect")
    within = runs.get(run.id).steps
    ended = clock.move(seconds=2)
    runs.finish_step(run, "collect", {"rows": 3}, outcome="released")

    assert [(s.state, s.ended_at) for s in within] == [(RunState.RUNNING, None)]
    (step,) = runs.get(run.id).steps
    assert (step.state, step.started_at, step.ended_at, step.attempt) == (RunState.SUCCEEDED, began, ended, 1)
    assert (step.result, runs.get(run.id).outcome) == ({"rows": 3}, "released")


def test_a_result_is_recorded_once(runs) -> None:
    """A step that has its result neither begins again nor gets another; one that is not begun gets none."""
    queue(runs)
    run = claimed(runs)
    with pytest.raises(Conflict, match="not at work"):
        runs.finish_step(run, "collect", {"n": 0}, outcome="early")
    runs.begin_step(run, "collect")
    runs.finish_step(run, "collect", {"n": 1})

    with pytest.raises(Conflict, match="its result already"):
        runs.begin_step(run, "collect")
    with pytest.raises(Conflict, match="not at work"):
        runs.finish_step(run, "collect", {"n": 2}, outcome="late")
    assert [step.result for step in runs.get(run.id).steps] == [{"n": 1}]
    assert runs.get(run.id).outcome is None


def test_a_step_that_was_cut_off_begins_again(runs, clock) -> None:
    """After a takeover the step in which the worker died begins anew, in the new attempt."""
    queue(runs)
    old = claimed(runs)
    runs.begin_step(old, "train")
    clock.move(seconds=31)
    new = claimed(runs, "new")
    runs.begin_step(new, "train")
    runs.finish_step(new, "train", {"version": 1})

    (step,) = runs.get(old.id).steps
    assert (step.attempt, step.started_at, step.result) == (2, clock.now, {"version": 1})


def test_a_failed_run_says_where_and_why(runs, clock) -> None:
    """A failure stands with its step and with its run, and ends both."""
    queue(runs)
    run = claimed(runs)
    runs.begin_step(run, "train")

    failed = runs.fail(run, "train", {"code": "training", "what": "it broke"})

    assert (failed.state, failed.outcome, failed.error["what"]) == (RunState.FAILED, "failed", "it broke")
    (step,) = failed.steps
    assert (step.state, step.ended_at, step.error["code"]) == (RunState.FAILED, clock.now, "training")


ENDS = {
    "cancelled": lambda runs, run: runs.cancel(run.id, actor="ana", at=DUE),
    "failed": lambda runs, run: runs.fail(run, None, {"what": "given up"}),
    "queued": lambda runs, run: runs.give_back(run),
}


@pytest.mark.parametrize("state", ENDS)
def test_no_step_works_in_a_run_that_does_not(runs, state) -> None:
    """When a run is cancelled, given up or given back, the step that it was in does not go on as running."""
    queue(runs)
    run = claimed(runs)
    runs.begin_step(run, "train")

    ENDS[state](runs, run)

    (step,) = runs.get(run.id).steps
    assert (runs.get(run.id).state, step.state) == (RunState(state), RunState(state))
    assert (step.ended_at is None) == (state == "queued")


# ── giving back, cancelling, reading ─────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_was_given_back_is_taken_at_once(runs) -> None:
    """A worker that ends needs no lease to run out: the next one goes on, as another attempt."""
    queue(runs)
    run = claimed(runs)
    runs.give_back(run)

    assert (runs.get(run.id).state, runs.get(run.id).owner) == (RunState.QUEUED, None)
    assert claimed(runs, "next").attempt == 2


def test_a_cancelled_run_never_starts(runs, database) -> None:
    """A queued run that a person takes off is claimed by nobody; who did it and why is audited."""
    run = queue(runs)

    off = runs.cancel(run.id, actor="ben", why="wrong day", at=DUE)

    assert (off.state, off.outcome) == (RunState.CANCELLED, "cancelled")
    assert runs.claim("w", LEASE) is None
    (line,) = Audits(database).list(about=f"run {run.id}")
    assert (line.verb, line.actor, line.why, line.before) == ("cancel", "ben", "wrong day", {"state": "queued"})


def test_a_cancelled_run_makes_room_for_the_next(runs) -> None:
    """The model of a running run that was cancelled is free at once."""
    run, following = queue(runs, 1), queue(runs, 2)
    claimed(runs)
    runs.cancel(run.id, actor="ben", at=DUE)

    assert claimed(runs, "next").id == following.id


@pytest.mark.parametrize("end", ["succeed", "fail", "cancel"])
def test_a_run_that_has_ended_cannot_be_cancelled(runs, end) -> None:
    """Its end stands; NotAllowed says which it was."""
    queue(runs)
    run = claimed(runs)
    ended = {
        "succeed": lambda: runs.succeed(run),
        "fail": lambda: runs.fail(run, None, {}),
        "cancel": lambda: runs.cancel(run.id, actor="ana", at=DUE),
    }[end]()

    with pytest.raises(NotAllowed, match=ended.state.value):
        runs.cancel(run.id, actor="ben", at=DUE)
    assert runs.get(run.id) == ended


def test_runs_are_listed_newest_first(runs) -> None:
    """The list is of all models or one, of any state or one, and as long as asked for."""
    ids = [queue(runs, 1).id, queue(runs, 2, model="n").id, queue(runs, 3).id]
    claimed(runs)

    assert [run.id for run in runs.list()] == ids[::-1]
    assert [run.id for run in runs.list("m")] == [ids[2], ids[0]]
    assert [run.id for run in runs.list(state=RunState.RUNNING)] == [ids[0]]
    assert [run.id for run in runs.list(limit=1)] == [ids[2]]


def test_an_unknown_run_is_not_found(runs) -> None:
    """An id that no run has is refused, for looking as for cancelling."""
    with pytest.raises(NotFound, match="no run 7"):
        runs.get(7)
    with pytest.raises(NotFound, match="no run 7"):
        runs.cancel(7, actor="ana", at=DUE)


def test_what_was_due_last_and_what_is_open_go_by_trigger(runs) -> None:
    """A manual run counts neither as a schedule's last nor as its open one."""
    queue(runs, 1)
    queue(runs, 2)
    queue(runs, 9, trigger="manual")
    queue(runs, 3, model="n", trigger="manual")

    assert runs.last_due() == {"m": DUE + timedelta(hours=2)}
    assert runs.open_models() == {"m"}
    assert runs.last_due("manual") == {"m": DUE + timedelta(hours=9), "n": DUE + timedelta(hours=3)}
    for _ in range(3):
        runs.succeed(claimed(runs, model="m"))
    assert runs.open_models() == set()
