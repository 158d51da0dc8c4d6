"""The drain keeps a log from becoming very many small files."""

from __future__ import annotations

import pytest
from deltalake import DeltaTable

from perene.errors import StorageError
from perene.pipelines.drain import drain
from perene.storage.lake import Lake

DRAINS = 70


@pytest.fixture
def dialect() -> str:
    """Nothing here depends on the database."""
    return "sqlite"


def test_a_log_of_many_drains_is_tidied_and_holds_every_line(bench, journal, a_line) -> None:
    """Each append and each read goes through the list of all files, so their number stays bounded."""
    for n in range(DRAINS):
        journal.write(a_line(f"p{n:02}").entries("plain"))
        journal.rotate()
    drain(journal.closed(), bench.logs)

    journal.write(a_line("last").entries("plain"))
    done = bench.drain(journal)

    assert done.failures == []
    assert len(DeltaTable(f"{bench.lake._root}/plain/predictions").file_uris()) == 2
    assert sorted(bench.log("plain")["prediction_id"]) == ["last", *(f"p{n:02}" for n in range(DRAINS))]


def test_a_log_that_cannot_be_tidied_fails_no_drain(bench, journal, a_line, monkeypatch, caplog) -> None:
    """The lines are there; it is tidied another time."""

    def fail(*_: object) -> None:
        raise StorageError("the table could not be compacted", why="no space")

    monkeypatch.setattr(Lake, "compact", fail)
    for n in range(DRAINS):
        journal.write(a_line(f"p{n:02}").entries("plain"))
        journal.rotate()

    done = drain(journal.closed(), bench.logs)

    assert (done.files, done.predictions, done.failures) == (DRAINS, DRAINS, [])
    assert "not_tidied model=plain log=predictions why=no space" in caplog.text
