"""The drain: every line of a journal is in the lake once, whatever is repeated, killed or raced."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from perene.errors import StorageError
from perene.pipelines.drain import Drained, drain, drain_orphans, known_ids
from perene.pipelines.journaling import AnsweredRows, answered_rows
from perene.pipelines.truths import parse_truths, truths_entry
from perene.storage.database import Database
from perene.storage.journal import Entry, Journal, JournalFile, journal_files, read_open


def write(journal: Journal, *lines: AnsweredRows, model: str = "plain") -> None:
    journal.write([entry for line in lines for entry in line.entries(model)])


def ids(bench, name: str = "plain") -> list[str]:
    return sorted(bench.log(name)["prediction_id"])


def raw_ids(bench, name: str = "plain") -> list[str]:
    """Every line that lies in the table, also one that the log shows once only."""
    return sorted(bench.lake.scan(name, "predictions").collect()["prediction_id"])


def counted(done: Drained) -> tuple[int, int, int, dict[str, int]]:
    assert done.failures == []
    return done.files, done.predictions, done.truths, done.again


# ── once ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_closed_file_comes_into_the_lake_and_goes(bench, journal, a_line) -> None:
    """What is in the open file stays there."""
    write(journal, a_line("a"), a_line("b"))
    journal.rotate()
    write(journal, a_line("c"))

    done = drain(journal.closed(), bench.logs)

    assert counted(done) == (1, 2, 0, {})
    assert ids(bench) == ["a", "b"]
    assert journal.closed() == []
    waiting = read_open(bench.journals).entries("plain", "prediction")
    assert [answered_rows(entry.body).prediction_id for entry in waiting] == [["c"]]


def test_files_drained_twice_are_there_once(bench, journal, a_line) -> None:
    """A file that came back (a drain that was cut off before it went) adds no line and counts nothing."""
    write(journal, a_line("a"), a_line("b", given=True))
    journal.rotate()
    (file,) = journal.closed()
    kept = [(path, path.read_bytes()) for path in sorted(bench.journals.glob("w1-1.db*"))]
    first = drain([file], bench.logs)
    for path, content in kept:
        path.write_bytes(content)

    second = drain([file], bench.logs)

    assert counted(first) == (1, 2, 0, {})
    assert counted(second) == (1, 0, 0, {})
    assert raw_ids(bench) == ["a", "b"]
    assert bench.given() == [("plain", "b")]
    assert not file.path.exists()


def test_each_file_is_an_append_of_its_own(bench, journal, a_line) -> None:
    """Of one writer and of several, in whatever order."""
    other = Journal(bench.journals, "w2")
    for n in range(3):
        write(journal, a_line(f"a{n}"))
        write(other, a_line(f"b{n}"))
        journal.rotate()
        other.rotate()

    done = drain(journal.closed()[::-1] + other.closed(), bench.logs)
    other.close()

    assert counted(done) == (6, 6, 0, {})
    assert ids(bench) == ["a0", "a1", "a2", "b0", "b1", "b2"]


def test_models_and_kinds_of_one_file_go_their_own_ways(bench, journal, a_line, a_row) -> None:
    """Predictions of two models and ground truth, mixed, each into its log, with its parts."""
    now = bench.clock.now()
    truth = (
        {"prediction_id": "a", "hours": 2.5},
        {"number": 1, "owner": "ana", "sent_at": now.isoformat(), "hours": None},
    )
    said = parse_truths(bench.models["plain"], list(truth), now=now, recorded_at=now, source="http")
    write(journal, a_line("a"))
    journal.write([truths_entry("plain", said)])
    write(journal, a_line("w"), model="chances")

    done = bench.drain(journal)

    assert counted(done) == (1, 2, 2, {})
    assert (ids(bench), ids(bench, "chances")) == (["a"], ["w"])
    lines = bench.said("plain").sort("retracted")
    assert lines.select("prediction_id", "key", "label", "retracted", "source").rows() == [
        ("a", None, 2.5, False, "http"),
        (None, '[1,"ana"]', None, True, "http"),
    ]


CHILD = """
import os, sys
from perene.pipelines import drain as module
from perene.storage.journal import JournalFile

{stop}
import importlib.util
spec = importlib.util.spec_from_file_location("serving_bench", sys.argv[1])
bench_module = importlib.util.module_from_spec(spec)
sys.modules["serving_bench"] = bench_module
spec.loader.exec_module(bench_module)
from pathlib import Path
from perene.storage.database import Database
bench = bench_module.Bench(Path(sys.argv[2]), Database(sys.argv[3]))
done = bench.drain_dead()
print("drained", done.files, done.predictions, done.truths, done.again, done.failures)
"""
DEATHS = {
    "between append and claim": "module._claim = lambda *a: os._exit(9)",
    "between append and unlink": "JournalFile.unlink = lambda self: os._exit(9)",
    "between two appends": (
        "step = module._drain_predictions\n"
        "def once(*a):\n    step(*a)\n    os._exit(9)\n"
        "module._drain_predictions = once"
    ),
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_drain_that_is_killed_is_gone_on_with(bench, mortal, a_line, death) -> None:
    """Fault: the process ends between two deeds of a drain. Promise: exactly once. Proof: another drains the rest."""
    now = bench.clock.now()
    write(mortal, a_line("a"), a_line("b", given=True))
    (truth,) = parse_truths(
        bench.models["plain"], [{"prediction_id": "a", "hours": 1.0}], now=now, recorded_at=now, source="http"
    )
    mortal.write([truths_entry("plain", [truth])])
    write(mortal, a_line("c", given=True), model="chances")
    mortal.close()  # the server is gone: its file is an orphan
    conftest = Path(__file__).with_name("conftest.py")

    def child(stop: str) -> tuple[int, str]:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                CHILD.format(stop=stop),
                str(conftest),
                str(bench.folder),
                bench.database.engine.url.render_as_string(hide_password=False),
            ],
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    killed = child(DEATHS[death])
    left = len(journal_files(bench.journals))
    again = child("")

    assert (killed[0], left) == (9, 1), killed[1]
    assert again[0] == 0, again[1]
    assert "{} []" in again[1], "nothing was answered twice, and nothing failed"
    assert (raw_ids(bench), raw_ids(bench, "chances")) == (["a", "b"], ["c"])
    assert bench.said("plain").height == 1
    assert bench.given() == [("chances", "c"), ("plain", "b")]
    assert journal_files(bench.journals) == []


# ── ids that callers gave ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_given_id_is_claimed_once(bench, journal, a_line) -> None:
    """What two processes let through under one id: the log keeps the first that is drained, and the second is told."""
    other = Journal(bench.journals, "w2")
    write(journal, a_line("mine", given=True, grams=1.0))
    write(other, a_line("mine", given=True, grams=2.0), a_line("b", given=True))

    first = bench.drain(journal)
    second = bench.drain(other)
    other.close()

    assert (counted(first), counted(second)) == ((1, 1, 0, {}), (1, 1, 0, {"plain": 1}))
    assert bench.log("plain").sort("prediction_id").select("prediction_id", "final").rows() == [
        ("b", 5.0),
        ("mine", 1.0),
    ]
    assert bench.given() == [("plain", "b"), ("plain", "mine")]


def test_an_id_twice_in_one_file_is_kept_once(bench, journal, a_line) -> None:
    """The first line stands, and the other is told."""
    write(journal, a_line("mine", given=True, grams=1.0), a_line("mine", given=True, grams=2.0))

    done = bench.drain(journal)

    assert counted(done) == (1, 1, 0, {"plain": 1})
    assert bench.log("plain")["final"].to_list() == [1.0]


def test_models_have_ids_of_their_own(bench, journal, a_line) -> None:
    """One id may stand for a prediction of each."""
    write(journal, a_line("mine", given=True))
    write(journal, a_line("mine", given=True), model="chances")

    assert counted(bench.drain(journal)) == (1, 2, 0, {})
    assert bench.given() == [("chances", "mine"), ("plain", "mine")]


def test_ids_that_perene_made_are_not_remembered(bench, journal, a_line) -> None:
    """They cannot come again."""
    write(journal, a_line("made"))
    bench.drain(journal)

    assert bench.given() == []


def test_many_given_ids_are_known_with_their_rows(bench, journal, a_line) -> None:
    """More than one question to the database can hold; each with its row's digest and its day."""
    lines = [a_line(f"id-{n}", number=n, given=True) for n in range(1203)]
    write(journal, *lines)
    bench.drain(journal)

    found = known_ids(bench.database, "plain", {line.prediction_id[0] for line in lines} | {"unknown"})

    assert {id_: [known.row_digest] for id_, known in found.items()} == {
        n.prediction_id[0]: n.row_digest for n in lines
    }
    assert {known.day for known in found.values()} == {bench.log("plain")["day"][0]}


@pytest.mark.parametrize(("entries", "lines", "rests"), [(1100, 1, 2), (1, 2100, 0), (5, 500, 2)])
def test_a_drain_rests_between_its_parts(bench, journal, a_line, entries, lines, rests) -> None:
    """Others wait for a thousand lines at most, whether those came alone or together; at its end there is no rest."""
    rested: list[int] = []
    for n in range(entries):
        journal.write(a_line(f"p{n}").take([0] * lines).entries("plain"))
    journal.rotate()

    done = drain(journal.closed(), bench.logs, rest=lambda: rested.append(1))

    assert counted(done) == (1, entries * lines, 0, {})
    assert len(rested) == rests


def test_two_drains_at_once_bring_each_line_once(bench, mortal, a_line, beside) -> None:
    """Processes that drain one dead server's files at the same moment: one does it, the other finds nothing."""
    for n in range(4):
        write(mortal, a_line(f"a{n}", given=True))
        mortal.rotate()
    mortal.close()
    gate, done = threading.Barrier(3), []
    others = [beside(bench.database) for _ in range(3)]

    def look(database: Database) -> None:
        mine = type(bench)(bench.folder, database)
        gate.wait()
        done.append(drain_orphans(mine.journals, mine.logs))

    threads = [threading.Thread(target=look, args=(database,)) for database in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(one.failures == [] and one.again == {} for one in done)
    assert sum(one.files for one in done) == sum(one.predictions for one in done) == 4
    assert raw_ids(bench) == ["a0", "a1", "a2", "a3"]


# ── what fails ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_with_lines_of_an_unknown_model_is_kept(bench, journal, a_line) -> None:
    """What can be brought in is, once; the file stays until its model is declared again."""
    write(journal, a_line("a", given=True), a_line("b"))
    write(journal, a_line("x"), model="chances")
    chances = bench.models.pop("chances")

    first, second = bench.drain(journal), bench.drain(journal)
    bench.models["chances"] = chances
    third = bench.drain(journal)

    for done in (first, second):
        (error,) = done.failures
        assert isinstance(error, StorageError)
        assert "a model that the project lacks: chances" in error.what
        assert done.files == 0
    assert (first.predictions, second.predictions, second.again) == (2, 0, {})
    assert counted(third) == (1, 1, 0, {})
    assert ids(bench) == ["a", "b"]
    assert ids(bench, "chances") == ["x"]
    assert journal.closed() == []


@pytest.mark.parametrize("spoil", ["body", "file"])
def test_a_file_that_cannot_be_read_stops_no_other(bench, journal, a_line, spoil) -> None:
    """It is kept and reported; those beside it are drained."""
    if spoil == "body":
        journal.write([Entry(kind="prediction", model="plain", lines=1, id=None, body=b"\xc1")])
    else:
        write(journal, a_line("a"))
    journal.rotate()
    (bad,) = journal.closed()
    if spoil == "file":
        bad.path.write_bytes(b"no database" * 1000)
    write(journal, a_line("b"))
    journal.rotate()

    done = drain(journal.closed(), bench.logs)

    assert (done.files, done.predictions, len(done.failures)) == (1, 1, 1)
    assert "w1-1.db" in f"{done.failures[0]}"
    assert ids(bench) == ["b"]
    assert journal.closed() == [bad]


def test_a_file_that_does_not_fit_its_log_is_kept(bench, journal, a_line) -> None:
    """A line that the Row of today cannot hold is nobody's to drop."""
    line = a_line("a")
    line.request["number"] = "not a number"
    write(journal, line)

    done = bench.drain(journal)

    assert (done.files, len(done.failures)) == (0, 1)
    assert len(journal.closed()) == 1
    assert bench.log("plain").height == 0


def test_no_journals_are_nothing_to_do(bench) -> None:
    """A folder that is not there yet is not made."""
    assert counted(drain_orphans(bench.journals, bench.logs)) == (0, 0, 0, {})
    assert counted(drain([JournalFile("w", 1, bench.journals / "w-1.db")], bench.logs)) == (1, 0, 0, {})
    assert not bench.journals.exists()
