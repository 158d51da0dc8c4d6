"""The journal: one transaction per write, files that rotate, locks that tell the living from the dead."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from perene.errors import StorageError
from perene.storage.journal import Entry, Journal, journal_files, orphans, read_open


def prediction(body: str, model: str = "m", *, id_: str | None = None, lines: int = 1) -> Entry:
    return Entry(kind="prediction", model=model, lines=lines, id=id_, body=body.encode())


@pytest.fixture
def journal(tmp_path: Path):
    journal = Journal(tmp_path, "w1")
    yield journal
    journal.close()


def test_what_is_written_can_be_read_at_once(journal: Journal, tmp_path: Path) -> None:
    """A reader finds an entry of an open journal by its given id as soon as write() returns."""
    journal.write([prediction("1"), prediction("2"), prediction("3", id_="c")])

    assert read_open(tmp_path).find_given("m", ["b", "c", "missing"]) == {"c": b"3"}


def test_entries_keep_their_order(journal: Journal, tmp_path: Path) -> None:
    """Entries come back as they were written, given ids and others, models and kinds in any order. Lines count."""
    entries = [
        prediction("1", lines=3), prediction("2", id_="b"), prediction("3"), prediction("5", model="other"),
        Entry(kind="truth", model="m", lines=2, id=None, body=b"6"), prediction("7"),
    ]  # fmt: skip
    journal.write(entries[:4])
    journal.write(entries[4:])

    (file,) = journal_files(tmp_path)
    assert file.entries() == entries
    assert journal.rows == 9


def test_ids_belong_to_their_model(journal: Journal, tmp_path: Path) -> None:
    """Two models may use one id."""
    journal.write([prediction("1", id_="a"), prediction("2", model="other", id_="a")])

    assert read_open(tmp_path).find_given("other", ["a"]) == {"a": b"2"}


def test_a_truth_is_not_found_as_a_prediction(journal: Journal, tmp_path: Path) -> None:
    """A ground truth that names a prediction does not stand for it."""
    journal.write([Entry(kind="truth", model="m", lines=1, id="a", body=b"1")])

    assert read_open(tmp_path).find_given("m", ["a"]) == {}
    assert [e.body for e in read_open(tmp_path).entries("m", "truth")] == [b"1"]


def test_the_first_of_one_id_counts(journal: Journal, tmp_path: Path) -> None:
    """Of two entries with one id, the reader gives the first, over files too."""
    journal.write([prediction("first", id_="a")])
    journal.rotate()
    journal.write([prediction("second", id_="a")])

    assert read_open(tmp_path).find_given("m", ["a"]) == {"a": b"first"}


def test_a_rotation_closes_a_file_and_keeps_its_entries(journal: Journal) -> None:
    """A closed file holds what was written before the rotation, in order, and has a number of its own."""
    journal.write([prediction(str(i)) for i in range(5)])
    journal.rotate()
    journal.write([prediction("later")])

    (closed,) = journal.closed()
    assert [e.body for e in closed.entries()] == [b"0", b"1", b"2", b"3", b"4"]
    assert closed.source == "journal:w1:1"
    assert journal.rows == 1


def test_nobody_waits_while_a_left_file_is_written_through(journal: Journal, tmp_path: Path) -> None:
    """A rotation only turns to the next file; the one before is closed beside whoever writes at that moment."""
    wal = tmp_path / "w1-1.db-wal"
    journal.write([prediction("a")])
    journal.rotate()
    left = wal.exists()

    with journal.turn():  # as a write holds it
        closing = threading.Thread(target=journal.closed)
        closing.start()
        deadline = time.monotonic() + 20
        while wal.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        is_written_through, waits = not wal.exists(), closing.is_alive()
    closing.join()

    assert (left, is_written_through, waits) == (True, True, True)
    assert [file.number for file in journal.closed()] == [1]


def test_an_empty_file_is_not_rotated(journal: Journal) -> None:
    """A quiet server makes no files."""
    journal.rotate()

    assert journal.closed() == []


def test_an_unlinked_file_leaves_nothing(journal: Journal, tmp_path: Path) -> None:
    """After a drain neither the file nor SQLite's companions lie there, even if somebody read it."""
    journal.write([prediction("a")])
    journal.rotate()
    read_open(tmp_path).find_given("m", ["a"])
    for file in journal.closed():
        file.unlink()

    assert sorted(p.name for p in tmp_path.glob("w1-1*")) == []


def test_a_file_that_is_gone_has_no_entries(journal: Journal) -> None:
    """A reader that comes after the drain finds nothing and fails not."""
    journal.write([prediction("a")])
    journal.rotate()
    (file,) = journal.closed()
    file.unlink()

    assert file.entries() == []


def test_many_threads_lose_nothing(journal: Journal, tmp_path: Path) -> None:
    """Writes and rotations from many threads keep every entry exactly once."""

    def write(name: int) -> None:
        for i in range(50):
            journal.write([prediction(f"{name}-{i}")])
            if i % 10 == name:
                journal.rotate()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    ids = [e.body.decode() for e in read_open(tmp_path).entries("m", "prediction")]
    assert sorted(ids) == sorted(f"{n}-{i}" for n in range(4) for i in range(50))


def test_fsync_is_synchronous_full(tmp_path: Path) -> None:
    """durability="fsync" asks SQLite to sync every commit; "group" does not."""
    for durability, expected in (("fsync", 2), ("group", 1)):
        journal = Journal(tmp_path, durability, durability=durability)
        assert journal._connection.execute("PRAGMA synchronous").fetchone() == (expected,)
        journal.close()


def test_a_journal_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """A failed write raises StorageError and leaves nothing behind of its transaction."""
    journal = Journal(tmp_path, "w1")
    journal.write([prediction("kept")])
    journal._connection.execute("PRAGMA query_only = 1")

    with pytest.raises(StorageError, match="journal"):
        journal.write([prediction("refused")])

    journal._connection.execute("PRAGMA query_only = 0")
    journal.write([prediction("after")])
    assert [e.body for e in read_open(tmp_path).entries("m", "prediction")] == [b"kept", b"after"]
    journal.close()


def test_a_living_writer_is_no_orphan(journal: Journal, tmp_path: Path) -> None:
    """Nobody takes the files of a process that lives for a dead one's; a second writer of its name is refused."""
    journal.write([prediction("a")])

    with orphans(tmp_path) as files:
        assert files == []
    with pytest.raises(StorageError, match="living"):
        Journal(tmp_path, "w1")


def test_what_a_closed_journal_leaves_is_found(tmp_path: Path) -> None:
    """A journal that ends with entries leaves them as an orphan; an empty one leaves nothing at all."""
    with_entries, empty = Journal(tmp_path, "full"), Journal(tmp_path, "empty")
    with_entries.write([prediction("a")])
    with_entries.close()
    empty.close()

    with orphans(tmp_path) as files:
        assert [f.source for f in files] == ["journal:full:1"]
        for file in files:
            file.unlink()
    assert list(tmp_path.iterdir()) == []


def test_an_orphan_is_held_by_one(tmp_path: Path) -> None:
    """While one process drains a dead writer's files, another sees none."""
    journal = Journal(tmp_path, "dead")
    journal.write([prediction("a")])
    journal.close()

    with orphans(tmp_path) as first, orphans(tmp_path) as second:
        assert (len(first), len(second)) == (1, 0)


CHILD = """
import sys, time
from pathlib import Path
from perene.storage.journal import Entry, Journal
journal = Journal(Path(sys.argv[1]), "child")
for i in range(1000000):
    journal.write([Entry(kind="prediction", model="m", lines=1, id=None, body=str(i).encode() + b" " * 200)])
    print(i, flush=True)
    if i % 700 == 699:
        journal.rotate()
"""


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """Fault: SIGKILL while it writes. Promise: what write() returned for is there. Proof: every printed id is found."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    printed = [child.stdout.readline().strip() for _ in range(1500)]
    os.kill(child.pid, signal.SIGKILL)
    printed += child.stdout.read().split()
    child.wait()
    child.stdout.close()

    with orphans(tmp_path) as files:
        ids = [e.body.decode().strip() for f in files for e in f.entries()]
    assert len(ids) == len(set(ids))
    assert set(printed) <= set(ids)
    assert len(journal_files(tmp_path)) >= 3


def test_a_file_that_is_no_journal_is_an_error(tmp_path: Path) -> None:
    """A file that cannot be read is never taken for an empty one."""
    (tmp_path / "w-1.db").write_bytes(b"no database" * 1000)

    with pytest.raises(StorageError, match="cannot be read"):
        read_open(tmp_path).find_given("m", ["a"])


# ── a journal that is taken away, or has no room ─────────────────────────────────────────────────────────────────────


def ids(folder: Path) -> list[str]:
    return [entry.body.decode() for entry in read_open(folder).entries("m", "prediction")]


def test_a_journal_is_closed_once(tmp_path: Path) -> None:
    """A second close does nothing; a write after it says that it failed."""
    journal = Journal(tmp_path, "w1")
    journal.close()
    journal.close()

    with pytest.raises(StorageError):
        journal.write([prediction("late")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("by", ["write", "rotate", "check", "close"])
def test_what_a_deleted_file_held_goes_on_in_the_next(tmp_path: Path, by: str) -> None:
    """Its folder is there, the file is not: whatever is done first notices it, and no acknowledged entry is lost."""
    journal = Journal(tmp_path, "w1")
    journal.write([prediction("a"), prediction("b")])
    for path in tmp_path.iterdir():
        path.unlink()

    getattr(journal, by)(*([[prediction("c")]] if by == "write" else []))
    found = ids(tmp_path)
    journal.close()

    assert found == ["a", "b", "c"][: 3 if by == "write" else 2]
    assert next((file.writer, file.number) for file in journal_files(tmp_path)) == ("w1", 2)


def test_a_folder_that_is_away_takes_nothing(tmp_path: Path) -> None:
    """What is not acknowledged is nowhere, what was is there when the folder is back, and nothing is made meanwhile."""
    project = tmp_path / "project"
    journal = Journal(project / "journal", "w1")
    journal.write([prediction("before")])
    project.rename(tmp_path / "away")
    with pytest.raises(StorageError):
        journal.write([prediction("lost")])
    with pytest.raises(StorageError):
        journal.rotate()
    failure, made = journal.check(), project.exists()
    (tmp_path / "away").rename(project)
    again = journal.check()
    journal.write([prediction("after")])
    found = ids(project / "journal")
    journal.close()

    assert failure is not None
    assert (made, again) == (False, None)
    assert found == ["before", "after"]


def test_a_file_that_comes_back_is_not_drained_twice(tmp_path: Path) -> None:
    """What went on in another file is not in the old one any more, should that one turn up again."""
    journal = Journal(tmp_path / "journal", "w1")
    journal.write([prediction("a")])
    (tmp_path / "journal").rename(tmp_path / "away")
    journal.write([prediction("b")])
    for path in (tmp_path / "away").glob("w1-1.db*"):
        path.rename(tmp_path / "journal" / path.name)
    found = ids(tmp_path / "journal")
    journal.close()

    assert found == ["a", "b"]


def test_a_deleted_lock_is_taken_again(tmp_path: Path) -> None:
    """Without its lock a living writer would be drained as a dead one."""
    journal = Journal(tmp_path, "w1")
    journal.write([prediction("a")])
    (tmp_path / "w1.lock").unlink()

    failure = journal.check()

    with orphans(tmp_path) as files:
        assert (failure, files) == (None, [])
    journal.close()


def test_a_lock_that_another_has_is_a_failure(tmp_path: Path) -> None:
    """While another process holds a lock that was deleted, the journal says that something is wrong, then heals."""
    journal = Journal(tmp_path, "w1")
    (tmp_path / "w1.lock").unlink()
    with orphans(tmp_path):
        failure = journal.check()
    healed = journal.check()
    journal.close()

    assert failure is not None
    assert "another process has it" in failure.what
    assert healed is None


def test_a_full_journal_gives_way_to_a_new_file(tmp_path: Path) -> None:
    """A write that finds no room is nowhere; the next check begins a file with room, and the full one is kept."""
    journal = Journal(tmp_path, "w1")
    journal.write([prediction("a")])
    journal._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StorageError, match="the journal failed"):
        journal.write([prediction("b" * 50_000)])
    failed = journal.failure

    healed = journal.check()
    journal.write([prediction("c" * 50_000)])
    found = ids(tmp_path)
    journal.close()

    assert failed is not None
    assert (healed, found) == (None, ["a", "c" * 50_000])


def test_a_file_that_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room for a new file: the open one stays, and of the other nothing is left."""
    journal = Journal(tmp_path, "w1")
    journal.write([prediction("a")])
    monkeypatch.setattr("perene.storage.journal._SCHEMA", "PRAGMA max_page_count = 1; CREATE TABLE entry (x); COMMIT")
    with pytest.raises(StorageError):
        journal.rotate()
    left = sorted(path.name for path in tmp_path.glob("w1-2*"))
    monkeypatch.undo()
    journal.write([prediction("b")])
    found = ids(tmp_path)
    journal.close()

    assert (left, found) == ([], ["a", "b"])


def test_a_journal_whose_folder_is_gone_can_be_ended(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What it could not keep is said with its number."""
    journal = Journal(tmp_path / "project" / "journal", "w1")
    journal.write([prediction("a"), prediction("b")])
    shutil.rmtree(tmp_path / "project")

    journal.close()

    assert "journal_not_closed writer=w1 rows=2" in caplog.text
    with pytest.raises(sqlite3.ProgrammingError):
        journal._connection.execute("SELECT 1")


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_a_new_file_needs_no_rollback_journal(tmp_path: Path) -> None:
    """A process that is killed while it makes a file leaves nothing that a reader would have to roll back."""
    libc = ctypes.CDLL(None)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    libc.inotify_add_watch(watch, os.fsencode(tmp_path), 0x100)  # IN_CREATE
    journal = Journal(tmp_path, "w1")
    journal.write([prediction("a")])
    journal.rotate()
    journal.close()

    events, made, at = os.read(watch, 65536), [], 0
    while at < len(events):
        size = struct.unpack_from("iIII", events, at)[3]
        made.append(events[at + 16 : at + 16 + size].rstrip(b"\0").decode())
        at += 16 + size
    os.close(watch)
    assert made == ["w1.lock"] + [f"w1-{n}.db{more}" for n in (1, 2) for more in ("", "-wal", "-shm")]
