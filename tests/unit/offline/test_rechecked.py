"""Post steps that hold whenever an answer is given out: done again at the look-up, the others not."""

from __future__ import annotations

import json
import subprocess
import sys

import polars as pl
import pytest

from perene.errors import NotAllowed

from .conftest import MODEL

CAP = '''

@hours.post
def nudged(p):
    """Done once."""
    return p + 1e-9


@hours.post(recheck=True)
def capped(rows, p, folder):
    """Never above what the file says at this moment."""
    return np.minimum(p, float((folder / "cap.txt").read_text()))
'''


def log_of(app) -> pl.DataFrame:
    return (
        app.predictions.scan(app.model(MODEL)).filter(pl.col("mode") == "stored").collect().sort("ingest", "position")
    )


def test_a_step_of_ones_own_is_done_again(declare, opened, parcels) -> None:
    """It starts from what the step before gave at the load; the log holds what each step gave at the look-up."""
    open_row = "    note: Annotated[str | None, Log(False)] = None\n"
    folder = declare(code=CAP)
    file = folder / "models" / "parcel_hours.py"
    file.write_text(file.read_text().replace(open_row, "    note: str | None = None\n"))
    (folder / "cap.txt").write_text("99")
    app = opened(folder)
    app.train(MODEL, actor="test")
    app.store(MODEL, parcels(3), actor="test")
    free = app.lookup(MODEL, [0, 1, 2], log=True)["prediction"].to_list()
    (folder / "cap.txt").write_text("0.165")
    capped = app.lookup(MODEL, [0, 1, 2], log=True)["prediction"].to_list()
    (folder / "cap.txt").write_text("99")
    again = app.lookup(MODEL, [0, 1, 2])["prediction"].to_list()

    assert max(free) > 0.165
    assert capped == [min(p, 0.165) for p in free]
    assert again == free
    logged = log_of(app)
    assert logged["final"].to_list() == [*free, *capped]
    assert logged["steps"].to_list() == [[raw + 1e-9] for raw in logged["raw"]]


def test_a_step_that_would_miss_a_field_is_refused(declare, opened, parcels) -> None:
    """A function may read any field; one that is not logged is not stored, so it would see nothing there."""
    folder = declare(code=CAP)
    app = opened(folder)

    with pytest.raises(NotAllowed, match="cannot be stored") as refused:
        app.store(MODEL, parcels(1), actor="test")
    assert "note is Log(False)" in refused.value.why


def test_a_block_that_comes_after_the_load_holds(declare, opened, parcels, app) -> None:
    """A list that the stored version does not know yet, but the project's newest declaration, holds at once."""
    app.store(MODEL, parcels(3), actor="test")
    honest = app.lookup(MODEL, [0, 1, 2])["prediction"].to_list()
    folder = declare(
        code='\n\nfrom perene import post\nhours.post(post.block("number", ids=[1], reason="no", instead=-1.0))\n'
    )

    code = f"from perene import open_project; app = open_project({str(folder)!r}); " + (
        f"print(app.lookup({MODEL!r}, [0, 1, 2])['prediction'].to_list())"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert json.loads(said) == [honest[0], -1.0, honest[2]]


def test_a_block_that_would_miss_its_field_gives_nothing_out(declare, app, parcels) -> None:
    """What must not be answered may be told by a field that was not stored: nothing is then, until stored anew."""
    app.store(MODEL, parcels(3), actor="test")
    folder = declare(
        code='\n\nfrom perene import post\nhours.post(post.block("note", ids=["no"], reason="no", instead=-1.0))\n'
    )

    code = f"from perene import open_project; app = open_project({str(folder)!r}); app.lookup({MODEL!r}, [0])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "NotAllowed: stored predictions of parcel-hours cannot be given out" in done.stderr
