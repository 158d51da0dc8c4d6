"""From the journals into the lake, exactly once.

A closed file is one source of appends: its number is the lake's transaction, so a drain that was cut off is repeated
without a second line. A file goes when everything in it is in the lake.

Lines become columns a few at a time, and ``rest`` is called in between: a server's other threads cannot answer while
this one computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import NamedTuple

import polars as pl
import sqlalchemy as sa

from perene.definition.model import Model
from perene.errors import PereneError, StorageError
from perene.pipelines.journaling import answered_rows, day_of, envelope_of
from perene.pipelines.truths import truths_frame, truths_of
from perene.repositories.models import lock_model
from perene.repositories.predictions import Predictions
from perene.repositories.truths import Truths
from perene.storage.database import Database
from perene.storage.envelope import Log
from perene.storage.ingests import COMMITTED
from perene.storage.journal import Entry, JournalFile, journal_files, orphans
from perene.storage.tables import given_id, ingest

Rest = Callable[[], None]

_PART = 500
_AT_ONCE = 1_000  # lines between two rests; of fewer at once each costs more
_ENTRY = 1  # an entry costs as much as another line


@dataclass(slots=True, kw_only=True)
class Drained:
    """What a drain did. ``again`` counts, by model, lines whose id another process had answered first: the log keeps
    the first. ``logs`` are those that were written to. Files that failed are kept; ``failures`` says why.
    ``ended`` names the dead writers of whom nothing is left.
    """

    files: int = 0
    predictions: int = 0
    truths: int = 0
    again: dict[str, int] = field(default_factory=dict)
    logs: set[tuple[str, Log]] = field(default_factory=set)
    failures: list[PereneError] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)


class KnownId(NamedTuple):
    """A given id that the lake knows: the digest of its row, and the day of its event."""

    row_digest: str
    day: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    """Where drained lines go."""

    models: Mapping[str, Model]
    predictions: Predictions
    truths: Truths
    database: Database


def drain(files: Sequence[JournalFile], logs: Logs, *, rest: Rest = lambda: None) -> Drained:
    """Bring closed files into the lake and take them away. A file that fails is kept and reported; the others go on.

    A log that has become many small files is tidied: each append, and each read, goes through the list of all.
    """
    done = Drained()
    for file in files:
        try:
            _drain_file(file, logs, done, rest)
        except PereneError as error:
            done.failures.append(error)
        except Exception as error:  # noqa: BLE001 - the edge of a step: the file is kept, the failure reported
            what, why = f"the journal {file.path} could not be drained", f"{type(error).__name__}: {error}"
            mend = "it is kept and tried again; perene doctor says more"
            done.failures.append(StorageError(what, why=why, mend=mend))
    for name, log in sorted(done.logs):
        logs.predictions.lake.tidy(name, log)
    return done


def drain_orphans(folder: Path, logs: Logs, *, rest: Rest = lambda: None) -> Drained:
    """Drain what dead processes left in a folder of journals. One process at a time drains a dead writer's files."""
    with orphans(folder) as files:
        done = drain(files, logs, rest=rest)
        done.ended = sorted({f.writer for f in files} - {f.writer for f in journal_files(folder)})
    return done


def _drain_file(file: JournalFile, logs: Logs, done: Drained, rest: Rest) -> None:
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in file.entries():
        groups.setdefault((entry.model, entry.kind), []).append(entry)
    unknown = sorted({model for model, _ in groups} - set(logs.models))
    for (name, kind), entries in groups.items():
        if name in unknown:
            continue
        model = logs.models[name]
        if kind == "prediction":
            _drain_predictions(model, entries, file, logs, done, rest)
        elif not _is_in_lake(logs.database, name, Log.TRUTHS, file.source):
            truths = truths_of(entries)
            logs.truths.append(model, truths_frame(model, truths), source=file.source)
            done.truths += len(truths)
            done.logs.add((name, Log.TRUTHS))
    if unknown:
        mend = "declare the model again until its journal is drained, or delete the file and lose what it holds"
        raise StorageError(
            f"{file.path} holds lines of a model that the project lacks: {', '.join(unknown)}", mend=mend
        )
    file.unlink()
    done.files += 1


def _drain_predictions(
    model: Model, entries: Sequence[Entry], file: JournalFile, logs: Logs, done: Drained, rest: Rest
) -> None:
    given = {entry.id: entry for entry in reversed(entries) if entry.id is not None}  # the first of each
    if _is_in_lake(logs.database, model.name, Log.PREDICTIONS, file.source):  # an earlier drain was cut off behind it
        _claim(logs.database, model.name, given)
        return
    before = known_ids(logs.database, model.name, set(given))
    new = {id_: entry for id_, entry in given.items() if id_ not in before}
    kept = [entry for entry in entries if entry.id is None or new.get(entry.id) is entry]
    rows = sum(entry.lines for entry in kept)
    if rows:
        parts = ([answered_rows(entry.body) for entry in some] for some in _some(kept, rest))
        frame = pl.concat([envelope_of(model, part) for part in parts], how="diagonal")
        logs.predictions.append(model, frame, source=file.source)
        done.predictions += rows
        done.logs.add((model.name, Log.PREDICTIONS))
    again = sum(entry.lines for entry in entries) - rows + _claim(logs.database, model.name, new)
    if again:
        done.again[model.name] = done.again.get(model.name, 0) + again


def _some(entries: Sequence[Entry], rest: Rest) -> Iterator[Sequence[Entry]]:
    """So many at a time as are worth a rest between."""
    some, work = list[Entry](), 0
    for entry in entries:
        if work >= _AT_ONCE:
            yield some
            rest()
            some, work = [], 0
        some.append(entry)
        work += entry.lines + _ENTRY
    yield some


def _is_in_lake(database: Database, model: str, log: Log, source: str) -> bool:
    """Whether the append of this source is committed."""
    mine = (ingest.c.model == model) & (ingest.c.log == log.value) & (ingest.c.source == source)
    with database.read() as connection:
        return connection.scalar(sa.select(ingest.c.id).where(mine, ingest.c.state == COMMITTED)) is not None


def known_ids(database: Database, model: str, ids: set[str]) -> dict[str, KnownId]:
    """Those of the ids that callers gave before and whose prediction the lake holds."""
    wanted = sorted(ids)
    found: dict[str, KnownId] = {}
    for part in (wanted[i : i + _PART] for i in range(0, len(wanted), _PART)):
        query = sa.select(given_id).where(given_id.c.model == model, given_id.c.prediction_id.in_(part))
        with database.read() as connection:
            found |= {r.prediction_id: KnownId(r.row_digest, r.day) for r in connection.execute(query)}
    return found


def _claim(database: Database, model: str, given: Mapping[str, Entry]) -> int:
    """Remember given ids; returns how many another drain had remembered in between."""
    if not given:
        return 0
    with database.write() as connection:
        lock_model(connection, model)  # a drain of another server may bring the same ids
        wanted = list(given)
        query = sa.select(given_id.c.prediction_id).where(given_id.c.model == model)
        taken: set[str] = set()
        for part in (wanted[i : i + _PART] for i in range(0, len(wanted), _PART)):
            taken |= set(connection.execute(query.where(given_id.c.prediction_id.in_(part))).scalars())
        new = {id_: answered_rows(entry.body) for id_, entry in given.items() if id_ not in taken}
        values = [
            {"model": model, "prediction_id": id_, "day": day_of(line.event_at[0]), "row_digest": line.row_digest[0]}
            for id_, line in new.items()
            if line.row_digest
        ]
        if values:
            connection.execute(sa.insert(given_id), values)
    return len(taken)
