"""The example of a ranking, lived for a few days: what its README promises."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from contextlib import closing
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
        return app.predictions.scan(app.model("videos")).collect().sort("recorded_at", "position")
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
    mine = log.unnest("request").filter(pl.col("video") == video)
    before, now = mine.filter(pl.col("visit") == "court-0").to_dicts()
    later = mine.filter(pl.col("recorded_at") > before["recorded_at"])

    assert (before["rank"], now["rank"]) == (1, None)
    assert set(later["removed"]) == {"by order of a court"}
    assert f"{video}  # case 7/26" in (lived[0] / "removed" / "videos.txt").read_text()


def test_the_trace_tells_each_step_and_the_whole_list(lived) -> None:
    """From the model's output to the reason of the removal."""
    said = lived[1]

    for step in ("safe", "trusted", "honest", "mixed", "legal", "first_page"):
        assert re.search(rf"^\d+ {step}\t", said, re.MULTILINE)
    assert re.search(r"legal\t[\d.e-]+ #1 → [\d.e-]+ removed", said)
    assert "answer\tremoved: by order of a court" in said
    assert len(re.findall(r"court-0 v\d+ ", said)) >= 14


def test_a_trace_is_the_same_before_and_after_it_comes_into_the_log(lived, server_of, tmp_path) -> None:
    """Score and place at each step, one after the other, and the whole group as it was answered."""
    folder = shutil.copytree(lived[0], tmp_path / "project")
    app = perene.open_project(folder)
    row = app.predictions.scan(app.model("videos")).collect()["request"][0] | {"visit": "9-9"}
    rows = [{**row, "video": f"x{n}", "shown_at": row["shown_at"].isoformat(), "taste": float(n)} for n in range(4)]
    with server_of(folder) as server, closing(server.client()) as client:
        status, answer = client.predict(rows, model="videos")
        assert status == 200, answer
        waiting = [app.trace(one["prediction_id"]) for one in answer["predictions"]]
        app.drained()
    logged = [app.trace(one["prediction_id"]) for one in answer["predictions"]]
    app.close()

    assert waiting == logged
    for n, trace in enumerate(logged, start=1):
        steps = trace["steps"]
        assert [step["name"] for step in steps] == ["safe", "trusted", "honest", "mixed", "legal", "first_page"]
        assert steps[0]["before"] == {"score": trace["raw"], "rank": n}
        assert [step["after"] for step in steps[:-1]] == [step["before"] for step in steps[1:]]
        assert steps[-1]["after"] == {"score": trace["answer"], "rank": trace["rank"]} == {
            "score": answer["predictions"][n - 1]["score"], "rank": n,
        }  # fmt: skip
        assert [item["rank"] for item in trace["group"]["items"]] == [1, 2, 3, 4]
        assert trace["group"]["items"][n - 1]["prediction_id"] == trace["prediction_id"]
        assert (trace["role"], trace["mode"], trace["removed"]) == ("champion", "online", None)


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
