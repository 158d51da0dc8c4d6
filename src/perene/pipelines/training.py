"""Training: from a dataset version to a model version, in a child process."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import polars as pl

from perene.definition.model import Model
from perene.definition.project import Project
from perene.engines.local import LocalEngine, TaskEnd
from perene.errors import TrainingError
from perene.pipelines.fitting import BUNDLE, ERROR, FACTS, JOB, ROWS, TASK
from perene.pipelines.predictor import CODE
from perene.pipelines.surroundings import git_commit, locked_packages
from perene.records.dataset import DatasetVersion
from perene.records.identity import digest_of
from perene.records.model import ModelVersion
from perene.repositories import Fence
from perene.repositories.datasets import Datasets
from perene.repositories.models import Models
from perene.storage.bundles import Bundles
from perene.storage.snapshot import snapshot

LOCK = "requirements.txt"
_SEEDS = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What training works with. ``scratch`` is a folder for what lies about while it works."""

    project: Project
    datasets: Datasets
    models: Models
    bundles: Bundles
    engine: LocalEngine
    scratch: Path


def train(
    shop: Workshop,
    model: Model,
    dataset: DatasetVersion,
    *,
    run: int | None,
    now: datetime,
    fence: Fence | None = None,
    lost: threading.Event | None = None,
) -> ModelVersion:
    """Train on the labelled training rows of a dataset version; the same run again gives the version that it made.

    Args:
        now: Project time.
        fence: Called first in the transaction that remembers the version.
        lost: Ends the work when it is set.

    Raises:
        TrainingError: the user's code failed, died, or made something that cannot be used.
    """
    if run is not None and (made := shop.models.of_run(run)) is not None:
        return made
    seed = int(digest_of({"model": model.name, "run": run, "dataset": dataset.digest})[:12], 16) % _SEEDS
    folder = _make_folder(shop.scratch, f"run-{run}" if run is not None else f"dataset-{dataset.version}")
    try:
        code = _lay_out(shop, model, dataset, folder, seed=seed)
        end = shop.engine.run(TASK, folder, lost=lost)
        facts = _facts(model, folder, end)
        _refuse_test_rows(model, dataset, facts)
        made_of = {"code": code, "declaration": digest_of(model.declaration()), "lock": digest_of(locked_packages())}
        bundle = shop.bundles.put(
            folder / BUNDLE,
            facts={
                "model": model.name, "module": shop.project.modules[model.name], "seed": seed, **made_of,
                "dataset": {"version": dataset.version, "digest": dataset.digest},
                **{name: facts[name] for name in ("flavour", "kind", "features", "parameters", "rows", "baseline")},
            },
        )  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    version = ModelVersion(
        model=model.name, version=0, run=run, created_at=now, bundle=bundle, recipe=digest_of(made_of),
        dataset=dataset.version, trained_from=dataset.since, trained_until=dataset.trained_until,
        trained_through=datetime.fromisoformat(facts["trained_through"]), rows=facts["rows"],
        label_mean=facts["label_mean"], seed=seed, seconds=facts["seconds"], peak_memory=end.peak_memory,
        parameters=facts["parameters"], git_commit=git_commit(shop.project.folder), lock=made_of["lock"], code=code,
    )  # fmt: skip
    return shop.models.add_version(version, fence=fence)


def _make_folder(scratch: Path, name: str) -> Path:
    """A folder of this try's own: a worker that lost the run takes only its own away. What killed tries left goes."""
    for left in scratch.glob(f"{name}-*"):
        shutil.rmtree(left, ignore_errors=True)
    scratch.mkdir(parents=True, exist_ok=True)
    return Path(mkdtemp(prefix=f"{name}-", dir=scratch))


def _lay_out(shop: Workshop, model: Model, dataset: DatasetVersion, folder: Path, *, seed: int) -> str:
    """Write what the task needs; returns the digest of the code."""
    project = shop.project
    code_folder = folder / BUNDLE / CODE
    code_folder.mkdir(parents=True)
    code = snapshot(project.folder, project.settings.bundle_include, code_folder)
    (folder / BUNDLE / LOCK).write_text(locked_packages(), encoding="utf-8")
    job = {"model": model.name, "module": project.modules[model.name], "seed": seed, "project": str(project.folder)}
    (folder / JOB).write_text(json.dumps(job), encoding="utf-8")
    rows = shop.datasets.read(model, dataset, part="train").filter(pl.col("label").is_not_null())
    rows.write_ipc(folder / ROWS)
    return code


def _refuse_test_rows(model: Model, dataset: DatasetVersion, facts: Mapping[str, Any]) -> None:
    """Whether the model learnt from rows that will judge it is checked, never assumed."""
    through = datetime.fromisoformat(facts["trained_through"])
    if through >= dataset.trained_until:
        raise TrainingError(
            f"{model.name} learnt from rows of {through}",
            why=f"training rows of dataset v{dataset.version} end before {dataset.trained_until}",
            mend=f"perene dataset verify {model.name}, then perene train {model.name}",
            code="training-window",
        )


def _facts(model: Model, folder: Path, end: TaskEnd) -> Mapping[str, Any]:
    if (folder / ERROR).exists():
        told = json.loads((folder / ERROR).read_text(encoding="utf-8"))
        raise TrainingError(
            told["what"], why=told["why"], mend=told["mend"], seen=tuple(told["seen"]), code=told["code"]
        )
    if end.died or end.failed:
        why = f"its process died of {end.died}" if end.died else "its process ended without a result"
        mend = f"see {model.train_hook.line}"
        if end.died.startswith("signal 9"):
            mend = f"a shorter train_on, or more memory: it had taken {end.peak_memory / 2**30:.1f} GiB"
        what = f"the training of {model.name} stopped"
        raise TrainingError(what, why=why, seen=end.printed, mend=mend, code="training-died")
    facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return facts
