"""The benchmarks of data run, at a size that measures nothing: what they print about rightness is tested."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def printed(module: str, *options: str) -> str:
    """What a benchmark prints."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_old_version_reads_back_after_more_versions_compaction_and_vacuum() -> None:
    """The benchmark of versions finds version 12 as it was, though its rows were corrected since."""
    table = printed("versions", "--rides", "400", "--days", "17")

    assert "version 12: 5,600 rows; as set aside in its night: True; digest: True" in table
    assert "\n(in version 15, 0 of" not in table


def test_a_night_is_measured_step_by_step() -> None:
    """The benchmark of nights works whole runs, and each releases its candidate."""
    table = printed("nightly", "--rides", "50", "--days", "25")

    assert "outcomes: released, released" in table
    assert [line.split("  ")[0] for line in table.splitlines()[3:]] == [
        "collect", "dataset", "train", "validate", "release", "in it train()", "all around train()",
    ]  # fmt: skip


def test_every_drained_line_is_in_the_log() -> None:
    """The benchmark of drains finds every line once, after a compaction too."""
    table = printed("drains", "--drains", "9", "--rows", "6")

    assert "lines in the log: 72 of 72" in table


def test_weeks_of_the_prediction_log_are_measured() -> None:
    """The benchmark of data collects flights from the source and then, week by week, from the log."""
    table = printed("data", "log", "30")

    assert "v9 holds" in table
    assert "weekly collect" in table


def test_starts_are_measured() -> None:
    """The benchmark of starts has a line for each, up to a server's first answer."""
    lines = printed("start", "1").splitlines()

    assert [line[:28].strip() for line in lines[1:]] == [
        "python -c pass", "import perene", "perene --help", "perene version", "perene status",
        "perene serve, first answer",
    ]  # fmt: skip


def test_features_are_equal_to_the_last_bit() -> None:
    """The benchmark of features finds no row whose features depend on the rows beside it."""
    table = printed("features", "--rows", "3000")

    assert "other features than in one frame of all: 0 in frames of 1, 0 in frames of 64" in table


def test_a_server_under_mixed_requests_loses_nothing() -> None:
    """The soak has no wrong answer, no 5xx, and each answered row and truth in the log once."""
    table = printed("soak", "--requests", "1000", "--clients", "2")

    assert [line for line in table.splitlines() if line.startswith("  ") and ": " in line][1:] == [
        "  wrong answers: 0", "  5xx: 0", "  answered rows that are not in the log: 0",
        "  rows in the log that were not answered: 0", "  rows that are there twice: 0",
        "  truths that are not in the log: 0", "  truths that are there twice: 0", "  files left in the journal: 0",
        "  exit code: 0",
    ]  # fmt: skip
    assert "RSS at 20% of the requests" in table
