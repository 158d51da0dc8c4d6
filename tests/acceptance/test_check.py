"""``perene check``: the hooks on rows, and how a version would serve."""

from __future__ import annotations

import re
import shutil

import pytest

MODEL = "parcel-hours"
GOLDEN = """

@hours.golden
def golden():
    return pl.DataFrame({"number": [1], "sent_at": [EPOCH], "grams": [1000.0], "least": [LEAST]})
"""


def change(folder, old: str, new: str) -> None:
    """Change the code of the tiny model."""
    code = folder / "models" / "parcel_hours.py"
    text = code.read_text()
    assert text.count(old) == 1
    code.write_text(text.replace(old, new))


@pytest.fixture
def budgeted(tiny):
    """The tiny project, whose model declares a budget of time."""

    def declare(budget: str):
        change(tiny, '    every="1d",\n', f'    every="1d",\n    {budget},\n')
        return tiny

    return declare


def test_a_check_says_what_was_tried(call, lived) -> None:
    """The table and the JSON say on how many rows the features were tried."""
    shown, data = call(lived, "check", width=160), call(lived, "check", MODEL, "--json").data

    assert shown.code == 0
    assert "16 rows" in shown.out
    assert [model["tried"] for model in data] == [{"rows": 16, "golden": None}]


def test_features_that_fail_are_2_with_their_line(call, tiny) -> None:
    """C9: what would fail in the night fails when it is written."""
    change(tiny, 'pl.col("grams") / 1000)', 'pl.col("grms") / 1000)')

    said = call(tiny, "check")

    assert said.code == 2
    assert "error[declaration]: the hooks of parcel-hours do not go with their rows" in said.err
    assert re.search(r"models/parcel_hours\.py:\d+: features features raised ColumnNotFoundError", said.err)


def test_features_that_nothing_tried_are_told(call, tiny) -> None:
    """A source without rows of late is no mistake, but nobody shall think that the features were tried."""
    change(tiny, "    return rows.with_columns(\n        hours", "    return rows.head(0).with_columns(\n        hours")

    said = call(tiny, "check", width=120)

    assert said.code == 0
    assert "the features of parcel-hours were not tried: its source gave no row of late" in said.out


def test_a_serving_check_shows_where_the_time_goes(call, tiny) -> None:
    """People see each stage in requests of 1 and 100 rows, rows a second, memory, and that no budget is declared."""
    said = call(tiny, "check", MODEL, "--serving", width=100)

    assert (said.code, said.err) == (0, "")
    stages = [line.split("  ")[0] for line in said.lines[2:10]]
    assert stages == ["read", "check", "features", "model", "journal", "encode", "the rest", "whole"]
    assert said.lines[1].startswith("STAGE     1 ROW, 50 %")
    assert "100 ROWS, 50 %" in said.lines[1]
    for name in ("rows/s", "loads in", "memory", "model", "budgets"):
        assert any(line.startswith(name) for line in said.lines)
    assert "none is declared" in said.out
    assert "\u25cf every request was answered; no budget is declared" in said.out
    assert max(map(len, said.lines)) <= 100


def test_a_serving_check_speaks_to_programs(call, tiny) -> None:
    """One document of JSON with every figure in seconds and bytes."""
    data = call(tiny, "check", f"{MODEL}@1", "--serving", "--json").data

    assert (data["model"], data["version"], data["budgets"], data["holds"]) == (MODEL, 1, [], True)
    assert [paced["rows"] for paced in data["paced"]] == [1, 64, 100, 1000]
    assert data["latency_s"] == data["paced"][0]["whole"]["p95_s"]
    assert data["origin"] == "test rows of dataset v1"


def test_a_serving_check_in_a_pipe_is_one_table_of_exact_cells(call, budgeted) -> None:
    """A script finds each time by its stage and rows, and every other figure, its limit and verdict by its name."""
    said = call(budgeted('memory="1KiB"'), "check", MODEL, "--serving")

    head, *lines = (line.split("\t") for line in said.lines)
    assert head == ["part", "rows", "p50_s", "p95_s", "p99_s", "found", "limit", "holds"]
    cells = {(part, rows): dict(zip(head[2:], rest, strict=True)) for part, rows, *rest in lines}
    assert len(cells) == len(lines)
    for rows in ("1", "64", "100", "1000"):
        parts = [part for part, size in cells if size == rows and part != "rows_per_s"]
        assert parts == ["read", "check", "features", "model", "journal", "encode", "the rest", "whole"]
        whole, pace = cells["whole", rows], cells["rows_per_s", rows]
        assert 0 < float(whole["p50_s"]) <= float(whole["p95_s"]) <= float(whole["p99_s"])
        assert float(pace["found"]) == pytest.approx(float(rows) / float(whole["p50_s"]))
    memory = cells["memory", ""]
    assert (memory["limit"], memory["holds"], memory["p50_s"]) == ("1024", "false", "")
    assert float(memory["found"]) > 1024
    assert (cells["failed", ""]["found"], cells["failed", ""]["holds"]) == ("0", "true")
    assert said.code == 3


@pytest.mark.parametrize(
    ("budget", "code", "told"),
    [
        ('latency="1h", memory="1TiB"', 0, "\u25cf every request was answered; every budget holds"),
        ('memory="1KiB"', 3, "\u2717 it does not serve as declared"),
    ],
)
def test_the_exit_code_says_whether_budgets_hold(call, budgeted, budget, code, told) -> None:
    """0 where every declared budget holds, 3 where one does not, with the figures."""
    said = call(budgeted(budget), "check", MODEL, "--serving", width=100)

    assert said.code == code, said.err
    assert told in said.out
    assert ("more than the budget of 1 KiB" in said.out) is bool(code)


@pytest.mark.parametrize(("least", "code"), [(0.5, 0), (99.0, 3)])
def test_golden_rows_are_part_of_it(call, tiny, least, code) -> None:
    """A version that answers a golden row wrongly does not serve as declared."""
    with (tiny / "models" / "parcel_hours.py").open("a") as file:
        file.write(GOLDEN.replace("LEAST", str(least)))

    said = call(tiny, "check", MODEL, "--serving", width=100)

    assert said.code == code, said.err
    assert "golden rows" in said.out


@pytest.mark.parametrize(
    "arguments", [["--serving"], [MODEL, "--version", "1"], [f"{MODEL}@1"], [f"{MODEL}@x", "--serving"]]
)
def test_what_makes_no_sense_is_usage(call, lived, arguments) -> None:
    """A serving check needs a model, a version needs a serving check, and a version is a number."""
    said = call(lived, "check", *arguments)

    assert said.code == 2
    assert "error[usage]" in said.err


def test_a_serving_check_of_a_project_that_never_ran(call, tiny) -> None:
    """Without a version there is nothing to measure: 5, and what to do."""
    shutil.rmtree(tiny / ".perene")

    said = call(tiny, "check", MODEL, "--serving")

    assert said.code == 5
    assert f"perene train {MODEL}" in said.err
