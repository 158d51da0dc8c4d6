"""The benchmark of serving: what it asks, what it remembers and how it counts. What it measures is not tested."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [{"origin": "JFK", "flight": 1, "distance": 2.5}, {"origin": "EWR", "flight": 2, "distance": 3.0}]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """``benchmarks`` is no part of the package: it is imported from the root of the repository."""
    monkeypatch.syspath_prepend(str(ROOT))


def a_round(mine: float, other: float) -> dict[str, object]:
    """A round in which perene and BentoML were asked."""
    from benchmarks.serving.load import SHAPES

    def taken(rate: float) -> dict[str, dict[str, float]]:
        fields = {"per_second": rate, "p50_ms": 1.0, "p99_ms": 4.0, "max_ms": 9.0, "cpu_ms": 100 / rate, "failed": 0}
        return {shape.name: fields for shape in SHAPES}

    half = {"per_second": mine / 2, "p50_ms": 1.0, "p99_ms": 5.0, "max_ms": 9.0, "failed": 0}
    return {
        "load": {"perene": taken(mine), "perene, 2 workers": taken(1.5 * mine), "BentoML": taken(other)},
        "memory_mib": {"perene": 150.0, "perene, 2 workers": 300.0, "BentoML": 450.0},
        "half": half,
        "swap": half | {"p99_ms": 10.0},
        "direct_ms": {"user": 3.0, "perene": 0.7},
    }


def test_every_protocol_sends_every_cell() -> None:
    """Rows that are sent by column are the rows that are sent by row."""
    from benchmarks.serving import protocols

    split = json.loads(protocols.MLFLOW.encode(ROWS))["dataframe_split"]
    tensors = json.loads(protocols.MLSERVER.encode(ROWS))["inputs"]

    assert [dict(zip(split["columns"], cells, strict=True)) for cells in split["data"]] == ROWS
    columns = {tensor["name"]: tensor["data"] for tensor in tensors}
    assert [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)] == ROWS
    assert [tensor["datatype"] for tensor in tensors] == ["BYTES", "INT64", "FP64"]
    assert json.loads(protocols.PERENE.encode(ROWS)) == {"rows": ROWS}


def test_rounds_outlive_the_process(tmp_path: Path) -> None:
    """A round that was kept is there at the next start; of loads of another length none is."""
    from benchmarks.serving.results import Results

    path = tmp_path / "serving.json"
    Results(path, seconds=5, fresh=False).add("native", a_round(100, 10))

    assert Results(path, seconds=5, fresh=False).rounds("native") == [a_round(100, 10)]
    assert Results(path, seconds=2, fresh=False).rounds("native") == []
    assert Results(path, seconds=5, fresh=True).rounds("native") == []


def test_ratios_are_of_one_round(tmp_path: Path) -> None:
    """A slow round slows both: the ratio is the median of the rounds' ratios, not the ratio of medians."""
    from benchmarks.serving.goals import goals
    from benchmarks.serving.project import NATIVE
    from benchmarks.serving.results import Results
    from benchmarks.serving.tables import tables

    results = Results(tmp_path / "serving.json", seconds=5, fresh=False)
    for mine, other in ((1_000, 50), (100, 10), (2_000, 400)):
        results.add(NATIVE.key, a_round(mine, other))

    found = {goal.what: goal for goal in goals(results)}
    one, two = (
        found[f"N, 64 connections: requests/s ÷ BentoML's ({processes})"] for processes in ("one process", "two")
    )
    assert (one.got, one.verdict) == (10.0, "missed")
    assert (two.got, two.verdict) == (15.0, "met")
    assert found["N, 1 connection: p50 above what perene itself calls, ms"].got == pytest.approx(0.3)
    assert found["N, a swap under it: p99 ÷ that without"].verdict == "met"
    assert found["P, 64 connections: requests/s ÷ BentoML's"].verdict == "not measured"
    assert "| BentoML | 50 [10–400] | 1.00 | 4.0 | 2.000 | 10.00 | 10.00 | 0 |" in tables(results, [NATIVE], machine="")
