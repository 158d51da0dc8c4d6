"""Two real processes answer, hear, drain and tidy at the same moments, while versions are cut and read."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from perene.pipelines.drain import Logs, drain, drain_orphans
from perene.pipelines.journaling import AnsweredRows, instant, row_digest
from perene.pipelines.truths import Truth, truths_entry
from perene.storage.envelope import Log
from perene.storage.journal import Journal

ROUNDS = 8
TERMS = {"examples": "log", "source": None}
NOW = datetime.fromisoformat("2013-01-31T12:00:00+00:00")  # the window is of 17 to 29 January
OTHER = """
import importlib.util, sys
from pathlib import Path

def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

from perene.clock import machine_clock
from perene.storage.database import Database
from perene.storage.lake import Lake

folder, url = Path(sys.argv[2]), sys.argv[3]
benches, tests = load("data_bench", Path(sys.argv[1]) / "conftest.py"), load("two", Path(sys.argv[1]) / "test_two_processes.py")
database = Database(url)
bench = benches.Bench(folder=folder, database=database, lake=Lake(f"{folder}/store", database, machine_clock))
bench.declare(**tests.TERMS)
tests.work(bench, sys.argv[4])
"""  # noqa: E501 - a line of the other process


def work(bench: Any, deed: str) -> None:
    """What the other process does."""
    if deed == "read":
        for version in bench.datasets.list("trip-late"):
            say(f"{version.version} {digest(bench.datasets.read(bench.model, version))}\n")
        return
    process = Process(bench, deed)
    say("ready\n")
    for line in sys.stdin:
        process.answer(int(line))
        for log in Log:
            bench.lake.compact("trip-late", log)
            bench.lake.vacuum("trip-late", log, keep=timedelta(0))
        say(line)


def say(text: str) -> None:
    """Tell the test."""
    sys.stdout.write(text)
    sys.stdout.flush()


class Process:
    """A process that answers: its name, and its journal. The last answers of each are left to whoever comes after."""

    def __init__(self, bench: Any, name: str) -> None:
        self.bench, self.name = bench, name
        self.journal = Journal(bench.folder / "journal", name)
        self.logs = Logs(
            models={"trip-late": bench.model}, predictions=bench.predictions, truths=bench.truths,
            database=bench.database,
        )  # fmt: skip

    def answer(self, number: int) -> None:
        """Answer a trip of one's own, and one that the other process is asked too; hear both outcomes, and drain."""
        at = self.bench.instant(f"2013-01-{18 + number:02} 06:00")
        for rider, id in ((self.name, f"{self.name}{number}"), ("both", f"both{number}")):
            row = {"rider": rider, "starts": instant(at), "miles": 1.0 + len(self.name), "note": None}
            rows = AnsweredRows(
                prediction_id=[id], request_id=[""], position=[0], model_version=1, recipe="", event_at=[instant(at)],
                predicted_at=instant(at), recorded_at=instant(at), request={name: [row[name]] for name in row},
                raw=[0.5], steps=[[]], final=[0.5], row_digest=[row_digest(row)],
            )  # fmt: skip
            truth = Truth(
                prediction_id=id, key=None, event_at=None, label=number % 2 == 0, known_at=at + timedelta(hours=30),
                recorded_at=at, source=self.name,
            )  # fmt: skip
            self.journal.write([*rows.entries("trip-late"), truths_entry("trip-late", [truth])])
        if number < ROUNDS - 1:
            self.journal.rotate()
            assert drain(self.journal.closed(), self.logs).failures == []


def digest(rows: pl.DataFrame) -> str:
    """Every cell of a version."""
    return hashlib.sha256(repr(rows.rows()).encode()).hexdigest()


@contextmanager
def another(bench: Any, deed: str) -> Iterator[subprocess.Popen[str]]:
    """A second process of the bench's project; dead in any case when this ends."""
    url = bench.database.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", OTHER, str(Path(__file__).parent), str(bench.folder), url, deed]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_versions_that_are_cut_while_two_processes_drain_read_back(bench):
    """Nothing is lost or there twice, and every version is what it was: now, and for a process that starts later."""
    bench.declare(**TERMS)
    bench.bring(bench.told, f"{NOW:%Y-%m-%d %H:%M}")
    versions: dict[int, str] = {}
    with another(bench, "child") as child:
        assert child.stdin is not None and child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        parent = Process(bench, "parent")
        for number in range(ROUNDS):
            child.stdin.write(f"{number}\n")
            child.stdin.flush()
            parent.answer(number)
            now = f"{NOW + timedelta(minutes=number):%Y-%m-%d %H:%M}"
            bench.collect(now)
            version = bench.cut(now)
            versions[version.version] = digest(bench.datasets.read(bench.model, version))
            for older, held in versions.items():
                assert digest(bench.datasets.read(bench.model, older)) == held
            assert child.stdout.readline() == f"{number}\n"
    parent.journal.close()
    assert drain_orphans(bench.folder / "journal", parent.logs).failures == []
    bench.collect("2013-01-31 13:00")
    last = bench.datasets.read(bench.model, bench.cut("2013-01-31 13:00"))

    riders = Counter(last.filter(pl.col("rider").is_in(["parent", "child", "both"]))["rider"])
    assert riders == {"parent": ROUNDS, "child": ROUNDS, "both": ROUNDS}
    labels = last.filter(rider="both").sort("starts")["label"].to_list()
    assert labels == [number % 2 == 0 for number in range(ROUNDS)]
    ids = bench.predictions.scan(bench.model).collect()["prediction_id"]
    assert ids.len() == ids.n_unique() == 3 * ROUNDS
    assert all(bench.datasets.verify(bench.model, version).ok for version in versions)
    with another(bench, "read") as reader:
        said = dict(line.split() for line in (reader.communicate(timeout=60)[0] or "").splitlines())
    assert {int(version): held for version, held in said.items() if int(version) in versions} == versions
