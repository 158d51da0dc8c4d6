"""Rehearsals: what is measured, of which rows, and that nothing else is touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perene.app import App, open_project
from perene.errors import DataError, NotFound, ServingError
from perene.pipelines.rehearsing import rows_to_replay, sampled
from perene.records.rehearsal import REST, ServingCheck
from perene.records.verdict import Decision
from perene.storage.journal import journal_folder

MODEL = "parcel-hours"
STEPS = """

@hours.post
def bounded(p):
    return p.clip(0, 100)


@hours.post
def halves(p):
    return np.round(2 * p) / 2


@hours.golden
def golden():
    sent = datetime(2026, 5, 1, tzinfo=UTC)
    return pl.DataFrame({"number": [1, 2], "sent_at": [sent, sent], "grams": [10.0, 1900.0], "least": [0.0, BOUND]})
"""


def with_steps(folder: Path, bound: float) -> Path:
    """Give the tiny model post steps and golden rows, and train it."""
    code = folder / "models" / "parcel_hours.py"
    code.write_text(
        code.read_text().replace("Log(False)] = None", "Log(True)] = None") + STEPS.replace("BOUND", str(bound))
    )
    return folder


@pytest.fixture(scope="module")
def app(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """A project whose model has post steps and golden rows, and one version."""
    folder = Path(shutil.copytree(trained, tmp_path_factory.mktemp("rehearsed") / "tiny"))
    shutil.rmtree(folder / ".perene")
    opened = open_project(with_steps(folder, bound=1.0))
    opened.train(MODEL, actor="test")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def found(app: App) -> ServingCheck:
    """A serving check of its newest version."""
    return app.check_serving(MODEL)


def test_stages_add_up_to_the_whole(found) -> None:
    """Every second of a request is in one stage: their means add up to the mean of the whole."""
    for paced in found.rehearsal.paced:
        total = sum(spread.mean_s for spread in paced.stages.values())
        assert total == pytest.approx(paced.whole.mean_s)
        assert all(spread.mean_s >= 0 for spread in paced.stages.values())


def test_each_post_step_is_a_stage_of_its_own(found) -> None:
    """Stages come in the order of a request, each post step by its name, and each takes some time."""
    stages = found.rehearsal.paced[0].stages

    assert list(stages) == [
        "read", "check", "features", "model", "post bounded", "post halves", "journal", "encode", REST,
    ]  # fmt: skip
    assert min(spread.mean_s for spread in stages.values()) > 0


def test_quantiles_are_in_order(found) -> None:
    """What 50 of 100 stay within is no more than what 95 or 99 do; and the quickest tries are no slower than all."""
    for paced in found.rehearsal.paced:
        for spread in (paced.whole, paced.disturbed, *paced.stages.values()):
            assert spread.p50_s <= spread.p95_s <= spread.p99_s
        assert paced.whole.p95_s <= paced.disturbed.p95_s


def test_requests_of_each_size_are_tried(found) -> None:
    """One row first, of which the latency budget speaks; then more, each size with its rows a second."""
    rehearsal = found.rehearsal

    assert [paced.rows for paced in rehearsal.paced] == [1, 64, 100, 1000]
    assert rehearsal.latency_s == rehearsal.paced[0].whole.p95_s
    assert all(paced.rows_per_s == pytest.approx(paced.rows / paced.whole.p50_s) for paced in rehearsal.paced)
    assert all(paced.tries >= 1 and paced.requests >= 10 for paced in rehearsal.paced)


def test_memory_size_and_load_are_told(found) -> None:
    """A process with the version has more than the version added; its files have bytes; loading took time."""
    rehearsal = found.rehearsal

    assert 0 < rehearsal.loaded <= rehearsal.memory < rehearsal.process
    assert rehearsal.bundle > 0
    assert rehearsal.load_s > 0
    assert rehearsal.detour.startswith("it is Line")


def test_golden_rows_are_asked(found) -> None:
    """Golden rows that are answered as demanded are said to be, and the check holds."""
    assert found.golden is not None
    assert found.golden.decision is Decision.PASS
    assert (found.holds, found.rehearsal.failed, found.budgets) == (True, 0, ())


def test_nothing_is_logged(app, found) -> None:
    """The rehearsed answers are in no log and no journal, and the scratch folder is empty again."""
    assert found.rehearsal.rows > 0
    assert app.newest_predictions(MODEL).is_empty()
    folder = journal_folder(app.project.folder)
    assert not folder.exists() or list(folder.iterdir()) == []
    assert list((app.project.folder / ".perene" / "work").iterdir()) == []


def test_test_rows_are_replayed_until_enough_is_logged(tiny) -> None:
    """Rows are those of the version's dataset first, and the newest of the log once that has 200."""
    shutil.rmtree(tiny / ".perene")
    app = open_project(with_steps(tiny, bound=1.0))
    app.train(MODEL, actor="test")
    model, version = app.model(MODEL), app.models.version(MODEL, 1)

    def origin() -> str:
        rows, told = rows_to_replay(model, version, predictions=app.predictions, datasets=app.datasets)
        assert rows.columns == list(model.schema.polars)
        return told

    first = origin()
    sent = datetime.now(UTC)
    numbers = list(range(240))
    rows = {
        "number": numbers,
        "sent_at": [sent - timedelta(minutes=n) for n in numbers],
        "grams": [5.0 + n for n in numbers],
    }
    app.predict(MODEL, pl.DataFrame(rows).head(100), log=True)
    second = origin()
    app.predict(MODEL, pl.DataFrame(rows).tail(140), log=True)
    third = origin()
    app.close()

    assert (first, second, third) == ("test rows of dataset v1", "test rows of dataset v1", "the prediction log")


def test_a_version_that_is_not_there_is_not_found(app) -> None:
    """An unknown version, or a model that was never trained, is said to be."""
    with pytest.raises(NotFound, match="99"):
        app.check_serving(MODEL, 99)


def test_a_model_without_versions_says_what_to_do(tmp_path, trained) -> None:
    """Before the first training there is nothing to rehearse."""
    folder = Path(shutil.copytree(trained, tmp_path / "tiny"))
    shutil.rmtree(folder / ".perene")
    app = open_project(folder)
    try:
        with pytest.raises(NotFound, match="has no version yet") as refused:
            app.check_serving(MODEL)
    finally:
        app.close()

    assert refused.value.mend == f"perene train {MODEL}"


def test_a_damaged_bundle_is_told_as_it_is(tiny) -> None:
    """What keeps a version from being loaded is the reason why it cannot be rehearsed."""
    app = open_project(tiny)
    try:
        bundle = app.models.version(MODEL, 1).bundle
        file = tiny / ".perene" / "store" / "bundles" / bundle[:2] / bundle / "fitted.pkl"
        file.write_bytes(file.read_bytes()[:-1] + b"?")
        with pytest.raises(ServingError, match="v1 could not be rehearsed") as refused:
            app.check_serving(MODEL)
    finally:
        app.close()

    assert refused.value.code == "rehearsal-failed"
    assert "fitted.pkl has been changed" in refused.value.why


def test_what_a_killed_rehearsal_left_goes(tiny) -> None:
    """An old folder of a rehearsal is taken away by the next; a young one may be another's at work."""
    work = tiny / ".perene" / "work"
    old, young = (work / f"rehearsal-{MODEL}-{name}" for name in ("old", "young"))
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "rows.arrow").write_bytes(b"rows")
    os.utime(old, (0, 0))
    app = open_project(tiny)
    try:
        app.check_serving(MODEL)
    finally:
        app.close()

    assert list(work.iterdir()) == [young]


def test_a_version_whose_rows_are_gone_says_so(tiny) -> None:
    """Without rows nothing is measured, and it is said why."""
    app = open_project(tiny)
    try:
        model, version = app.model(MODEL), app.models.version(MODEL, 1)
        dataset = app.datasets.get(MODEL, version.dataset)
        bare = app.datasets.add(replace(dataset, run=None, split=dataset.until))
        with pytest.raises(DataError, match="no rows to rehearse parcel-hours v1 with") as refused:
            rows_to_replay(
                model, replace(version, dataset=bare.version), predictions=app.predictions, datasets=app.datasets
            )
    finally:
        app.close()

    assert refused.value.code == "data-empty"


def test_a_thousand_rows_are_enough(app) -> None:
    """Of more rows a sample is replayed, the same each time, with the Row's columns only."""
    model = app.model(MODEL)
    many = {"number": np.arange(5000), "sent_at": [datetime(2026, 5, 1, tzinfo=UTC)] * 5000, "grams": [1.0] * 5000}
    rows = model.schema.check(pl.DataFrame(many)).good.with_columns(label=pl.lit(1.0))

    first, again = sampled(model, rows), sampled(model, rows)

    assert (first.height, first.columns) == (1000, list(model.schema.polars))
    assert first.equals(again)
