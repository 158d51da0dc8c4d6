"""Storing predictions and looking them up, from Python."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from perene.errors import BadRows, DataError, NotAllowed, NotFound, ServingError
from perene.records.generation import GenerationState

from .conftest import MODEL, POPULATION

ANSWER = ["number", "sent_at", "prediction", "model_version"]


def test_what_is_looked_up_is_what_is_predicted(app, parcels) -> None:
    """The stored answer of a row is the answer that predicting it gives, bit for bit, alone or with others."""
    rows = parcels(50)
    made = app.store(MODEL, rows, actor="test")
    found = app.lookup(MODEL, rows["number"].to_list())
    alone = [app.lookup(MODEL, [number]) for number in (3, 49)]

    assert (made.state, made.rows, made.keys, made.version) == (GenerationState.READY, 50, 50, 1)
    assert found.select(ANSWER).equals(app.predict(MODEL, rows).select(ANSWER))
    assert pl.concat(alone).select(ANSWER).equals(found[[3, 49]].select(ANSWER))
    assert found["computed_at"].unique().to_list() == [made.computed_at]
    assert found["outdated"].to_list() == [False] * 50


@pytest.mark.parametrize("shape", ["frames", "lazy", "pandas"])
def test_rows_come_in_any_frame(app, parcels, tmp_path, shape) -> None:
    """Frames one after another, a lazy frame of a file, and pandas give the same answers."""
    rows = parcels(30)
    rows.write_parquet(tmp_path / "rows.parquet", row_group_size=7)
    come = {
        "frames": lambda: iter([rows[:10], rows[10:]]),
        "lazy": lambda: pl.scan_parquet(tmp_path / "rows.parquet"),
        "pandas": rows.to_pandas,
    }
    app.store(MODEL, come[shape](), actor="test")

    assert app.lookup(MODEL, list(range(30))).select(ANSWER).equals(app.predict(MODEL, rows).select(ANSWER))


def test_many_batches_are_one_generation(app, parcels, monkeypatch) -> None:
    """However small the batches are, all of them are there, in the order of their keys' newest events."""
    monkeypatch.setattr("perene.pipelines.bulk.batches_of.__kwdefaults__", {"size": 3})
    rows = parcels(20)
    app.store(MODEL, pl.concat([rows, rows.with_columns(sent_at=pl.col("sent_at") - timedelta(days=1))]), actor="test")

    assert app.generations.current(MODEL).rows == 40
    assert app.generations.current(MODEL).keys == 20
    assert app.lookup(MODEL, list(range(20)))["sent_at"].equals(rows["sent_at"].dt.cast_time_unit("us"))


def test_a_new_load_replaces_the_one_before(app, parcels) -> None:
    """What only the earlier load had is not there any more, and its file goes with the next load but one."""
    app.store(MODEL, parcels(4), actor="test")
    app.store(MODEL, parcels(4, first=2), actor="test")
    with pytest.raises(NotFound, match="1 of 2 keys"):
        app.lookup(MODEL, [1, 2])
    app.store(MODEL, parcels(1), actor="test")

    assert [g.state.value for g in app.generations.list(MODEL)] == ["ready", "ready", "removed"]
    assert len(list((app.project.folder / ".perene" / "stored" / MODEL).iterdir())) == 2


def test_a_load_that_fails_leaves_what_is_stored(app, parcels) -> None:
    """Bad rows, no rows, and rows whose reading breaks off: the generation before is read on, and no file is left."""
    app.store(MODEL, parcels(3), actor="test")

    def broken():
        yield parcels(3)
        raise OSError("the disk was pulled out")

    with pytest.raises(DataError, match="do not fit Parcel") as bad:
        app.store(MODEL, parcels(3).with_columns(grams=pl.Series([1.0, -1.0, 2.0])), actor="test")
    with pytest.raises(DataError, match="nothing to store"):
        app.store(MODEL, parcels(0), actor="test")
    with pytest.raises(DataError, match="could not be read") as torn:
        app.store(MODEL, broken(), actor="test")
    with pytest.raises(DataError, match="dict holds no rows"):
        app.store(MODEL, {"number": 1}, actor="test")

    assert (bad.value.code, torn.value.code) == ("bad-rows", "population-failed")
    assert app.lookup(MODEL, [0, 1, 2]).height == 3
    assert [g.state.value for g in app.generations.list(MODEL)] == ["failed"] * 4 + ["ready"]
    assert len(list((app.project.folder / ".perene" / "stored" / MODEL).iterdir())) == 1


def test_nothing_stored_says_what_to_do(app, parcels) -> None:
    """Before the first load, and for keys that no load had, the answer is not-stored, with each key."""
    with pytest.raises(NotFound) as before:
        app.lookup(MODEL, [1])
    app.store(MODEL, parcels(3), actor="test", origin="parcels.parquet")
    with pytest.raises(NotFound) as missing:
        app.lookup(MODEL, [1, 77])

    assert (before.value.code, missing.value.code) == ("not-stored", "not-stored")
    assert missing.value.seen == ("[77] is not among the 3 that were computed",)
    assert "parcels.parquet" in missing.value.why
    with pytest.raises(BadRows, match="no keys of parcel-hours"):
        app.lookup(MODEL, ["one"])


def test_too_old_is_refused(declare, opened, parcels, later) -> None:
    """Shortly before max_age a prediction is still given, after it none is."""
    app = opened(declare('max_age="2d",'), machine=later)
    app.store(MODEL, parcels(1), actor="test")
    later.move(days=2, minutes=-9)
    there = app.lookup(MODEL, [0]).height
    later.move(minutes=10)

    assert there == 1
    with pytest.raises(ServingError, match="too old") as old:
        app.lookup(MODEL, [0])
    assert old.value.code == "too-old"
    assert old.value.why.endswith("old; max_age is 2d")


def test_a_release_makes_it_outdated(app, parcels) -> None:
    """What another version computed than the live one says so."""
    app.store(MODEL, parcels(1), actor="test")
    app.train(MODEL, actor="test")

    (found,) = app.lookup(MODEL, [0]).to_dicts()
    assert (found["model_version"], found["outdated"]) == (1, True)


def test_a_population_is_asked_for_now(declare, opened) -> None:
    """Without rows, the model's own code says whom to predict, at project time."""
    app = opened(declare(code=POPULATION))
    made = app.store(MODEL, actor="ana")

    assert (made.origin, made.actor) == ("population", "ana")
    assert app.lookup(MODEL, [4]).to_dicts()[0]["sent_at"] == made.computed_at


def test_without_a_population_rows_are_needed(app) -> None:
    """Nobody says whom to predict: refused, with the mend."""
    with pytest.raises(NotAllowed, match="nobody says whom"):
        app.store(MODEL, actor="test")
    with pytest.raises(NotAllowed, match="nobody says whom"):
        app.ask_offline(MODEL, actor="test")


@pytest.mark.parametrize(("share", "is_stored"), [("40%", True), ("10%", False)])
def test_bad_rows_of_the_population_are_set_aside(declare, opened, share, is_stored) -> None:
    """Up to max_bad they are counted and the others stored; beyond it the load fails, and says what is wrong."""
    bad = POPULATION.replace("[100.0 * n + 50 for n", "[100.0 * n - 50 for n")
    app = opened(declare(f'max_bad="{share}",', bad))

    if is_stored:
        made = app.store(MODEL, actor="test")
        assert (made.rows, made.aside) == (4, 1)
    else:
        with pytest.raises(DataError, match="1 of 5 rows of the population") as refused:
            app.store(MODEL, actor="test")
        assert refused.value.seen == ("grams must be greater than 0 (1 rows)",)
    (aside,) = app.sources.quarantined(MODEL)
    assert (aside.origin, aside.field, aside.rows) == ("population", "grams", 1)


def test_what_population_raises_is_told(declare, opened) -> None:
    """The user's error is the load's, with the line to mend."""
    app = opened(declare(code="\n\n@hours.population\ndef whom(at):\n    raise KeyError('no such table')\n"))

    with pytest.raises(DataError) as failed:
        app.store(MODEL, actor="test")
    assert failed.value.code == "population-failed"
    assert "no such table" in failed.value.why
    assert "parcel_hours.py" in failed.value.mend


def test_what_must_not_be_logged_is_not_stored(app, parcels) -> None:
    """A field that is Log(False) lies in no stored row."""
    made = app.store(MODEL, parcels(3), actor="test")

    assert "note" not in made.fields
    content = Path(app.project.folder, ".perene", "stored", MODEL, f"{made.id}.db").read_bytes()
    assert b"note " not in content


def test_a_lookup_is_logged_as_an_answer(app, parcels) -> None:
    """With log, its lines are those of a prediction of the same row, but for mode, ids, and when it was computed."""
    rows = parcels(3)
    made = app.store(MODEL, rows, actor="test")
    found = app.lookup(MODEL, [0, 1, 2], log=True)
    app.predict(MODEL, rows, log=True)

    logged = app.predictions.scan(app.model(MODEL)).collect().sort("ingest", "position")
    stored, online = logged[:3], logged[3:]
    own = ["prediction_id", "request_id", "mode", "computed_at", "ingest", "predicted_at", "recorded_at"]
    assert stored.drop(own).equals(online.drop(own))
    assert stored["prediction_id"].to_list() == found["prediction_id"].to_list()
    assert stored["mode"].unique().to_list() == ["stored"]
    assert stored["computed_at"].unique().to_list() == [made.computed_at]
    assert (stored["predicted_at"] >= made.computed_at).all()
    assert online["computed_at"].null_count() == 3


def test_readers_never_see_half_a_load(app, parcels, opened) -> None:
    """While loads replace each other, every look-up of a thousand keys is answered by one version of the rows."""
    import threading

    def of(load: int) -> pl.DataFrame:
        return parcels(1000).with_columns(grams=pl.lit(100.0 + load))

    app.store(MODEL, of(0), actor="test")
    seen: list[tuple[set[float], set[object]]] = []
    stop = threading.Event()
    reader = opened(app.project.folder)

    def read() -> None:
        while not stop.is_set():
            found = reader.lookup(MODEL, list(range(1000)))
            seen.append((set(found["prediction"].to_list()), set(found["computed_at"].to_list())))

    with closing(app.shelf.store.open(MODEL, app.generations.current(MODEL).id)):
        thread = threading.Thread(target=read)
        thread.start()
        for load in range(1, 9):
            app.store(MODEL, of(load), actor="test")
        stop.set()
        thread.join()

    assert seen
    assert {(len(predictions), len(times)) for predictions, times in seen} == {(1, 1)}
