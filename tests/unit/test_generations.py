"""Which generation look-ups read, and what is swept."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from perene.errors import Conflict, LostLease, NotFound
from perene.records.generation import Generation, GenerationState
from perene.repositories.audits import Audits
from perene.repositories.generations import Generations

AT = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def generations(database, clock, train) -> Generations:
    """The generations of a model with two versions."""
    train(database)
    train(database)
    return Generations(database, clock)


def begun(generations: Generations, *, version: int = 1) -> int:
    new = Generation(
        id=0, model="m", version=version, recipe="r", state=GenerationState.LOADING, origin="population", run=None,
        actor="ana", computed_at=AT, ended_at=None, rows=0, keys=0, aside=0, fields=("number", "at"),
        steps=(("bounds", False), ("block", True)), error=None,
    )  # fmt: skip
    made, lock = generations.begin(new, lambda number: f"lock {number}")
    assert lock == f"lock {made.id}"
    return made.id


def ready(generations: Generations) -> int:
    id = begun(generations)
    generations.finish(id, rows=3, keys=2, aside=0)
    return id


def test_a_load_says_what_it_is(generations, clock) -> None:
    """What began, how far it is, and how it ended, in the record's types."""
    id = begun(generations, version=2)
    generations.progress(id, rows=5, aside=1)
    loading = generations.get(id)
    done = generations.finish(id, rows=9, keys=8, aside=1)

    assert (loading.state, loading.rows, loading.aside, loading.ended_at) == (GenerationState.LOADING, 5, 1, None)
    assert (loading.fields, loading.steps) == (("number", "at"), (("bounds", False), ("block", True)))
    assert (done.state, done.rows, done.keys, done.version, done.ended_at) == (
        GenerationState.READY, 9, 8, 2, clock(),
    )  # fmt: skip
    assert generations.list("m") == [done] == [generations.current("m")]


def test_the_pointer_moves_when_a_load_is_whole(generations) -> None:
    """Until a load ends well, the one before it is read; one that fails changes nothing."""
    first = ready(generations)
    second = begun(generations)
    during = generations.current("m").id
    generations.fail(second, {"what": "no room"})
    failed = generations.current("m").id
    third = ready(generations)

    assert (during, failed, generations.current("m").id) == (first, first, third)
    assert generations.get(second).error == {"what": "no room"}


def test_an_older_load_that_ends_later_replaces_nothing(generations) -> None:
    """Two loads at once: the one that was begun last is read, whichever ends last."""
    older = begun(generations)
    newer = ready(generations)
    generations.finish(older, rows=1, keys=1, aside=0)

    assert generations.current("m").id == newer


def test_a_load_that_was_given_up_cannot_end(generations) -> None:
    """Whoever was held for dead does not replace anything any more."""
    id = begun(generations)
    generations.sweep("m", is_written=lambda number: False, remove=lambda number: None)

    with pytest.raises(Conflict, match="was given up"):
        generations.finish(id, rows=1, keys=1, aside=0)
    assert generations.current("m") is None


def test_a_run_that_was_taken_over_does_not_move_the_pointer(generations) -> None:
    """The fence of a run stands before its load's last step."""

    def fence(connection) -> None:
        raise LostLease("it was taken over")

    id = begun(generations)
    with pytest.raises(LostLease):
        generations.finish(id, rows=1, keys=1, aside=0, fence=fence)

    assert generations.get(id).state is GenerationState.LOADING


def test_one_before_is_kept_and_the_rest_is_swept(generations) -> None:
    """Look-ups that have begun find the generation before; older ones and dead loads go, living loads stay."""
    old = [ready(generations) for _ in range(2)]
    kept = [ready(generations) for _ in range(2)]
    dead, alive = begun(generations), begun(generations)
    removed: list[int] = []

    swept = generations.sweep("m", is_written=lambda number: number == alive, remove=removed.append)

    assert sorted(removed) == [*old, dead] == sorted(g.id for g in swept)
    states = {g.id: g.state.value for g in generations.list()}
    assert states == {
        **dict.fromkeys(old, "removed"), **dict.fromkeys(kept, "ready"), dead: "failed", alive: "loading",
    }  # fmt: skip
    assert generations.sweep("m", is_written=lambda number: True, remove=removed.append) == []


def test_a_load_that_ends_during_a_sweep_is_not_swept(generations) -> None:
    """A load that moves the pointer while a sweep asks whether it lives is not held for dead."""
    id, removed = begun(generations), list[int]()

    def ends(number: int) -> bool:
        generations.finish(number, rows=3, keys=2, aside=0)
        return False

    assert generations.sweep("m", is_written=ends, remove=removed.append) == []
    assert (removed, generations.current("m").id) == ([], id)


def test_a_store_is_audited(generations, database) -> None:
    """Who replaced which stored predictions with what is in the audit log."""
    first = ready(generations)
    second = ready(generations)

    (line,) = [line for line in Audits(database).list(limit=1)]
    assert (line.verb, line.object, line.actor, line.before) == ("store", "model m", "ana", {"generation": first})
    assert line.after == {"generation": second, "version": 1, "rows": 3, "origin": "population"}


def test_an_unknown_one_is_not_found(generations) -> None:
    """A number that nobody has is refused."""
    with pytest.raises(NotFound, match="no generation 7"):
        generations.get(7)
