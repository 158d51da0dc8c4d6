"""Rows in files."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import polars as pl
import pytest

from perene.cli.files import read_rows, write_rows
from perene.errors import BadRows, DataError

INSTANT = pl.Datetime("us", "UTC")
DTYPES = {
    "order": pl.Int64(),
    "at": INSTANT,
    "km": pl.Float64(),
    "rain": pl.Boolean(),
    "day": pl.Date(),
    "name": pl.String(),
}
ROWS = pl.DataFrame(
    {
        "order": [1, 2, 3],
        "at": [datetime(2026, 1, 15, 18, 30, 0, 123456, tzinfo=UTC), None, datetime(2026, 1, 1, tzinfo=UTC)],
        "km": [1.5, 2.0, None],
        "rain": [True, None, False],
        "day": [datetime(2026, 1, 15).date(), None, None],  # noqa: DTZ001 - a date has no zone
        "name": ["a, b", "12", None],
    },
    schema=DTYPES,
)


@pytest.mark.parametrize("ending", ["json", "ndjson", "csv", "parquet"])
@pytest.mark.parametrize("named", [True, False])
def test_rows_come_back_as_they_were_written(tmp_path, ending, named):
    """Each format gives the same rows back, with or without an ending that names it."""
    file = tmp_path / f"rows.{ending}"
    write_rows([ROWS], file)
    if not named:
        file = file.rename(tmp_path / "rows")

    assert read_rows(str(file), DTYPES).equals(ROWS)


def test_json_may_have_the_form_of_a_request(tmp_path):
    """A list, one object and {"rows": [...]} are the same."""
    row = {"order": 1, "km": 2}
    frames = []
    for document in ([row], row, {"rows": [row]}):
        (tmp_path / "rows.json").write_text(json.dumps(document))
        frames.append(read_rows(str(tmp_path / "rows.json"), DTYPES))

    assert all(frame.to_dicts() == [row] for frame in frames)


def test_texts_that_cannot_be_read_are_named_by_row_and_field(tmp_path):
    """Every bad value of a CSV is named; none becomes a missing one in silence."""
    file = tmp_path / "rows.csv"
    file.write_text("order,at,rain,day\n1,2026-01-15T18:30:00,yes,2026-13-01\nx,2026-01-15T18:30:00Z,true,2026-01-01\n")

    with pytest.raises(BadRows) as caught:
        read_rows(str(file), DTYPES)

    assert {(f.row, f.field) for f in caught.value.fields} == {(0, "at"), (0, "rain"), (0, "day"), (1, "order")}


def test_a_number_in_json_text_stays_a_text(tmp_path):
    """JSON has numbers, so a text in a number's place is left for the Row to refuse."""
    (tmp_path / "rows.json").write_text('[{"order": "1"}]')

    assert read_rows(str(tmp_path / "rows.json"), DTYPES)["order"].dtype == pl.String


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.json", "[1, 2]"), ("b.parquet", "PAR1 no"), ("c.json", "{"), ("d.json", '[{"a": 1}, {"a": "x"}]')],
)
def test_a_file_that_is_not_of_its_format_is_an_error_of_ours(tmp_path, name, content):
    """A broken file is refused with its name and its format."""
    (tmp_path / name).write_text(content)

    with pytest.raises(DataError, match=f"{name} cannot be read as"):
        read_rows(str(tmp_path / name), DTYPES)


def test_an_unknown_ending_is_refused_when_writing(tmp_path):
    """--out needs an ending that names a format."""
    with pytest.raises(DataError, match="names no format"):
        write_rows([ROWS], tmp_path / "rows.xlsx")
