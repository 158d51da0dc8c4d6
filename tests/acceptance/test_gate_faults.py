"""The harness that puts faults before the gate: two weeks of it, with three flights in ten."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

from perene.app import open_project
from perene.demo.flights import read_flights
from perene.demo.replay import MODEL, Plan
from perene.records.verdict import Decision, Evaluation

ROOT = Path(__file__).parents[2]
UNTIL = datetime(2013, 3, 15, tzinfo=UTC)


@pytest.fixture(scope="module")
def faults() -> ModuleType:
    """The benchmark's module."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(ROOT)
        return importlib.import_module("benchmarks.faults")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the project lies."""
    return tmp_path_factory.mktemp("faults") / "flights"


@pytest.fixture(scope="module")
def said(faults: Any, folder: Path) -> Mapping[str, list[Evaluation]]:
    """What the gate said, by kind of candidate; the snapshot of long ago is not judged yet."""
    flights = read_flights().sample(fraction=0.3, seed=2013, shuffle=True)
    said = faults.live(folder, flights, Plan(http_from=UNTIL, until=UNTIL))
    return {name: evaluations for name, evaluations in said.items() if evaluations}


def test_every_fault_of_its_kind_is_judged_beside_the_healthy_candidate(faults: Any, said) -> None:
    """Each has as many evaluations as the healthy one, against the same champion, on the same rows."""
    assert [*said] == [faults.HEALTHY, *[name for name in faults.FAULTS if "snapshot" not in name]]
    shared = {
        name: [(e.created_at, e.dataset, e.champion, e.verdict.rows, e.verdict.champion_score) for e in evaluations]
        for name, evaluations in said.items()
    }
    assert len({str(rows) for rows in shared.values()}) == 1


def test_every_fault_costs_something(faults: Any, said) -> None:
    """A fault that were not injected would score as the healthy candidate does; each scores worse."""
    healthy = said[faults.HEALTHY][-1].verdict.candidate_score

    for name, evaluations in said.items():
        assert name == faults.HEALTHY or evaluations[-1].verdict.candidate_score > healthy + 0.001, name


def test_no_faulty_candidate_is_proposed(said, folder: Path) -> None:
    """The ledger and the champions are those of a replay without faults."""
    with closing(open_project(folder)) as app:
        trained = {step.result["version"] for run in app.runs.list(MODEL) for step in run.steps if step.name == "train"}
        proposed = {release.version for release in app.releases.list(MODEL)}
        versions = len(app.models.versions(MODEL))

    assert proposed == trained
    assert versions > len(proposed)


def test_the_table_says_what_the_gate_said(faults: Any, said) -> None:
    """One row for each kind of candidate; its shares are those of the verdicts."""
    rows = [line.strip("| ").split(" | ") for line in faults.table(said).splitlines()[2:]]

    assert [row[0] for row in rows] == [*said]
    for row in rows:
        decisions = [evaluation.verdict.decision for evaluation in said[row[0]]]
        counted = [
            decisions.count(d) / len(decisions) for d in (Decision.WORSE, Decision.INCONCLUSIVE, Decision.REFUSED)
        ]
        shares = [float(cell) for cell in row[2:7]]
        assert shares[2:] == pytest.approx(counted, abs=0.005)
        assert sum(shares) == pytest.approx(1, abs=0.02)
    assert faults.checks(said).count("\n") == len(rows) + 1


def test_an_old_snapshot_ends_sixty_days_earlier(faults: Any, said, folder: Path) -> None:
    """The candidate of an old snapshot learns from no younger row."""
    with closing(open_project(folder)) as app:
        dataset = app.datasets.latest(MODEL)
    at = [dataset.trained_until - timedelta(days=days) for days in (61, 60, 59, 1)]
    rows = pl.DataFrame({"event_at": at, "label": [True, False, True, True]})

    assert faults.an_old_snapshot(rows, dataset)["event_at"].to_list() == at[:1]
