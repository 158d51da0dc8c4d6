"""The example of a ranking, lived for a few days: what its README promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import perene

EXAMPLE = Path(__file__).parents[2] / "examples" / "videos"
DAYS, VISITS, PLACES = 4, 6, 8


@pytest.fixture(scope="module")
def lived(tmp_path_factory) -> tuple[Path, str]:
    """The folder after four days, and what was said."""
    folder = tmp_path_factory.mktemp("videos") / "project"
    command = [sys.executable, str(EXAMPLE / "simulate.py"), "--to", str(folder)]
    done = subprocess.run(
        [*command, "--days", str(DAYS), "--visits", str(VISITS)], capture_output=True, text=True, timeout=170
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


@pytest.fixture(scope="module")
def log(lived) -> pl.DataFrame:
    """The prediction log, a line for each candidate, in the order of their making."""
    app = perene.open_project(lived[0])
    try:
        return app.predictions.scan(app.model("videos")).collect().sort("predicted_at", "position")
    finally:
        app.close()


def test_a_version_is_trained_served_and_trained_again(lived) -> None:
    """The first one is released, and the second learnt from the log too."""
    said = lived[1]

    assert "trained v1 (released)" in said
    assert re.search(r"trained v2 \((not )?released\), on the archive and on what the log says", said)


def test_every_candidate_is_logged_once(log) -> None:
    """Each list has its places from 1 on; everybody else has the reason why not."""
    assert len(log) == 14 * (DAYS * VISITS + 2)
    for _, group in log.group_by("group"):
        ranks = group["rank"].drop_nulls().sort().to_list()
        assert ranks == list(range(1, min(len(ranks), PLACES) + 1))
        assert (group["rank"].is_null() == group["removed"].is_not_null()).all()


def test_the_court_is_obeyed_from_the_next_request_on(lived, log) -> None:
    """The video was first in a list, and is in none after; the server was not started anew."""
    (video,) = re.findall(r"(v\d+) was first in a list; now it is removed, by order of a court", lived[1])
    mine = log.with_columns(video=log["request"].struct.field("video")).filter(pl.col("video") == video)
    before, *after = mine.to_dicts()[mine["rank"].to_list().index(1) :]

    assert before["rank"] == 1
    assert len(after) > 0
    assert {line["removed"] for line in after} <= {"by order of a court", "toxic"}
    assert after[0]["request"]["visit"] == before["request"]["visit"]
    assert f"{video}  # case 7/26" in (lived[0] / "removed" / "videos.txt").read_text()


def test_the_trace_tells_each_step_and_the_whole_list(lived) -> None:
    """From the model's output to the reason of the removal."""
    said = lived[1]

    for step in ("safe", "trusted", "honest", "mixed", "legal", "first_page"):
        assert re.search(rf"^\d+ {step}\t", said, re.MULTILINE)
    assert re.search(r"legal\t[\d.e-]+ #1 → [\d.e-]+ removed", said)
    assert "answer\tremoved: by order of a court" in said
    assert len(re.findall(r"court-0 v\d+ ", said)) >= 14


def test_the_steps_change_the_lists_as_they_say(lived) -> None:
    """More trust, less clickbait, nothing toxic."""
    found = {name: (float(a), float(b)) for name, a, b in re.findall(r"^  (\D+?) +([\d.]+) +([\d.]+)$", lived[1], re.M)}

    assert found["of trusted channels"][0] < found["of trusted channels"][1]
    assert found["clickbait, mean"][0] > found["clickbait, mean"][1]
    assert found["different topics"][0] < found["different topics"][1]
    assert found["toxic"][1] == 0


def test_a_folder_that_is_there_is_not_touched(tmp_path) -> None:
    """The command says so, and writes nothing."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "simulate.py"), "--to", str(tmp_path)], capture_output=True, text=True
    )

    assert done.returncode == 2
    assert "is there already" in done.stderr
    assert list(tmp_path.iterdir()) == []
