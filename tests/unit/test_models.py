"""Models and their versions: what is known, what is held, and numbers that count up."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import sqlalchemy as sa

from perene.errors import LostLease, NotFound
from perene.repositories.audits import Audits
from perene.repositories.models import Models
from perene.storage.database import Database

START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = START + timedelta(hours=1)


@pytest.fixture
def models(database) -> Models:
    """The models of a project."""
    return Models(database)


def verbs(database: Database, about: str = "model m") -> list[str]:
    return [line.verb for line in Audits(database).list(about=about)][::-1]


# ── models ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_model_is_registered_with_its_declaration(models) -> None:
    """It is known since then, without a champion and without a hold."""
    made = models.register("m", {"key": ["a"], "max_bad": 0.01}, START)

    assert (made.name, made.declaration, made.created_at) == ("m", {"key": ["a"], "max_bad": 0.01}, START)
    assert (made.champion, made.held_at, made.held_by, made.held_why) == (None, None, None, None)
    assert models.get("m") == made


def test_a_changed_declaration_is_noted(models, database) -> None:
    """What it was before stands in the audit log; since when the model is known stays."""
    models.register("m", {"every": "1d"}, START)
    models.register("m", {"every": "1d"}, LATER)
    changed = models.register("m", {"every": "7d"}, LATER, actor="ana")

    assert (changed.declaration, changed.created_at) == ({"every": "7d"}, START)
    newest, first = Audits(database).list(about="model m")
    assert (first.before, first.after) == (None, {"every": "1d"})
    assert (newest.before, newest.after, newest.actor) == ({"every": "1d"}, {"every": "7d"}, "ana")


def test_models_are_listed_by_name(models) -> None:
    """Every one of them."""
    for name in ("c", "a", "b"):
        models.register(name, {}, START)

    assert [model.name for model in models.list()] == ["a", "b", "c"]


def test_an_unknown_model_is_not_found(models) -> None:
    """The error names those that exist, and the one that was probably meant; each question answers so."""
    with pytest.raises(NotFound, match="has no models yet"):
        models.get("late")
    for name in ("late-arrival", "demand"):
        models.register(name, {}, START)

    asks = [models.get, models.champion, models.versions, lambda name: models.version(name, 1)]
    asks += [lambda name: models.hold(name, actor="a", why="w", at=START)]
    asks += [lambda name: models.resume(name, actor="a", at=START)]
    for ask in asks:
        with pytest.raises(NotFound) as caught:
            ask("late-arival")
        assert caught.value.why == "the project has demand, late-arrival"
        assert caught.value.what.endswith("; did you mean late-arrival?")


# ── holds ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_hold_says_who_why_and_since_when(models, database) -> None:
    """Until it is resumed, which tells in the audit log what it ended."""
    models.register("m", {}, START)

    held = models.hold("m", actor="ana", why="strike", at=LATER)
    free = models.resume("m", actor="ben", why="over", at=LATER)

    assert (held.held_at, held.held_by, held.held_why) == (LATER, "ana", "strike")
    assert (free.held_at, free.held_by, free.held_why) == (None, None, None)
    resumed, was_held, _ = Audits(database).list(about="model m")
    assert (was_held.verb, was_held.actor, was_held.why, was_held.before) == ("hold", "ana", "strike", None)
    assert (resumed.verb, resumed.actor, resumed.why) == ("resume", "ben", "over")
    assert resumed.before == {"held_by": "ana", "held_why": "strike"}


def test_a_second_hold_takes_the_place_of_the_first(models, database) -> None:
    """The newest reason holds, and what it was before is told."""
    models.register("m", {}, START)
    models.hold("m", actor="ana", why="strike", at=START)
    held = models.hold("m", actor="ben", why="storm", at=LATER)

    assert (held.held_by, held.held_why, held.held_at) == ("ben", "storm", LATER)
    assert Audits(database).list(about="model m")[0].before == {"held_by": "ana", "held_why": "strike"}


def test_resuming_what_is_not_held_changes_nothing(models, database) -> None:
    """Nor does it leave a line in the audit log."""
    models.register("m", {}, START)

    assert models.resume("m", actor="ana", at=START) == models.get("m")
    assert verbs(database) == ["register"]


# ── versions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_versions_count_up_by_model(database, train) -> None:
    """The first is 1; the number that a version comes with is not used; the newest is listed first."""
    made = [train(database, "m"), train(database, "n"), train(database, "m")]

    assert [(version.model, version.version) for version in made] == [("m", 1), ("n", 1), ("m", 2)]
    assert [version.version for version in Models(database).versions("m")] == [2, 1]
    assert [version.version for version in Models(database).versions("m", limit=1)] == [2]
    assert Models(database).version("m", 2) == made[2]


def test_a_version_comes_back_as_it_was(database, train, models) -> None:
    """Every part of it; parameters of numpy as JSON's."""
    parameters = {"depth": np.int64(3), "rate": np.float32(0.5), "exact": np.bool_(False), "seed": None}
    first = train(database)
    made = replace(first, bundle="other", label_mean=0.25, peak_memory=2**40, parameters=parameters, git_commit="abc")

    kept = models.add_version(made)

    stored = {"depth": 3, "rate": 0.5, "exact": False, "seed": None}
    assert kept == replace(made, version=2, parameters=stored)
    assert models.version("m", 2) == kept


def test_a_run_makes_one_version(database, train, models) -> None:
    """The same run again gives the version that it made before, whatever it comes with."""
    first = train(database, run=7)
    again = models.add_version(replace(first, bundle="another"))

    assert again == first
    assert models.of_run(7) == first
    assert models.of_run(8) is None
    assert len(models.versions("m")) == 1


def test_a_run_that_was_taken_over_adds_no_version(database, train, models) -> None:
    """What the fence raises comes out, within the transaction, and nothing is kept."""
    first = train(database)
    fenced: list[bool] = []

    def lost(connection: sa.Connection) -> None:
        fenced.append(connection.in_transaction())
        raise LostLease("gone")

    with pytest.raises(LostLease):
        models.add_version(replace(first, run=9), fence=lost)
    assert fenced == [True]
    assert [version.version for version in models.versions("m")] == [1]


def test_versions_that_come_at_once_get_numbers_of_their_own(database, train, beside) -> None:
    """Six workers with connections of their own leave no gap and no number twice."""
    first = train(database)
    others = [beside(database) for _ in range(6)]
    gate = threading.Barrier(6)
    made: list[int] = []

    def add(n: int) -> None:
        gate.wait()
        made.append(Models(others[n]).add_version(replace(first, bundle=f"of-{n}")).version)

    threads = [threading.Thread(target=add, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(made) == [2, 3, 4, 5, 6, 7]


def test_an_unknown_version_is_not_found(database, train, models) -> None:
    """The error says which there are."""
    models.register("new", {}, START)
    with pytest.raises(NotFound, match="new has no version v1") as caught:
        models.version("new", 1)
    assert caught.value.why == "it has none yet"
    train(database)
    train(database)

    with pytest.raises(NotFound, match="m has no version v3") as caught:
        models.version("m", 3)
    assert caught.value.why == "it has v1 to v2"


def test_a_model_has_no_champion_before_its_first_release(database, train, models) -> None:
    """A version alone is not live."""
    train(database)

    assert models.champion("m") is None
