"""Rehearsals: a version is loaded and asked as in a server, in a child process, before anybody depends on it.

The task lies above this room, in the server; it comes by its name, as every task of an engine.
"""

from __future__ import annotations

import shutil
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import mkdtemp

import msgspec
import polars as pl

from perene.definition.label import Task
from perene.definition.model import Model
from perene.engines.local import LocalEngine, TaskEnd
from perene.errors import DataError, ServingError
from perene.records.model import ModelVersion
from perene.records.rehearsal import Rehearsal
from perene.repositories.datasets import Datasets
from perene.repositories.predictions import Predictions
from perene.storage.envelope import Log

TASK = "perene.server.rehearsal:rehearse"
JOB, ROWS, MADE, ERROR = "job.json", "rows.arrow", "rehearsal.json", "error.json"
SIZES, ALL_SIZES = (1, 100), (1, 100, 64, 1000)  # rows of a request; memory is looked at after the first two
SAMPLE = 1000  # rows
_LIMIT_S = 300.0
_LEFT_S = 3600.0
_ENOUGH_LOGGED = 200  # rows; with fewer the dataset's are replayed
_DAYS = 3  # of events, those that the log was last appended to


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a rehearsal is asked: ``bundles`` is the folder of all bundles, ``now`` the project time to answer at."""

    version: ModelVersion
    project: str
    bundles: str
    durability: str
    now: datetime
    sizes: tuple[int, ...]


class _Told(msgspec.Struct):
    what: str
    why: str
    mend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where versions are rehearsed. ``project`` is its folder, ``scratch`` one for what lies about meanwhile."""

    engine: LocalEngine
    project: Path
    bundles: Path
    scratch: Path
    durability: str

    def rehearse(
        self,
        version: ModelVersion,
        rows: pl.DataFrame,
        *,
        now: datetime,
        sizes: tuple[int, ...] = ALL_SIZES,
        lost: threading.Event | None = None,
    ) -> Rehearsal:
        """Load a version in a process of its own, replay these rows as requests, and measure.

        Args:
            rows: checked rows; a thousand are enough, as ``sampled`` takes them.
            now: project time.
            sizes: rows of a request, of each size that is tried.
            lost: ends it when it is set.

        Raises:
            ServingError: the version could not be loaded, did not answer, took too long or died ("rehearsal-failed").
        """
        folder = _make_folder(self.scratch, f"rehearsal-{version.model}")
        job = Job(
            version=version, project=str(self.project.absolute()), bundles=str(self.bundles.absolute()),
            durability=self.durability, now=now, sizes=sizes,
        )  # fmt: skip
        try:
            (folder / JOB).write_bytes(msgspec.json.encode(job))
            rows.write_ipc(folder / ROWS)
            end = self.engine.run(TASK, folder, lost=lost, limit_s=_LIMIT_S)
            return _made(version, folder, end)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _make_folder(scratch: Path, name: str) -> Path:
    """A folder of this rehearsal's own, beside those of others at work. What killed ones left goes after an hour."""
    scratch.mkdir(parents=True, exist_ok=True)
    made = Path(mkdtemp(prefix=f"{name}-", dir=scratch))
    for left in scratch.glob(f"{name}-*"):
        with suppress(FileNotFoundError):  # another one's, which has just ended
            if made.stat().st_mtime - left.stat().st_mtime > _LEFT_S:
                shutil.rmtree(left, ignore_errors=True)
    return made


def _made(version: ModelVersion, folder: Path, end: TaskEnd) -> Rehearsal:
    if (folder / MADE).exists() and not end.died:
        return msgspec.json.decode((folder / MADE).read_bytes(), type=Rehearsal)
    what = f"{version.model} v{version.version} could not be rehearsed"
    if (folder / ERROR).exists():
        told = msgspec.json.decode((folder / ERROR).read_bytes(), type=_Told)
        why = f"{told.what}: {told.why}" if told.why else told.what
        raise ServingError(what, why=why, mend=told.mend or "see what its hooks do", code="rehearsal-failed")
    why = f"its process died of {end.died}" if end.died else "its process ended without a result"
    mend = "see what its hooks and the loaded model do"
    if end.died.startswith("signal 9"):
        mend = f"a smaller model, or more memory: it had taken {end.peak_memory / 2**30:.1f} GiB"
    raise ServingError(what, why=why, mend=mend, seen=end.printed, code="rehearsal-failed")


def sampled(model: Model, rows: pl.DataFrame) -> pl.DataFrame:
    """The Row's columns of up to 1,000 rows; of a ranking, of whole groups, which lie together in time."""
    known = rows.select(list(model.schema.polars))
    if known.height <= SAMPLE:
        return known
    return known.tail(SAMPLE) if model.label.task is Task.RANKING else known.sample(SAMPLE, seed=0)


def rows_to_replay(
    model: Model, version: ModelVersion, *, predictions: Predictions, datasets: Datasets
) -> tuple[pl.DataFrame, str]:
    """Rows as a caller would send them, and where they are from: the newest that were logged, where the log has all
    fields and enough rows; else the test rows of the version's dataset.

    Raises:
        DataError: there are none.
    """
    if all(field.logged for field in model.schema.fields):
        logged = _logged(model, predictions)
        if logged.height >= _ENOUGH_LOGGED:
            return sampled(model, logged), "the prediction log"
    examples = datasets.read(model, version.dataset, part="test")
    if examples.is_empty():
        what = f"there are no rows to rehearse {model.name} v{version.version} with"
        why = f"dataset v{version.dataset} has no test row any more, and the log less than {_ENOUGH_LOGGED}"
        raise DataError(what, why=why, mend=f"perene train {model.name}, then rehearse what it made", code="data-empty")
    return sampled(model, examples), f"test rows of dataset v{version.dataset}"


def _logged(model: Model, predictions: Predictions) -> pl.DataFrame:
    horizon = predictions.lake.horizon(model.name, Log.PREDICTIONS)
    touched = predictions.lake.last_touched(model.name, Log.PREDICTIONS, upto=horizon)
    days = sorted(touched, key=lambda day: touched[day], reverse=True)[:_DAYS]
    if not days:
        return pl.DataFrame(schema=model.schema.polars)
    lines = predictions.scan(model, days=days).filter(pl.col("role") != "shadow").sort("recorded_at")
    rows = lines.select("request").tail(5 * SAMPLE).collect()["request"].struct.unnest()
    return model.schema.check(rows).good  # a field that came later may be missing in older ones
