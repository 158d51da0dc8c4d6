"""Dataset versions: questions with fixed answers, and the proof that an answer is still what it was."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date, datetime
from typing import Literal, TypeAlias

import polars as pl
import sqlalchemy as sa

from perene.definition.model import Model
from perene.errors import NotFound
from perene.records.dataset import Changes, DatasetVersion, DayOfExamples
from perene.repositories import Fence
from perene.repositories.example_days import ExampleDays
from perene.repositories.examples import Examples, Question
from perene.repositories.models import lock_model
from perene.storage.database import Database
from perene.storage.digests import combined
from perene.storage.lake import Lake
from perene.storage.tables import dataset_version

Part: TypeAlias = Literal["train", "test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Whether a dataset version still reads back what it held. ``days`` are those that differ, where that is known."""

    ok: bool
    then: str
    now: str
    rows: int
    days: tuple[date, ...]


class Datasets:
    """The dataset versions of each model, numbered from 1."""

    def __init__(self, database: Database, lake: Lake) -> None:
        self._database = database
        self.examples = Examples(lake)
        self.days = ExampleDays(self.examples, database)

    def add(self, version: DatasetVersion, *, fence: Fence | None = None) -> DatasetVersion:
        """Remember a version and give it its number (the one that it comes with is not used).

        The same run again gives the version that it made before, and writes nothing. Raises what ``fence`` raises.
        """
        with self._database.write() as connection:
            if fence is not None:
                fence(connection)
            lock_model(connection, version.model)
            if version.run is not None:
                made = _one(connection, dataset_version.c.run == version.run)
                if made is not None:
                    return made
            newest = sa.select(sa.func.max(dataset_version.c.version)).where(dataset_version.c.model == version.model)
            number = (connection.scalar(newest) or 0) + 1
            values = {**asdict(version), "version": number, "statistics": dict(version.statistics)}
            connection.execute(sa.insert(dataset_version), values)
            added = _one(connection, _is(version.model, number))
            assert added is not None
            return added

    def of_run(self, run: int) -> DatasetVersion | None:
        """The version that a run made, if it has made one."""
        with self._database.read() as connection:
            return _one(connection, dataset_version.c.run == run)

    def get(self, model: str, version: int) -> DatasetVersion:
        """One version. Raises NotFound with those that exist."""
        with self._database.read() as connection:
            found = _one(connection, _is(model, version))
        if found is None:
            last = self.latest(model)
            why = f"{model} has v1 to v{last.version}" if last else f"{model} has no dataset yet"
            raise NotFound(f"{model} has no dataset v{version}", why=why, mend=f"perene dataset list {model}")
        return found

    def latest(self, model: str) -> DatasetVersion | None:
        """The newest version of a model; None before the first."""
        return next(iter(self.list(model, limit=1)), None)

    def list(self, model: str | None = None, *, limit: int | None = None) -> builtins.list[DatasetVersion]:
        """The versions of a model, or of all, newest first."""
        query = sa.select(dataset_version).order_by(dataset_version.c.id.desc()).limit(limit)
        if model is not None:
            query = query.where(dataset_version.c.model == model)
        with self._database.read() as connection:
            return [_read(row) for row in connection.execute(query).mappings()]

    def read(self, model: Model, version: DatasetVersion | int, *, part: Part | None = None) -> pl.DataFrame:
        """The rows of a version, by event time and key: ``key, event_at``, the Row's fields, ``label, known_at, part``.

        ``part`` is train, test, or gap (labels of those came while the test already ran); only those of one part are
        read when it is given. The label is null where there is none. A field that the Row has gained since is its
        default in older rows.
        """
        asked = self.get(model.name, version) if isinstance(version, int) else version
        since, until = _span(asked, part)
        answer = self.examples.answer(model, replace(question_of(asked), since=since, until=until))
        at = pl.col("event_at")
        parts = (
            pl.when(at < asked.trained_until).then(pl.lit("train"))
            .when(at < asked.split).then(pl.lit("gap")).otherwise(pl.lit("test"))
        )  # fmt: skip
        return answer.select("key", "event_at", *_fields(model, answer), "label", "known_at", part=parts)

    def verify(self, model: Model, version: DatasetVersion | int) -> Verification:
        """Read a version again, from the examples alone, and compare its digest with the one of its making."""
        asked = self.get(model.name, version) if isinstance(version, int) else version
        question = question_of(asked)
        found = self.days.recompute(model, question)
        now = digest_of_version(asked, found)
        ok = now == asked.digest
        differing = () if ok else self._differing(model, question, found)
        return Verification(ok=ok, then=asked.digest, now=now, rows=sum(day.rows for day in found), days=differing)

    def _differing(self, model: Model, question: Question, found: Sequence[DayOfExamples]) -> tuple[date, ...]:
        """The days whose digest is not the kept one; if none, those whose digest was not kept."""
        now = {day.day: day.digest for day in found}
        then = {day.day: day.digest for day in self.days.kept(model, question)}
        changed = {day for day, digest in then.items() if now.get(day) != digest}
        return tuple(sorted(changed or now.keys() - then.keys()))


def question_of(version: DatasetVersion) -> Question:
    """What a version asks of the examples."""
    return Question(since=version.since, until=version.until, as_of=version.as_of, ingest=version.ingest)


def _span(version: DatasetVersion, part: Part | None) -> tuple[datetime, datetime]:
    match part:
        case "train":
            return version.since, max(version.since, version.trained_until)
        case "test":
            return version.split, version.until
        case None:
            return version.since, version.until


def _fields(model: Model, answer: pl.DataFrame) -> Iterator[pl.Expr]:
    """The Row's fields out of the struct that was written, which may lack some."""
    written = answer.schema["row"]
    there = {field.name for field in written.fields} if isinstance(written, pl.Struct) else set()
    for field in model.schema.fields:
        if field.name not in there:
            yield pl.lit(field.default, dtype=field.dtype).alias(field.name)
            continue
        value = pl.col("row").struct.field(field.name).cast(field.dtype)
        # Null in a field that cannot be null: the row was written before the field was.
        yield value if field.nullable or field.required else value.fill_null(pl.lit(field.default, dtype=field.dtype))


def digest_of_version(version: DatasetVersion, days: Sequence[DayOfExamples]) -> str:
    """The digest of a version whose days are these."""
    window = (version.since, version.trained_until, version.split, version.until)
    return combined({day.day: day.digest for day in days}, question=[at.isoformat() for at in window])


def _is(model: str, version: int) -> sa.ColumnElement[bool]:
    return sa.and_(dataset_version.c.model == model, dataset_version.c.version == version)


def _one(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> DatasetVersion | None:
    row = connection.execute(sa.select(dataset_version).where(condition)).mappings().first()
    return None if row is None else _read(row)


def _read(row: sa.RowMapping) -> DatasetVersion:
    values = {field.name: row[field.name] for field in fields(DatasetVersion)}
    return DatasetVersion(**values | {"changes": Changes(**row["changes"])})
