"""Fault: SIGKILL in the middle of a load. Promise: law 8, the generation before stays whole, the rubbish is swept."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from perene.app import App, open_project
from perene.records.generation import GenerationState

MODEL = "parcel-hours"
AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
LOADER = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
import polars as pl
from perene.app import open_project
def frames():
    for first in range(0, 10**9, 1000):
        sent = [datetime(2026, 5, 1, 12, tzinfo=UTC)] * 1000
        yield pl.DataFrame({"number": range(first, first + 1000), "sent_at": sent, "grams": [900.0] * 1000})
        time.sleep(0.01)
open_project(Path(sys.argv[1])).store("parcel-hours", frames(), actor="doomed")
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def project(request, tiny: Path, tmp_path: Path) -> Path:
    """The tiny project with a live version, on each kind of database."""
    if request.param == "sqlite":
        return tiny
    folder = Path(shutil.copytree(tiny, tmp_path / "on-postgres", ignore=shutil.ignore_patterns(".perene")))
    settings = folder / "perene.toml"
    url = request.getfixturevalue("postgres").create()
    settings.write_text(re.sub(r"database = .*", f'database = "{url}"', settings.read_text()))
    with closing(open_project(folder)) as app:
        app.train(MODEL, actor="test")
    return folder


def rows(grams: float, count: int = 200) -> pl.DataFrame:
    return pl.DataFrame({"number": range(count), "sent_at": [AT] * count, "grams": [grams] * count})


def killed_load(app: App, folder: Path, wait_for: Callable[..., object]) -> int:
    """Begin a load in another process and kill it when some of it is written; its number."""
    process = subprocess.Popen([sys.executable, "-c", LOADER, str(folder)])

    def begun() -> int | None:
        newest = app.generations.list(MODEL, limit=1)
        is_at_work = newest and newest[0].actor == "doomed" and newest[0].rows > 3000
        return newest[0].id if is_at_work else None

    try:
        number = wait_for(begun)
        assert app.shelf.store.is_written(MODEL, number)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    return int(number)


def test_a_killed_load_leaves_the_old_one_whole(project, wait_for) -> None:
    """Proof: after the kill every key is answered from the generation before; the next load takes the rubbish away."""
    with closing(open_project(project)) as app:
        app.store(MODEL, rows(100.0), actor="test")
        before = app.lookup(MODEL, list(range(200)))
        number = killed_load(app, project, wait_for)
        after = app.lookup(MODEL, list(range(200)))
        wait_for(lambda: not app.shelf.store.is_written(MODEL, number))
        app.store(MODEL, rows(500.0), actor="test")
        newest = app.lookup(MODEL, list(range(200)))
        states = {load.id: load.state for load in app.generations.list(MODEL)}

        assert after.drop("prediction_id").equals(before.drop("prediction_id"))
        assert newest["prediction"].n_unique() == 1
        assert newest["prediction"][0] > before["prediction"][0]
        assert states[number] is GenerationState.FAILED
        assert sorted(states.values()) == sorted([GenerationState.FAILED, *[GenerationState.READY] * 2])
        assert left_of(app, project) == 2


def left_of(app: App, folder: Path) -> int:
    """How many generations lie in the store."""
    if app.database.dialect == "sqlite":
        return len(list((folder / ".perene" / "stored" / MODEL).iterdir()))
    with app.database.read() as connection:
        query = "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'stored\\_%'"
        return int(connection.exec_driver_sql(query.replace("%", "%%")).scalar_one())


def test_look_ups_go_on_during_a_load_that_is_killed(project, wait_for, server_of, a_row) -> None:
    """Proof: a server answers every look-up from before the load until after the kill, and never half of a load."""
    with closing(open_project(project)) as app:
        app.store(MODEL, rows(100.0), actor="test")
        expected = set(app.lookup(MODEL, list(range(200)))["prediction"].to_list())
        with server_of(project) as server, closing(server.client()) as client:
            seen: list[tuple[int, set[float]]] = []
            stop = threading.Event()

            def ask() -> None:
                while not stop.is_set():
                    status, answer = client.ask("POST", f"/v1/models/{MODEL}/lookup", {"keys": list(range(200))})
                    seen.append((status, {p["prediction"] for p in answer.get("predictions", [])}))

            thread = threading.Thread(target=ask)
            thread.start()
            killed_load(app, project, wait_for)
            enough = len(seen) + 5
            wait_for(lambda: len(seen) > enough)
            stop.set()
            thread.join()

    assert {status for status, _ in seen} == {200}
    assert {frozenset(predictions) for _, predictions in seen} == {frozenset(expected)}
