"""Several processes at the same moment, each with connections of its own: on every database one order of things."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, date, datetime, timedelta
from random import Random

import pytest
import sqlalchemy as sa

from perene.errors import Conflict, NotAllowed, PereneError
from perene.records.model import ModelVersion
from perene.records.release import Release, ReleaseState
from perene.records.run import Run, RunState
from perene.repositories.audits import Audits
from perene.repositories.models import Models
from perene.repositories.releases import Releases
from perene.repositories.runs import Runs
from perene.repositories.servers import Servers
from perene.repositories.time import ProjectTime
from perene.storage.database import Database
from perene.storage.envelope import Log
from perene.storage.ingests import Ingests

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = date(2026, 1, 1)
LOG = Log.EXAMPLES
MANY = 6
LEASE = timedelta(seconds=30)
Train = Callable[..., ModelVersion]


@pytest.fixture
def others(database: Database, beside: Callable[..., Database]) -> list[Database]:
    """The database as several processes have it open."""
    return [beside(database) for _ in range(MANY)]


def at_once(deeds: list[Callable[[], object]]) -> list[object]:
    """What deeds give, or the error of ours that they raise, when all begin at the same moment."""
    gate = threading.Barrier(len(deeds))

    def act(deed: Callable[[], object]) -> object:
        gate.wait()
        try:
            return deed()
        except PereneError as error:
            return error

    with ThreadPoolExecutor(len(deeds)) as pool:
        return list(pool.map(act, deeds))


# ── ingest numbers ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_number_is_overtaken(database: Database, beside: Callable[..., Database]) -> None:
    """An append that has its number and does not show yet keeps every later one waiting: none shows before it.

    Else a dataset version could be cut at the later number, and the earlier append would come into it afterwards.
    """
    Models(database).register("m", {}, NOW)
    slow, quick = beside(database), beside(database)
    later: list[Future[int]] = []
    seen: list[tuple[bool, int]] = []

    def before_the_commit(_: sa.Connection) -> None:
        later.append(pool.submit(lambda: Ingests(quick, lambda: NOW).begin("m", LOG, "later").number))
        wait(later, timeout=0.4)
        seen.append((later[0].done(), Ingests(database, lambda: NOW).readable("m", LOG, None).upto))

    with ThreadPoolExecutor(1) as pool:
        sa.event.listen(slow.engine, "commit", before_the_commit)
        first = Ingests(slow, lambda: NOW).begin("m", LOG, "first").number

        assert seen == [(False, 0)]
        assert first < later[0].result()


def test_what_was_readable_up_to_a_horizon_stays_so(others: list[Database]) -> None:
    """While appends of several processes begin, end well or are given up, the answer up to a horizon never changes."""
    Models(others[0]).register("m", {}, NOW)
    done = threading.Event()
    answers: dict[int, list[int]] = {}

    def append(n: int) -> None:
        mine, chance = Ingests(others[n], lambda: NOW), Random(n)
        for i in range(12):
            number = mine.begin("m", LOG, f"{n}-{i}").number
            if chance.random() < 0.7:
                mine.commit(number, rows=1, days=[DAY])
            else:
                mine.void(number)

    def look() -> None:
        mine = Ingests(others[-1], lambda: NOW)
        while not done.is_set():
            horizon = mine.horizon("m", LOG)
            answers.setdefault(horizon, [ingest.number for ingest in mine.committed("m", LOG, upto=horizon)])

    reader = threading.Thread(target=look)
    reader.start()
    assert at_once([lambda n=n: append(n) for n in range(MANY - 1)]) == [None] * (MANY - 1)
    done.set()
    reader.join()

    assert len(answers) > 3
    now = Ingests(others[0], lambda: NOW)
    for horizon, answer in answers.items():
        assert [ingest.number for ingest in now.committed("m", LOG, upto=horizon)] == answer


def test_a_number_becomes_void_or_committed_and_never_both(others: list[Database]) -> None:
    """A writer that commits while others give its number up is told which of them came first."""
    Models(others[0]).register("m", {}, NOW)
    ingests = [Ingests(other, lambda: NOW) for other in others]

    for i in range(10):
        number = ingests[0].begin("m", LOG, str(i)).number
        deeds = [lambda mine=mine, number=number: mine.void(number) for mine in ingests[1:]]
        told, *_ = at_once([lambda number=number: ingests[0].commit(number, rows=1, days=[DAY]), *deeds])

        assert told == (number in [ingest.number for ingest in ingests[0].committed("m", LOG)])


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_two_runs_of_a_model_work_at_once(others: list[Database]) -> None:
    """Workers that take, beat, give back and end runs as fast as they can never have two of one model between them."""
    runs = [Runs(other, lambda: NOW) for other in others]
    for name in ("a", "b"):
        Models(others[0]).register(name, {}, NOW)
        for hour in range(12):
            due = NOW + timedelta(hours=hour)
            runs[0].create(name, trigger="schedule", due_at=due, created_at=NOW, actor="ana")
    at_work: dict[str, int] = {}
    ended: list[int] = []

    def work(n: int) -> None:
        mine = runs[n]
        while len(ended) < 24:
            run = mine.claim(f"w{n}", LEASE)
            if run is None:
                continue
            assert at_work.setdefault(run.model, run.id) == run.id, "another run of the model is at work"
            mine.heartbeat(run)
            del at_work[run.model]
            if run.attempt < 2:
                mine.give_back(run)
            else:
                mine.succeed(run)
                ended.append(run.id)

    assert at_once([lambda n=n: work(n) for n in range(MANY)]) == [None] * MANY
    assert sorted(ended) == sorted(run.id for run in runs[0].list())
    assert {(run.state, run.attempt) for run in runs[0].list()} == {(RunState.SUCCEEDED, 2)}


def test_a_silent_worker_has_one_heir(others: list[Database]) -> None:
    """Of several that find a run left alone one takes it over, and its first worker loses it."""
    now = [NOW]
    runs = [Runs(other, lambda: now[0]) for other in others]
    Models(others[0]).register("m", {}, NOW)
    runs[0].create("m", trigger="manual", due_at=NOW, created_at=NOW, actor="ana")
    first = runs[0].claim("first", LEASE)
    now[0] += LEASE * 2

    taken = at_once([lambda n=n: runs[n].claim(f"heir-{n}", LEASE) for n in range(MANY)])

    heirs = [run for run in taken if isinstance(run, Run)]
    assert [run.attempt for run in heirs] == [2]
    lost = at_once([lambda: runs[0].heartbeat(first), lambda: runs[1].heartbeat(heirs[0])])
    assert [getattr(error, "code", None) for error in lost] == ["lost-lease", None]


# ── releases ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def propose(database: Database, train: Train) -> Release:
    return Releases(database).propose("m", train(database).version, run=None, evaluation=None, **told())


def told() -> dict[str, object]:
    return {"actor": "ana", "why": "because", "at": NOW}


def states(database: Database, release: Release) -> list[str]:
    return [event.state.value for event in Releases(database).events("m", release=release.id)]


def test_a_release_is_approved_once(others: list[Database], train: Train) -> None:
    """Several that approve one release at the same moment make it live once, with one line each in ledger and audit."""
    release = propose(others[0], train)

    given = at_once([lambda db=db: Releases(db).approve(release.id, **told()) for db in others])

    assert {one.state for one in given} == {ReleaseState.LIVE}
    assert states(others[0], release) == ["proposed", "approved", "live"]
    assert [line.verb for line in Audits(others[0]).list(about=f"release {release.id}")] == ["approve"]


def test_of_two_releases_one_goes_live(others: list[Database], train: Train) -> None:
    """Two proposed beside the same champion and approved at the same moment: one is live, the other judged too late."""
    two = [propose(others[0], train) for _ in range(2)]

    given = at_once([lambda n=n: Releases(others[n]).approve(two[n].id, **told()) for n in range(2)])

    live = [one for one in given if isinstance(one, Release)]
    assert [one.state for one in live] == [ReleaseState.LIVE]
    assert [type(one) for one in given if not isinstance(one, Release)] == [NotAllowed]
    assert Models(others[0]).get("m").champion == live[0].version


def test_approved_or_rejected_and_never_both(others: list[Database], train: Train) -> None:
    """A release that is approved and rejected at the same moment is the one or the other."""
    release = propose(others[0], train)

    at_once(
        [
            lambda: Releases(others[0]).approve(release.id, **told()),
            lambda: Releases(others[1]).reject(release.id, **told()),
        ]
    )

    assert states(others[0], release) in (["proposed", "approved", "live"], ["proposed", "rejected"])


def test_two_rollbacks_to_a_version_are_one(others: list[Database], train: Train) -> None:
    """Of several that go back to a version at the same moment one does it; the others hear that it is live already."""
    for _ in range(3):
        release = propose(others[0], train)
        Releases(others[0]).approve(release.id, **told())

    given = at_once([lambda db=db: Releases(db).rollback("m", 1, **told()) for db in others])

    assert sorted(type(one).__name__ for one in given) == ["Conflict"] * (MANY - 1) + ["Release"]
    assert {one.what for one in given if isinstance(one, Conflict)} == {"m v1 is live already"}
    assert [period.version for period in Releases(others[0]).history("m")] == [1, 2, 3, 1]


# ── what comes for the first time ────────────────────────────────────────────────────────────────────────────────────


def test_a_model_is_made_known_once(others: list[Database]) -> None:
    """Server, scheduler and worker of a new project start together: each finds its model, and one line says so."""
    given = at_once([lambda db=db: Models(db).register("m", {"every": "1d"}, NOW) for db in others])

    assert [model.name for model in given] == ["m"] * MANY
    assert [line.verb for line in Audits(others[0]).list()] == ["register"]


def test_a_first_drain_is_asked_for_by_many(others: list[Database]) -> None:
    """The one line that asks for a drain is written by whoever comes first, and the others find it."""
    given = at_once([lambda db=db: Servers(db, lambda: NOW).request_drain() for db in others])

    assert given == [NOW] * MANY


def test_a_replay_starts_once(others: list[Database]) -> None:
    """Of several that start a replay at different times the latest holds, and none goes back."""
    times = [NOW + timedelta(days=n) for n in range(MANY)]

    given = at_once([lambda n=n: ProjectTime(others[n], lambda: NOW).start_replay(times[n]) for n in range(MANY)])

    assert {type(one) for one in given} <= {type(None), NotAllowed}
    assert ProjectTime(others[0], lambda: NOW).now() == max(
        at for at, one in zip(times, given, strict=True) if one is None
    )
    assert given[-1] is None


def test_a_replay_that_many_move_never_goes_back(others: list[Database]) -> None:
    """Several that move project time on at the same moment: it is where the furthest of them put it."""
    ProjectTime(others[0], lambda: NOW).start_replay(NOW)
    times = [NOW + timedelta(days=n) for n in range(MANY)]

    given = at_once([lambda n=n: ProjectTime(others[n], lambda: NOW).advance(times[n]) for n in range(MANY)])

    assert {type(one) for one in given} <= {type(None), NotAllowed}
    assert given[-1] is None
    assert ProjectTime(others[0], lambda: NOW).now() == times[-1]
