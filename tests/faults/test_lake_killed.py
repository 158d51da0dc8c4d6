"""Fault: SIGKILL of a process that appends to the lake. Promise: law 8, no append is lost, none is there twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from perene.repositories.models import Models
from perene.storage.database import Database
from perene.storage.envelope import Log
from perene.storage.lake import Lake

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WRITER = """
import os, signal, sys
from datetime import UTC, date, datetime
import polars as pl
from perene.storage.database import Database
from perene.storage.lake import Lake

url, root, deed, *rest = sys.argv[1:]
lake = Lake(root, Database(url), lambda: datetime.now(UTC))

def append(source):
    frame = pl.DataFrame({"key": [source] * 3, "day": [date(2026, 1, 1 + i) for i in range(3)]})
    return lake.append("m", "examples", frame, source=source)

def killed_after(thing, name):
    deed = getattr(thing, name)
    def killing(*args, **options):
        deed(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(thing, name, killing)

if deed == "die-after":
    killed_after(*{"begin": (lake.ingests, "begin"), "write": (lake, "_write"), "commit": (lake.ingests, "commit")}[rest[0]])
    append("s")
elif deed == "go-on":
    number = int(rest[0])
    while True:
        append(str(number))
        print(number, flush=True)
        number += 1
        if number % 4 == 0:
            lake.compact("m", "examples")
elif deed == "race":
    print("ready", flush=True)
    sys.stdin.readline()
    print(*(append(str(i)) for i in range(10)), flush=True)
"""  # noqa: E501 - a line of the child's


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    database = Database(f"sqlite:///{tmp_path / 'perene.db'}")
    database.migrate()
    Models(database).register("m", {}, NOW)
    yield Lake(str(tmp_path / "store"), database, lambda: NOW)
    database.close()


@contextmanager
def writer(folder: Path, deed: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that appends; it is dead in any case when this ends."""
    place = [f"sqlite:///{folder / 'perene.db'}", str(folder / "store")]
    command = [sys.executable, "-c", WRITER, *place, deed, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def append(lake: Lake, source: str) -> int:
    frame = pl.DataFrame({"key": [source] * 3, "day": [date(2026, 1, 1 + i) for i in range(3)]})
    return lake.append("m", Log.EXAMPLES, frame, source=source)


def copies(lake: Lake, **question: object) -> dict[str, int]:
    """How many rows each source has in the answer."""
    found = lake.scan("m", Log.EXAMPLES, **question).collect()
    return {} if found.is_empty() else dict(found.group_by("key").len().iter_rows())


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("step", ["begin", "write", "commit"])
def test_a_repeat_after_death_behind_any_step_appends_once(
    lake: Lake, tmp_path: Path, step: str, settled: bool
) -> None:
    """Proof: a process kills itself behind each of the three steps; a repeat leaves one copy, settled or not."""
    with writer(tmp_path, "die-after", step) as process:
        assert process.wait(60) == -signal.SIGKILL
    assert copies(lake) == ({"s": 3} if step == "commit" else {})

    if settled:
        lake.settle("m", Log.EXAMPLES)
    number = append(lake, "s")

    assert copies(lake) == {"s": 3}
    assert append(lake, "s") == lake.horizon("m", Log.EXAMPLES) == number
    assert lake.last_touched("m", Log.EXAMPLES, upto=number) == {date(2026, 1, 1 + i): number for i in range(3)}


def test_deaths_at_random_instants_lose_and_double_nothing(lake: Lake, tmp_path: Path) -> None:
    """Proof: processes that append, and compact, are killed at random instants; every append is then there once."""
    acknowledged, following = set[str](), 0
    for _ in range(5):
        with writer(tmp_path, "go-on", str(following)) as process:
            assert process.stdout is not None
            for _ in range(random.randrange(1, 8)):
                acknowledged.add(process.stdout.readline().strip())
            time.sleep(random.uniform(0, 0.06))
            process.kill()
            acknowledged |= {*process.stdout.read().splitlines()}
        following = max(map(int, acknowledged)) + 1
        answer = copies(lake)
        assert acknowledged <= set(answer)
        assert set(answer.values()) == {3}

    for source in range(following + 2):
        append(lake, str(source))
    lake.settle("m", Log.EXAMPLES)
    lake.vacuum("m", Log.EXAMPLES, keep=timedelta(0))

    assert copies(lake) == {str(source): 3 for source in range(following + 2)}


def test_racing_processes_append_once(lake: Lake, tmp_path: Path) -> None:
    """Proof: two processes append ten sources at one time; they are told one number for each, all is there once."""
    with writer(tmp_path, "race") as one, writer(tmp_path, "race") as other:
        for process in (one, other):
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [process.stdout.readline().split() for process in (one, other) if process.stdout]

    assert told[0] == told[1]
    assert len(set(told[0])) == 10
    assert copies(lake) == {str(source): 3 for source in range(10)}
