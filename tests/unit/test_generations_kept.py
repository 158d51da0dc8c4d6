"""Where stored predictions lie: files beside SQLite, tables in PostgreSQL, and the same laws for both."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from perene.errors import StorageError
from perene.storage.database import Database
from perene.storage.generations import GenerationGone, GenerationStore, Kept, open_generations

WRITER = """
import sys
from pathlib import Path
from perene.storage.database import Database
from perene.storage.generations import open_generations
store = open_generations(Database(sys.argv[1]), Path(sys.argv[2]))
writing = store.begin("m", 1)
writing.add(["a"], [1], [b"half"])
print("begun", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def store(database: Database, tmp_path: Path) -> GenerationStore:
    """A store of either kind, without a generation; what a test leaves in PostgreSQL is dropped by the next."""
    made = open_generations(database, tmp_path)
    for number in (1, 2):
        made.remove("m", number)
    return made


def written(store: GenerationStore, number: int, *rows: tuple[str, int, bytes]) -> int:
    with closing(store.begin("m", number)) as writing:
        for row in rows:
            writing.add(*([part] for part in row))
        return writing.finish()


def test_what_is_written_is_found_by_key(store) -> None:
    """A finished generation gives back what was added of the keys that it holds, and nothing of others."""
    keys = [f'[{n},"ä"]' for n in range(2000)]
    with closing(store.begin("m", 1)) as writing:
        writing.add(keys, list(range(2000)), [b"%d\0" % n for n in range(2000)])
        count = writing.finish()

    with closing(store.open("m", 1)) as reading:
        found = reading.find([*keys[::2], "nobody"])

    assert count == 2000
    assert found == {key: Kept(n, b"%d\0" % n) for n, key in enumerate(keys) if n % 2 == 0}


def test_the_newest_event_of_a_key_is_found(store) -> None:
    """Of several rows of a key the newest event wins, of equal ones the one that was added last."""
    count = written(store, 1, ("a", 5, b"new"), ("a", 3, b"old"), ("b", 1, b"first"), ("b", 1, b"second"))

    with closing(store.open("m", 1)) as reading:
        found = reading.find(["a", "b"])

    assert (count, found) == (2, {"a": Kept(5, b"new"), "b": Kept(1, b"second")})


def test_what_is_not_finished_is_not_there(store) -> None:
    """A load that ends before its end leaves nothing to read, and its number can be used again."""
    with closing(store.begin("m", 1)) as writing:
        writing.add(["a"], [1], [b"half"])
        assert store.is_written("m", 1)

    assert not store.is_written("m", 1)
    with pytest.raises(GenerationGone):
        store.open("m", 1)
    assert written(store, 1, ("a", 1, b"whole")) == 1


def test_an_empty_generation_can_be_read(store) -> None:
    """Nobody to predict is an answer too."""
    assert written(store, 1) == 0
    with closing(store.open("m", 1)) as reading:
        assert reading.find(["a"]) == {}


def test_a_number_is_written_once_at_a_time(store) -> None:
    """While a process writes a generation, nobody else begins it."""
    with closing(store.begin("m", 1)), pytest.raises(StorageError, match="another process writes"):
        store.begin("m", 1)


def test_a_reader_stays_undisturbed_by_a_load_and_a_removal(store) -> None:
    """Look-ups in one generation go on while another is written; a removed one says that it is gone, or still reads."""
    written(store, 1, ("a", 1, b"one"))
    with closing(store.open("m", 1)) as reading:
        with closing(store.begin("m", 2)) as writing:
            writing.add(["a"], [1], [b"two"])
            before = reading.find(["a"])
            writing.finish()
        store.remove("m", 1)
        store.remove("m", 1)
        try:
            after = reading.find(["a"])
        except GenerationGone:
            after = before

    assert before == after == {"a": Kept(1, b"one")}
    with pytest.raises(GenerationGone):
        store.open("m", 1)


def test_threads_share_a_reader(store) -> None:
    """A server looks up in several threads at once; each gets its own answer."""
    written(store, 1, *((str(n), n, b"%d" % n) for n in range(50)))
    wrong: list[int] = []

    def ask(reading, first: int) -> None:
        for n in range(first, 50, 4):
            if reading.find([str(n)]) != {str(n): Kept(n, b"%d" % n)}:
                wrong.append(n)

    with closing(store.open("m", 1)) as reading:
        threads = [threading.Thread(target=ask, args=(reading, n)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert wrong == []


def test_a_killed_writer_is_told_from_a_living_one(store, database, tmp_path, wait_for) -> None:
    """kill -9 in the middle of a load: the lock goes with the process, nothing can be read, and the rubbish goes."""
    url = database.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", WRITER, url, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        lived = store.is_written("m", 1)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_for(lambda: not store.is_written("m", 1))

    assert lived
    store.remove("m", 1)
    assert list((tmp_path / ".perene").rglob("1.*")) == []
    assert written(store, 1, ("a", 2, b"whole")) == 1
    with closing(store.open("m", 1)) as reading:
        assert reading.find(["a"]) == {"a": Kept(2, b"whole")}
