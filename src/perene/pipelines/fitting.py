"""The training task: runs in a child process, on a folder that holds its job, its rows and a snapshot of the code.

The folder has ``job.json``, ``rows.arrow`` and ``bundle/code/``. What the task makes goes to ``bundle/``;
``facts.json`` says what is known of it, or ``error.json`` why there is nothing.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from perene.definition.checks import SAMPLE, check_features_rowwise
from perene.definition.groups import groups_of
from perene.definition.label import Task
from perene.definition.model import Model
from perene.errors import PereneError, TrainingError
from perene.pipelines import flavours
from perene.pipelines.predictor import CODE, PROBES, answer, declared_in, probe_content
from perene.pipelines.scoring import Truthful, baseline_of
from perene.records.identity import plain

JOB, ROWS, BUNDLE, FACTS, ERROR = "job.json", "rows.arrow", "bundle", "facts.json", "error.json"
TASK = f"{__name__}:fit"


def fit(folder: Path) -> None:
    """Train on the folder's rows and leave the version's files there."""
    try:
        facts = _fit(folder)
    except PereneError as error:
        parts = {name: getattr(error, name) for name in ("code", "what", "why", "mend", "seen")}
        (folder / ERROR).write_text(json.dumps(parts), encoding="utf-8")
        raise
    (folder / FACTS).write_text(json.dumps(facts, default=plain), encoding="utf-8")


def _fit(folder: Path) -> dict[str, Any]:
    job = json.loads((folder / JOB).read_text(encoding="utf-8"))
    bundle = folder / BUNDLE
    sys.path.insert(0, str(bundle / CODE))
    model = declared_in(importlib.import_module(job["module"]), job["model"])
    model.folder = Path(job["project"])
    kept = pl.read_ipc(folder / ROWS)
    groups = None
    if model.label.task is Task.RANKING:
        groups = groups_of(model, kept)
        order = np.argsort(groups, kind="stable")
        kept, groups = kept[order], groups[order]
    rows = kept.select(list(model.schema.polars))
    y = kept["label"].to_numpy()
    seed = int(job["seed"])
    features = _explained(model, "features", lambda: model.compute_features(rows))
    _explained(model, "features", lambda: check_features_rowwise(model, rows, seed))
    started = time.monotonic()
    hook = model.train_hook
    fitted = _explained(
        model,
        "train",
        lambda: hook(x=features, y=y, rows=rows, at=rows[model.at], groups=groups, weights=None, seed=seed),
    )
    seconds = time.monotonic() - started
    truth = Truthful(rows=rows, y=y, at=rows[model.at], groups=groups)
    baseline = _explained(model, "metric", lambda: baseline_of(model, truth))
    probes = rows[np.random.default_rng(seed).permutation(rows.height)[:SAMPLE].tolist()]
    output = _explained(model, "model", lambda: answer(model, fitted, probes))
    (bundle / PROBES).write_bytes(probe_content(probes, output))
    return {
        "flavour": flavours.keep(fitted, bundle),
        "kind": f"{type(fitted).__module__}.{type(fitted).__qualname__}",
        "features": {name: str(dtype) for name, dtype in features.schema.items()},
        "parameters": flavours.parameters_of(fitted),
        "seconds": seconds,
        "baseline": {"name": baseline.name, "value": baseline.value.tolist()},
        "rows": rows.height,
        "trained_through": kept["event_at"].max(),
        "label_mean": None if model.label.task is Task.MULTICLASS else float(np.mean(y.astype(np.float64))),
    }


def _explained(model: Model, part: str, deed: Callable[[], Any]) -> Any:
    """Do what runs the user's code; what it raises becomes a TrainingError with the line."""
    try:
        return deed()
    except PereneError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if f"/{BUNDLE}/{CODE}/" in frame.filename]
        shown = [f"{f.filename.partition(f'/{BUNDLE}/{CODE}/')[2]}:{f.lineno} in {f.name}" for f in own]
        raise TrainingError(
            f"{part} of {model.name} failed",
            why=f"{type(error).__name__}: {error}",
            seen=tuple(shown),
            mend=f"mend {shown[-1].partition(' ')[0] if shown else model.line}, then perene train {model.name}",
        ) from error
