"""Fault: no room for the journal, the lake or the database, or all of it is away for a while. Promise: law 3, an
answered prediction is in the log, or counted as lost; what can be kept is kept.
"""

from __future__ import annotations

import resource
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from perene.app import open_project
from perene.pipelines.drain import drain_orphans
from perene.storage.envelope import Log
from perene.storage.journal import journal_folder

MODEL = "parcel-hours"
SMALL_JOURNALS = """
from perene.storage import journal
begin = journal.Journal._begin

def begin_small(self, *arguments):
    connection = begin(self, *arguments)
    connection.execute("PRAGMA max_page_count = 12")
    return connection

journal.Journal._begin = begin_small
"""
FULL_DATABASE = """
import sqlalchemy
from pathlib import Path

@sqlalchemy.event.listens_for(sqlalchemy.Engine, "begin")
def limit(connection):
    full = Path(sys.argv[1], "full").exists()
    connection.exec_driver_sql(f"PRAGMA max_page_count = {1 if full else 1 << 30}")
"""

NOTHING_HELD = """
from perene.storage import lake

lake._HOLD_S = 0.0  # as if every handle on a table were a minute old
"""


@dataclass
class House:
    """A project with a server, and every id that it answered."""

    folder: Path
    server: Any
    a_row: Callable[..., dict[str, Any]]
    wait_for: Callable[..., Any]
    answered: list[str] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = self.server.client()

    def ask(self, times: int = 1, rows: int = 2, *, own: bool = False) -> None:
        """Ask for predictions, under ids of one's own or not, and note what was answered or refused."""
        for time in range(times):
            ids = [{"prediction_id": f"a prediction by number {time}-{n}"} if own else {} for n in range(rows)]
            status, answer = self.client.predict([self.a_row(n) | id_ for n, id_ in enumerate(ids)])
            if status == 200:
                self.answered += [p["prediction_id"] for p in answer["predictions"]]
            else:
                assert status == 503
                assert self.client.headers["content-type"] == "application/problem+json"
                assert "retry-after" in self.client.headers
                self.refused.append(answer)

    def ready(self) -> tuple[int, dict[str, Any]]:
        """What the server says of itself."""
        return self.client.ask("GET", "/readyz")

    def in_trouble(self, *parts: str) -> tuple[int, dict[str, Any]]:
        """The same, as soon as it speaks of these troubles."""
        return self.wait_for(lambda: {*parts} <= {*self.ready()[1]["troubles"]} and self.ready())

    def wait_until_ready(self) -> dict[str, Any]:
        """What it says when all of it works again."""
        return self.wait_for(lambda: self.ready()[1]["status"] == "ready" and self.ready()[1])

    def logged(self) -> list[str]:
        """End the server; every id in the table of predictions itself, sorted."""
        assert self.server.end(signal.SIGTERM) == 0
        app = open_project(self.folder)
        assert drain_orphans(journal_folder(self.folder), app.logs).failures == []
        found = app.lake.scan(MODEL, Log.PREDICTIONS).collect()
        app.close()
        return [] if found.is_empty() else sorted(found["prediction_id"])

    def alerts(self) -> dict[str, str]:
        """What fires, by rule."""
        app = open_project(self.folder)
        found = {alert.rule: alert.what for alert in app.alerts.list(state="firing")}
        app.close()
        return found


@pytest.fixture
def house(tiny, server_of, a_row, wait_for) -> Iterator[Callable[..., Any]]:
    """Start a server of a project in a mode of ``on_log_failure``; ``first`` is code that runs before."""

    @contextmanager
    def started(mode: str, *, first: str = "") -> Iterator[House]:
        with (tiny / "perene.toml").open("a") as settings:
            settings.write(f'on_log_failure = "{mode}"\n')
        with server_of(tiny, first) as server:
            made = House(tiny, server, a_row, wait_for)
            with closing(made.client):
                yield made

    yield started


@pytest.fixture(params=["answer", "refuse"])
def mode(request) -> str:
    """Each mode of ``on_log_failure``."""
    return str(request.param)


def said(mode: str, house: House, answered: int) -> None:
    """In one mode all was answered, and counted as lost; in the other all was refused."""
    status, ready = house.in_trouble("journal")
    if mode == "answer":
        assert (status, ready["status"], ready["lost"]) == (200, "degraded", answered)
        assert house.refused == []
    else:
        assert (status, ready["status"], ready["lost"]) == (503, "not ready", 0)
        assert {refusal["code"] for refusal in house.refused} == {"not-logged"}


def test_a_disk_without_room_loses_what_it_counts(house, mode) -> None:
    """Proof: no file of the server may grow (RLIMIT_FSIZE), then each may again; the log holds what was answered before
    and after, once, and the rest was counted and alarmed, or refused.
    """
    with house(mode) as here:
        here.ask(5)
        before = list(here.answered)
        resource.prlimit(here.server.process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        here.ask(10)
        without = [id_ for id_ in here.answered if id_ not in before]
        said(mode, here, 20 if mode == "answer" else 0)
        resource.prlimit(here.server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        lost = here.wait_until_ready()["lost"]
        here.ask(5)
        alerts = here.wait_for(lambda: mode == "refuse" or "predictions-lost" in here.alerts()) and here.alerts()
        logged = here.logged()

    assert lost == len(without)
    assert logged == sorted({*here.answered} - {*without})
    assert alerts == ({"predictions-lost": f"20 predictions of {MODEL} were answered but not logged"} if lost else {})


def test_a_journal_that_is_full_gives_way_to_another(house, mode) -> None:
    """Proof: no journal may have more than 12 pages (PRAGMA max_page_count); log and losses are what was answered."""
    with house(mode, first=SMALL_JOURNALS) as here:
        for _ in range(8):
            here.ask(8, rows=6)
            here.wait_until_ready()
        lost = here.ready()[1]["lost"]
        logged = here.logged()

    assert len({*logged}) == len(logged)
    assert {*logged} <= {*here.answered}
    assert len(here.answered) - len(logged) == lost
    assert (lost > 0, here.refused == []) == ((True, True) if mode == "answer" else (False, False))
    assert len(logged) > 100


def test_a_full_database_keeps_nothing_from_being_answered(house) -> None:
    """Proof: the database takes not one page more, so given ids cannot be remembered; answers wait in journals, and
    are in the log once when it takes more, with their ids.
    """
    with house("refuse", first=FULL_DATABASE) as here:
        (here.folder / "full").touch()
        here.ask(100, rows=10, own=True)
        status, ready = here.in_trouble("drain")
        (here.folder / "full").unlink()
        here.wait_until_ready()
        again = here.client.predict([here.a_row(3, prediction_id="a prediction by number 0-3")])[1]["predictions"][0]
        logged = here.logged()

    assert (status, ready["status"], ready["lost"]) == (200, "degraded", 0)
    assert ready["troubles"]["drain"]["what"].startswith("there is no room left for the database")
    assert again["repeated"]
    assert logged == sorted(here.answered)
    assert len(logged) == 1000
    assert here.alerts() == {}


@contextmanager
def taken_away(folder: Path, how: str) -> Iterator[None]:
    """A folder is not where it was for a while: it is gone, or an empty folder or a file stands in its place."""
    away = folder.with_name(f"{folder.name}-away")
    folder.rename(away)
    if how == "a file":
        folder.write_text("no folder")
    if how == "an empty folder":
        folder.mkdir()
    yield
    if how == "a file":
        folder.unlink()
    if how == "an empty folder":
        folder.rmdir()
    away.rename(folder)


@pytest.mark.parametrize("how", ["gone", "a file", "an empty folder"])
def test_a_store_that_is_away_is_drained_into_when_it_is_back(house, how) -> None:
    """Proof: the lake's folder is away for a while; nothing is made in its place, each answer is in the log once."""
    with house("answer", first=NOTHING_HELD) as here:
        here.ask(5)
        here.wait_for(lambda: len(here.alerts()) == 0 and drained(here) >= 10)
        with taken_away(here.folder / ".perene" / "store", how):
            here.ask(150)
            status, ready = here.in_trouble("drain")
            alerts = here.alerts()
        here.wait_until_ready()
        logged = here.logged()

    assert (status, ready["status"], ready["lost"]) == (200, "degraded", 0)
    assert "drain-failed" in alerts
    assert logged == sorted(here.answered)
    assert here.alerts() == {}


@pytest.mark.parametrize(("mode", "how"), [("answer", "gone"), ("refuse", "gone"), ("refuse", "a file")])
def test_all_of_it_may_be_away_for_a_while(house, mode, how) -> None:
    """Proof: journal, lake and database are away; what was answered before and after is in the log once, the rest was
    counted or refused, and an id of the caller's own, which cannot be looked up, is refused.
    """
    with house(mode) as here:
        here.ask(30)
        before = list(here.answered)
        with taken_away(here.folder / ".perene", how):
            here.ask(10)
            without = [id_ for id_ in here.answered if id_ not in before]
            said(mode, here, 20 if mode == "answer" else 0)
            own, refusal = here.client.predict([here.a_row(prediction_id="own")])
            here.in_trouble("database")
        here.wait_until_ready()
        here.ask(30)
        logged = here.logged()

    assert (own, {"what", "why", "mend", "code"} <= {*refusal}) == (503, True)
    assert logged == sorted({*here.answered} - {*without})
    assert len(logged) == 120


def test_a_deleted_project_is_noticed(house) -> None:
    """Proof: .perene is deleted under a running server; it says so, and counts what it answers from then on."""
    with house("answer") as here:
        here.ask(5)
        shutil.rmtree(here.folder / ".perene", ignore_errors=True)
        here.ask(10)
        status, ready = here.in_trouble("journal", "database")

    assert (status, ready["status"], ready["lost"]) == (200, "degraded", 20)
    assert not (here.folder / ".perene").exists()


def test_many_clients_of_a_store_that_comes_and_goes(house) -> None:
    """Proof: under load the whole of it goes and comes five times; each answer is in the log once, or was counted."""
    with house("answer") as here:
        houses = [House(here.folder, here.server, here.a_row, here.wait_for) for _ in range(3)]
        stop = threading.Event()

        def load(mine: House) -> None:
            while not stop.wait(0.005):
                mine.ask()
            mine.client.close()

        threads = [threading.Thread(target=load, args=(mine,)) for mine in houses]
        for thread in threads:
            thread.start()
        for _ in range(5):
            with taken_away(here.folder / ".perene", "gone"):
                here.in_trouble("journal")
            here.wait_until_ready()
        stop.set()
        for thread in threads:
            thread.join()
        lost, logged = here.ready()[1]["lost"], here.logged()
    answered = [id_ for mine in houses for id_ in mine.answered]

    assert {*logged} <= {*answered}
    assert len({*logged}) == len(logged)
    assert len(answered) - len(logged) == lost > 0


def drained(here: House) -> int:
    """How many predictions are in the lake."""
    app = open_project(here.folder)
    found = app.lake.scan(MODEL, Log.PREDICTIONS).collect().height
    app.close()
    return found
