"""The audit log: lines that stand or fall with their deed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from perene.repositories import audits
from perene.repositories.audits import Audits
from perene.storage.database import Database

START = datetime(2026, 1, 1, tzinfo=UTC)


def note(database: Database, verb: str, about: str, *, hour: int = 0, **more: object) -> None:
    with database.write() as connection:
        audits.record(connection, verb, about, at=START + timedelta(hours=hour), actor="ana", **more)


def test_a_line_tells_who_what_when_why_and_what_was_before(database) -> None:
    """Each part comes back as it was told; before and after are JSON, or nothing."""
    note(database, "hold", "model m", why="strike", before={"held_by": None}, after={"held_by": "ana", "n": [1, 2.5]})
    note(database, "look", "model m")

    plain, full = Audits(database).list()
    assert (full.verb, full.object, full.at, full.actor, full.why) == ("hold", "model m", START, "ana", "strike")
    assert (full.before, full.after) == ({"held_by": None}, {"held_by": "ana", "n": [1, 2.5]})
    assert (plain.why, plain.before, plain.after) == ("", None, None)


def test_the_newest_lines_come_first(database) -> None:
    """In the order in which they were written, whatever project time they tell; of one thing, and as many as asked."""
    for n, (about, hour) in enumerate([("model m", 9), ("model n", 1), ("model m", 5)]):
        note(database, f"verb-{n}", about, hour=hour)

    assert [line.verb for line in Audits(database).list()] == ["verb-2", "verb-1", "verb-0"]
    assert [line.verb for line in Audits(database).list(about="model m")] == ["verb-2", "verb-0"]
    assert [line.verb for line in Audits(database).list(limit=1)] == ["verb-2"]
    assert Audits(database).list(about="model") == []


def test_a_deed_that_fails_leaves_no_line(database) -> None:
    """The line is written in the deed's own transaction."""
    with pytest.raises(RuntimeError), database.write() as connection:
        audits.record(connection, "hold", "model m", at=START, actor="ana")
        raise RuntimeError

    assert Audits(database).list() == []
