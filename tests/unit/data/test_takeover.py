"""Runs that are cut off, repeated and taken over: no effect happens twice, and none comes from who lost the run."""

from __future__ import annotations

import polars as pl
import pytest

from perene.errors import DataError, LostLease
from perene.pipelines import asking
from perene.repositories.examples import Examples
from perene.repositories.sources import Sources
from perene.storage.envelope import Log

NOW = "2013-01-31 12:00"
NOTHING = {"added": 0, "relabelled": 0, "restated": 0, "gone": 0}


class Killed(BaseException):
    """The worker ends here, as by kill -9: nothing below catches it."""


def lost(connection: object) -> None:
    """A fence of a run that another worker has taken over."""
    raise LostLease("run 7 is not attempt 1 of this worker any more")


def kill_before(monkeypatch, owner: type, name: str) -> None:
    """Let the worker die where it would call this."""

    def dies(*args, **options):
        raise Killed

    monkeypatch.setattr(owner, name, dies)


def test_the_same_run_again_collects_nothing_twice(bench):
    """A run that is taken over after its collection finds it done, and asks for no day again."""
    bench.declare(revisit="30d")
    bench.collect(NOW, run=7)
    before = bench.said()
    again = bench.collect(NOW, run=7)

    assert (again["asked"], again["source"]) == ([], NOTHING)
    assert bench.said().equals(before)


def test_the_same_run_again_cuts_no_other_version(bench):
    """It gets the version that it made, whatever came in since."""
    bench.collect(NOW, run=7)
    first = bench.cut(NOW, run=7)
    bench.bring(bench.trips("2013-01-20", 1, a_day=9), NOW)

    assert bench.cut("2013-02-05", run=7) == first
    assert len(bench.datasets.list("trip-late")) == 1


@pytest.mark.parametrize("examples", ["source", "log"])
def test_who_lost_the_run_says_nothing(bench, examples):
    """No example is said, no day counts as asked, and the log is not taken for joined."""
    bench.declare(examples=examples)
    row = bench.trips("2013-01-20", 1, a_day=1)
    bench.predict(row, ["p0"], source="first")

    with pytest.raises(LostLease):
        bench.collect(NOW, run=7, fence=lost)
    assert bench.said().is_empty()
    assert bench.sources.days("trip-late", bench.instant("2013-01-01").date(), bench.instant(NOW).date()) == {}
    assert bench.collect(NOW, run=7)["source" if examples == "source" else "log"]["added"] == (
        39 if examples == "source" else 1
    )


def test_who_lost_the_run_cuts_nothing(bench):
    """No version is made."""
    bench.collect(NOW)

    with pytest.raises(LostLease):
        bench.cut(NOW, run=7, fence=lost)
    assert bench.datasets.list("trip-late") == []


def test_a_write_of_who_lost_the_run_meanwhile_is_void(bench, monkeypatch):
    """A worker that stands still in the middle of its append, and goes on after the takeover, adds no line."""
    taken = False
    write = bench.lake._write

    def fence(connection):
        if taken:
            lost(connection)

    def slow(*args):
        nonlocal taken
        monkeypatch.setattr(bench.lake, "_write", write)
        taken = True
        bench.told = bench.told.with_columns(miles=pl.lit(5.0))
        bench.collect(NOW, run=7)  # another worker takes the run over, and does it all
        return write(*args)

    monkeypatch.setattr(bench.lake, "_write", slow)
    with pytest.raises(LostLease):
        bench.collect(NOW, run=7, fence=fence)

    assert bench.said().height == 39
    assert set(bench.said()["row"].struct.field("miles")) == {5.0}


@pytest.mark.parametrize(
    ("owner", "name"),
    [(Examples, "append"), (Sources, "answered"), (asking, "counted")],
    ids=["before the append", "after the append", "between"],
)
def test_a_collection_that_was_killed_is_finished_by_the_next(bench, monkeypatch, owner, name):
    """Wherever the worker dies, the run ends with the same lines as if it had not."""
    with monkeypatch.context() as patched, pytest.raises(Killed):
        kill_before(patched, owner, name)
        bench.collect(NOW, run=7)
    bench.collect(NOW, run=7)

    assert bench.said().height == 39
    assert bench.said().select("key", "event_at").is_unique().all()
    assert bench.collect(NOW, run=7)["asked"] == []


def test_a_source_that_tells_more_in_the_second_try_is_heard(bench, monkeypatch):
    """A live source may have moved on since the worker died: what it says now holds."""
    with monkeypatch.context() as patched, pytest.raises(Killed):
        kill_before(patched, Sources, "answered")
        bench.collect(NOW, run=7)
    bench.told = pl.concat([bench.told, bench.trips("2013-01-20", 1).with_columns(rider=pl.lit("r9"))])
    done = bench.collect(NOW, run=7)

    assert done["source"] == NOTHING | {"added": 3}
    assert bench.cut(NOW, run=7).rows == 39 + 3


def test_a_join_that_was_killed_in_its_append_is_finished_by_the_next(bench, monkeypatch):
    """Rows that are in the lake, but not yet committed, are committed and not said again."""
    bench.declare(examples="log")
    row = bench.trips("2013-01-20", 1)
    bench.predict(row, ["p0", "p1", "p2"], source="first")
    bench.tell(row, source="truth")
    with monkeypatch.context() as patched, pytest.raises(Killed):
        kill_before(patched, bench.lake.ingests.__class__, "commit")
        bench.collect(NOW, run=7)
    again = bench.collect(NOW, run=7)

    assert again["log"] == NOTHING
    assert bench.said().height == 3


def test_a_cut_that_was_killed_is_made_by_the_next(bench, monkeypatch):
    """The version gets its number only with its row: none is left out."""
    bench.collect(NOW, run=7)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        kill_before(patched, bench.datasets.__class__, "add")
        bench.cut(NOW, run=7)

    assert bench.cut(NOW, run=7).version == 1


def test_bad_rows_of_a_failed_try_count_once(bench):
    """A run that is tried again sets the same rows aside once."""
    bench.told = bench.told.with_columns(miles=pl.lit(-1.0))
    for _ in range(2):
        with pytest.raises(DataError):
            bench.collect(NOW, run=7)

    assert len(bench.sources.quarantined("trip-late", run=7)) == 1


def test_an_open_append_of_a_dead_worker_does_not_hold_versions_up(bench):
    """Its number is void, and what is cut is the same for ever."""
    bench.collect(NOW)
    bench.lake.ingests.begin("trip-late", Log.EXAMPLES, "a dead worker's")
    first = bench.cut(NOW)
    bench.bring(bench.trips("2013-01-20", 1, a_day=9), NOW)

    assert first.rows == 39
    assert bench.datasets.verify(bench.model, first).ok
