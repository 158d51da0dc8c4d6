"""Fault: SIGKILL of servers under load, fifty in a row on one store. Promise: laws 3 and 8 for every answer."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from perene.app import App, open_project
from perene.pipelines.drain import drain_orphans
from perene.storage.envelope import Log
from perene.storage.journal import journal_folder

MODEL = "parcel-hours"
LIVES = 50
CLIENTS = 3
DEEDS = {  # where a server kills itself, before or after the deed: module, name, at which of its calls at most
    "a write": ("perene.storage.journal", "Journal.write", 60),
    "a rotation": ("perene.storage.journal", "Journal._go_on", 3),
    "a drain": ("perene.server.keeper", "drain", 3),
    "the number of an append": ("perene.storage.ingests", "Ingests.begin", 3),
    "its rows in the lake": ("perene.storage.lake", "Lake._write", 3),
    "its end": ("perene.storage.ingests", "Ingests.commit", 3),
    "its given ids": ("perene.pipelines.drain", "_claim", 3),
    "its file's removal": ("perene.storage.journal", "JournalFile.unlink", 3),
}
DIE = """
import importlib, os, signal
place = importlib.import_module({module!r})
*owners, name = {name!r}.split(".")
for owner in owners:
    place = getattr(place, owner)
deed, calls = getattr(place, name), 0

def mortal(*arguments, **options):
    global calls
    calls += 1
    mine = calls
    if {when!r} == "before" and mine == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    done = deed(*arguments, **options)
    if {when!r} == "after" and mine == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return done

setattr(place, name, mortal)
"""


@dataclass
class Notes:
    """What clients were told, and what they asked under an id of their own without an answer."""

    answers: dict[str, tuple[float, int]] = field(default_factory=dict)  # by prediction id: prediction and version
    given: dict[str, dict[str, Any]] = field(default_factory=dict)  # the row of each id of a client's own
    again: dict[str, dict[str, Any]] = field(default_factory=dict)  # those of the last life
    truths: set[int] = field(default_factory=set)  # acknowledged
    turn: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, client, rows: list[dict[str, Any]]) -> None:
        """Send rows; note every id that is answered. What an id was answered before, it is answered again."""
        with self.turn:
            mine = {row["prediction_id"]: row for row in rows if "prediction_id" in row}
            self.given |= mine
            self.again |= mine
        status, answer = client.predict(rows)
        assert status == 200, answer
        assert len(answer["predictions"]) == len(rows)
        with self.turn:
            for told in answer["predictions"]:
                said = told["prediction"], told.get("model_version", answer["model_version"])
                before = self.answers.setdefault(told["prediction_id"], said)
                assert before == said
                assert before is said or told["repeated"]

    def ask_again(self, client) -> None:
        """Send every row of the last life that had an id of its own once more."""
        with self.turn:
            rows, self.again = list(self.again.values()), {}
        for part in (rows[i : i + 100] for i in range(0, len(rows), 100)):
            self.ask(client, part)


def load(client, notes: Notes, numbers: range, a_row) -> None:
    """Ask for predictions, and tell what came true, until the server is gone."""
    try:
        for number in numbers:
            own = {"prediction_id": f"own-{number}"} if number % 3 == 0 else {}
            notes.ask(client, [a_row(number, grams=100.0 + number % 977) | own, a_row(number + 1, grams=5.0)])
            if number % 7 == 0:
                truth = {"number": number, "sent_at": "2026-05-01T12:00:00Z", "hours": 0.5}
                assert client.post_truth([truth])[0] == 202
                with notes.turn:
                    notes.truths.add(number)
            time.sleep(0.002)  # two cores are to keep up with the rotations, not with the clients
    except (OSError, http.client.HTTPException, ValueError):
        client.close()


def repeat(client, notes: Notes) -> None:
    """Ask again what the last server was asked, as long as this one lives."""
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        notes.ask_again(client)
    client.close()


def deaths(dice: random.Random) -> list[str]:
    """How each server dies, in any order: the code that kills it at a deed, or "" for a kill at any instant."""
    at_deeds = [
        DIE.format(module=module, name=name, when=when, call=dice.randint(1 + (when == "before"), most))
        for module, name, most in DEEDS.values()
        for when in ("before", "after")
    ]
    found = at_deeds + [""] * (LIVES - len(at_deeds))
    dice.shuffle(found)
    return found


@pytest.mark.timeout(600)
def test_fifty_killed_servers_lose_and_double_nothing(tiny, server_of, a_row) -> None:
    """Proof: clients note every id that they are answered, and ask again under ids of their own; after the last death
    and the last drain each is in the log once, as it was answered, by whichever version.
    """
    seed = int(os.environ.get("PERENE_TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"PERENE_TEST_SEED={seed} kills at the same places again")  # noqa: T201 - shown when it fails
    dice, notes = random.Random(seed), Notes()
    settings = (tiny / "perene.toml").read_text()
    (tiny / "perene.toml").write_text(settings.replace("= 200", "= 40").replace("= 1.0", "= 0.3"))
    app = open_project(tiny)

    for life, death in enumerate(deaths(dice)):
        if life == LIVES // 2:
            app.train(MODEL, actor="test")
        with server_of(tiny, death) as server:
            if server.port:
                live(server, notes, life, a_row, instant=None if death else dice.uniform(0, 0.8))
            assert server.process.wait(60) == -signal.SIGKILL
    drained = drain_orphans(journal_folder(tiny), app.logs)

    assert drained.failures == []
    assert list(journal_folder(tiny).iterdir()) == []
    assert {version for _, version in notes.answers.values()} == {1, 2}
    assert_logged_once(app, notes)
    app.close()


def live(server, notes: Notes, life: int, a_row, *, instant: float | None) -> None:
    """One server's life under load, until it dies, or until this instant (seconds after it began to answer)."""

    numbers = [range((life * CLIENTS + n) * 100_000, (life * CLIENTS + n + 1) * 100_000, 2) for n in range(CLIENTS)]
    threads = [threading.Thread(target=load, args=(server.client(), notes, mine, a_row)) for mine in numbers]
    threads.append(threading.Thread(target=repeat, args=(server.client(), notes)))
    for thread in threads:
        thread.start()
    if instant is not None:
        time.sleep(instant)
        server.process.send_signal(signal.SIGKILL)
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def assert_logged_once(app: App, notes: Notes) -> None:
    """Each answered id stands once in the tables themselves, with the answer that was given; no id stands twice."""
    lines = app.lake.scan(MODEL, Log.PREDICTIONS).select("prediction_id", "final", "model_version").collect()
    logged = {id_: (final, version) for id_, final, version in lines.iter_rows()}
    said = app.lake.scan(MODEL, Log.TRUTHS).select("key").collect()["key"]

    assert len(logged) == lines.height
    assert {id_: logged.get(id_) for id_ in notes.answers} == notes.answers
    assert len(notes.answers) > 1000
    assert not said.is_duplicated().any()
    assert {f"[{number}]" for number in notes.truths} <= set(said)
