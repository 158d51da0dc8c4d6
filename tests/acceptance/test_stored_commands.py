"""Stored predictions from the command line, and files that are read and written batch by batch."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from perene.app import open_project

MODEL = "parcel-hours"
AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


def rows(count: int = 25) -> pl.DataFrame:
    return pl.DataFrame({"number": range(count), "sent_at": [AT] * count, "grams": [100.0 + n for n in range(count)]})


def write(frame: pl.DataFrame, file: Path) -> Path:
    match file.suffix:
        case ".parquet":
            frame.write_parquet(file, row_group_size=4)
        case ".csv":
            frame.write_csv(file, datetime_format="%Y-%m-%dT%H:%M:%SZ")
        case ".ndjson":
            texts = frame.with_columns(pl.col("sent_at").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
            texts.write_ndjson(file)
    return file


@pytest.fixture(autouse=True)
def small_batches(monkeypatch) -> None:
    """Ten rows make a batch."""
    monkeypatch.setattr("perene.cli.files.BATCH_ROWS", 10)


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".ndjson"])
def test_what_a_file_stores_is_looked_up(call, tiny, tmp_path, ending) -> None:
    """Each format, in batches: the command says what it stored, and look-ups give what predicting gives."""
    file = write(rows(), tmp_path / f"rows{ending}")

    said = call(tiny, "predict", MODEL, file, "--store", "--json").data
    found = call(tiny, "prediction", "lookup", MODEL, 3, "[24]", "--json").data
    predicted = {p["number"]: p["prediction"] for p in call(tiny, "predict", MODEL, file, "--json").data}
    (load,) = call(tiny, "prediction", "stored", MODEL, "--json").data

    assert (said["rows"], said["keys"], said["origin"], said["model_version"]) == (25, 25, f"rows{ending}", 1)
    assert [line["key"] for line in found] == [{"number": 3}, {"number": 24}]
    assert [line["answer"] for line in found] == [predicted[3], predicted[24]]
    assert (load["is_read"], load["outdated"], load["rows"], load["actor"]) == (True, False, 25, "ana")


def test_people_are_told_in_words(call, tiny, tmp_path) -> None:
    """What was stored, how to look it up, and that it is outdated once another version is live."""
    file = write(rows(3), tmp_path / "rows.parquet")

    stored = call(tiny, "predict", MODEL, file, "--store")
    with open_project(tiny).database.write() as connection:
        connection.exec_driver_sql("UPDATE model SET champion = NULL")
    found = call(tiny, "prediction", "lookup", MODEL, 2, width=100)
    unknown = call(tiny, "prediction", "lookup", MODEL, 77)

    assert f"3 predictions of {MODEL} v1 stored by 3 keys" in stored.out
    assert "outdated: another version is live" in found.out
    assert (unknown.code, "error[not-stored]" in unknown.err) == (5, True)


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".ndjson", ".json"])
def test_answers_go_to_a_file_batch_by_batch(call, tiny, tmp_path, ending) -> None:
    """The file holds the answers of all batches, in the order of the rows."""
    file, out = write(rows(), tmp_path / "rows.parquet"), tmp_path / f"answers{ending}"

    said = call(tiny, "predict", MODEL, file, "--out", out, "--json").data
    read = {".csv": pl.read_csv, ".ndjson": pl.read_ndjson, ".json": pl.read_json, ".parquet": pl.read_parquet}[ending]
    answers = read(out)

    assert said["rows"] == 25
    assert answers["number"].to_list() == list(range(25))
    assert answers["prediction"].to_list() == [
        p["prediction"] for p in call(tiny, "predict", MODEL, file, "--json").data
    ]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == sorted([file.name, out.name])


def test_a_bad_row_in_the_last_batch_leaves_nothing(call, tiny, tmp_path) -> None:
    """No file is written, nothing is logged, and what is stored stays."""
    call(tiny, "predict", MODEL, write(rows(2), tmp_path / "good.parquet"), "--store")
    bad = rows().with_columns(grams=pl.when(pl.col("number") == 24).then(-1.0).otherwise("grams"))
    file, out = write(bad, tmp_path / "bad.parquet"), tmp_path / "answers.csv"

    codes = [call(tiny, "predict", MODEL, file, *more).code for more in (["--out", out], ["--log"], ["--store"], [])]

    app = open_project(tiny)
    logged = app.predictions.scan(app.model(MODEL)).collect().height
    stored = app.lookup(MODEL, [1]).height
    app.close()
    assert codes == [1, 1, 1, 1]
    assert (out.exists(), logged, stored) == (False, 0, 1)


def test_a_value_that_cannot_be_read_is_named_by_its_row_in_the_file(call, tiny, tmp_path) -> None:
    """The number of the row counts from the beginning of the file, not of a batch."""
    file = tmp_path / "rows.ndjson"
    lines = [json.dumps({"number": n, "sent_at": "2026-05-01T12:00:00Z", "grams": 5.0}) for n in range(12)]
    file.write_text("\n".join([*lines, json.dumps({"number": 12, "sent_at": "noon", "grams": 5.0})]))

    said = call(tiny, "predict", MODEL, file, "--out", tmp_path / "answers.csv")

    assert "row 12, sent_at: 'noon' is not an instant" in said.err


def test_stdin_is_stored_too(call, tiny, tmp_path, monkeypatch) -> None:
    """Rows that are piped in are stored."""
    import io
    import sys

    text = write(rows(12), tmp_path / "rows.ndjson").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))

    said = call(tiny, "predict", MODEL, "-", "--store", "--json").data

    assert (said["rows"], said["origin"]) == (12, "stdin")


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        ([], 2, "name a FILE"),
        (["--store"], 4, "nobody says whom"),
        (["rows.parquet", "--store", "--log"], 2, "--out and --log are of others"),
    ],
)
def test_what_does_not_fit_together_is_refused(call, tiny, arguments, code, what) -> None:
    """Neither a file nor a population, or two ways of keeping at once."""
    write(rows(2), tiny / "rows.parquet")

    said = call(tiny, "predict", MODEL, *arguments)

    assert (said.code, what in said.err) == (code, True)
