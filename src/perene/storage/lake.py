"""The lake: one Delta table per model and log, append-only, partitioned by the day of the event.

An append goes through three steps, and a process may die between any two: its ingest number is opened in the database,
its rows are committed in Delta together with the number as an application transaction, and the number is committed in
the database. A repeat with the same source does what is missing. Readers see committed numbers only. Whoever needs a
horizon without open numbers calls ``settle``: it commits what is in Delta and voids the rest; a writer that was only
slow then finds its number void and writes again under a new one. No clock decides anything.

Each commit tells the highest number of its log, so a database that was restored from an older copy is found out before
it gives a number a second time.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from perene.clock import MachineClock
from perene.errors import StorageError
from perene.storage.database import Database
from perene.storage.envelope import Columns, Log, conform_lazily
from perene.storage.ingests import COMMITTED, Fence, Ingest, Ingests

_events = logging.getLogger("perene.lake")

_TRIES = 8
_READS = 3  # of one scan, whose files may be vacuumed meanwhile
_HIGHEST = "perene.ingest"  # in what each commit tells of itself: the highest number of the log
_LOOK_BACK = 3  # commits; that which makes a table tells nothing
_TERMS: dict[str, str | None] = {
    "delta.checkpointInterval": "20",
    # For how long commits stay that a checkpoint holds. Each append lists all that are there: with those of a month,
    # one a minute, it takes 340 ms, not 5 ms.
    "delta.logRetentionDuration": "interval 1 days",
}
# Whose extent in each file is kept: what reads look for. Each commit and each read goes through all that is kept.
_MEASURED = ("ingest", "event_at", "prediction_id")
_KEEP = timedelta(hours=1)  # how long a reader may still need a file that compaction replaced
_KEEP_UNCOMMITTED = timedelta(days=7)  # how long a writer may stand still between its files and their commit
_LOOSE_FILES = 64
_HOLD_S = 60.0  # how long a handle is kept up to date before the log is read anew
_SMALL = 8 << 20  # bytes; larger files are left alone: each row is rewritten about once
_ROWS_AT_ONCE = 1_000_000  # that are in memory, or one day's where that has more
_REWRITTEN_AT_ONCE = 200_000  # the same, of a compaction: servers do it beside their answers
# Of a local path: what deltalake cannot make a URL of or decodes, what Polars takes for a pattern or for a partition.
_UNREADABLE = re.compile(r"[\[\]*?^|\\=\x00-\x1f]|%[0-9A-Fa-f]{2}")


class Lake:
    """The tables of a project under one folder or URL. Appends may come from any process, thread or machine.

    ``options`` are those of the object store, as deltalake and Polars name them. Raises StorageError ("storage-path")
    for a folder whose path the table format cannot hold.
    """

    def __init__(
        self, root: str, database: Database, machine: MachineClock, *, options: Mapping[str, str] | None = None
    ) -> None:
        _ensure_readable(root)
        self._root = root.rstrip("/")
        self._options = dict(options or {})
        self._kept = threading.local()
        self.machine = machine
        self.ingests = Ingests(database, machine)

    def append(
        self, model: str, log: Log | str, frame: pl.DataFrame, *, source: str, fence: Fence | None = None
    ) -> int:
        """Append rows (with ``day``, without ``ingest``) exactly once for this source; returns the ingest number.

        The append is what Delta holds of it: a repeat with other rows adds nothing. ``fence`` is called in the
        transaction that opens the number: once a run is taken over and the log settled, the worker before adds no more.

        Raises:
            StorageError: nothing was appended; the same call may be repeated. The code is "storage-ahead" when the
                database is older than the table. What ``fence`` raises: the same.
            NotFound: the model is not registered.
        """
        log = Log(log)
        if frame["day"].null_count():
            what, why = f"a row for {log} of {model} has no day", "a row without it cannot be found again"
            raise StorageError(what, why=why, mend="give each row the time of its event")
        self._refuse_older_database(model, log)
        for _ in range(_TRIES):
            ingest = self.ingests.begin(model, log, source, fence=fence)
            if ingest.state == COMMITTED:
                return ingest.number
            try:
                wrote = self._write(model, log, frame, ingest.number)
            except Exception as error:
                self.ingests.void(ingest.number)
                if isinstance(error, StorageError):
                    raise
                raise _failed(model, log, "could not be appended to", error) from error
            rows, days = _extent(frame) if wrote else self._look(model, log, ingest.number)
            if self.ingests.commit(ingest.number, rows=rows, days=days):
                return ingest.number
        raise StorageError(f"an append to {log} of {model} was given up {_TRIES} times by others", mend="run it again")

    def scan(
        self,
        model: str,
        log: Log | str,
        *,
        columns: Columns | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        days: Collection[date] | None = None,
        upto: int | None = None,
    ) -> pl.LazyFrame:
        """The rows of committed appends, up to and with the number ``upto``.

        Args:
            columns: With these columns; with those of the table when None.
            since: From this event time on; a row without one counts by its ``day``, all of it.
            until: Before this event time.
            days: Of these partitions only.
        """
        readable = self.ingests.readable(model, Log(log), upto)
        table = self._open(model, Log(log))
        if table is None:
            return pl.LazyFrame(schema=dict(columns or {}))
        lazy = pl.scan_delta(table, storage_options=self._options or None)
        lazy = lazy.filter(pl.col("ingest") <= readable.upto)
        if readable.without:
            lazy = lazy.filter(~pl.col("ingest").is_in(readable.without))
        if days is not None:
            lazy = lazy.filter(pl.col("day").is_in(sorted(days)))
        for condition in _between(since, until):
            lazy = lazy.filter(condition)
        return lazy if columns is None else conform_lazily(lazy, columns)

    def settle(self, model: str, log: Log | str) -> int:
        """Decide every open append: committed when its rows are in Delta, void when not. Returns the horizon then."""
        log = Log(log)
        if numbers := self.ingests.open(model, log):
            table = self._open(model, log)
            for number in numbers:
                if table is not None and table.transaction_version(_application(number)) is not None:
                    rows, days = self._look(model, log, number)
                    self.ingests.commit(number, rows=rows, days=days)
                else:
                    self.ingests.void(number)
        return self.ingests.horizon(model, log)

    def horizon(self, model: str, log: Log | str) -> int:
        """The largest number up to which every append is committed or void; 0 when there is none."""
        return self.ingests.horizon(model, Log(log))

    def touched_days(self, model: str, log: Log | str, *, after: int, upto: int) -> set[date]:
        """The days of events that the appends ``after < number <= upto`` touched."""
        return {day for ingest in self._between(model, log, after, upto) for day in ingest.days}

    def last_touched(self, model: str, log: Log | str, *, upto: int) -> dict[date, int]:
        """For each day of events the last append, up to and with ``upto``, that touched it."""
        return {day: ingest.number for ingest in self._between(model, log, 0, upto) for day in ingest.days}

    def portions(self, model: str, log: Log | str, days: Iterable[date]) -> Iterator[list[date]]:
        """Days, in their order, as many at once as hold a million rows together, and at least one."""
        table = self._open(model, Log(log))
        with _explained(model, Log(log), "could not be looked at"):
            rows = {} if table is None else table.rows_by_day()
        portion: list[date] = []
        for day in days:
            if portion and sum(rows.get(other, 0) for other in (*portion, day)) > _ROWS_AT_ONCE:
                yield portion
                portion = []
            portion.append(day)
        if portion:
            yield portion

    def tidy(self, model: str, log: Log | str, *, most: int = _LOOSE_FILES) -> bool:
        """Compact and vacuum when there are ``most`` small files more than days; whether it was done.

        A table that cannot be tidied now is tidied another time: its rows are all there.
        """
        try:
            table = self._open(model, Log(log))
            with _explained(model, Log(log), "could not be looked at"):
                if table is None or table.crowded_days()["loose"].sum() < most:
                    return False
            self.compact(model, log)
            self.vacuum(model, log)
        except StorageError as error:
            _events.warning("not_tidied model=%s log=%s why=%s", model, log, error.why)
            return False
        return True

    def compact(self, model: str, log: Log | str) -> None:
        """Merge the small files of each day. Reads and appends go on meanwhile, and any number of compactions.

        Days that others would not leave alone for the moment that it takes are left for the next time. As many rows
        are in memory at once as ``_REWRITTEN_AT_ONCE`` says, or all small files of one day where they have more.
        """
        log = Log(log)
        table = self._open(model, log)
        crowded = pl.DataFrame() if table is None else table.crowded_days()
        while not crowded.is_empty():
            fit = max(1, int((crowded["rows"].cum_sum() <= _REWRITTEN_AT_ONCE).sum()))
            days, crowded = crowded["day"].head(fit).to_list(), crowded.slice(fit)
            with _explained(model, log, "could not be compacted"):
                any(self._merge(model, log, days) for _ in range(_TRIES))

    def vacuum(self, model: str, log: Log | str, *, keep: timedelta = _KEEP) -> None:
        """Remove the files that compaction replaced more than ``keep`` ago, and what dead writers left days ago.

        A file of a living writer that lay here uncommitted for longer would be missed by the whole table.
        """
        table = self._open(model, Log(log))
        if table is not None:
            with _explained(model, Log(log), "could not be vacuumed"):
                told = CommitProperties(custom_metadata=self._told(model, Log(log)))
                _vacuum(table, keep, told)
                _vacuum(table, max(keep, _KEEP_UNCOMMITTED), told, full=True)

    def _between(self, model: str, log: Log | str, after: int, upto: int) -> list[Ingest]:
        return self.ingests.committed(model, Log(log), after=after, upto=upto)

    def _write(self, model: str, log: Log, frame: pl.DataFrame, number: int) -> bool:
        """Commit the rows in Delta; False when an earlier try, or a racer, had done so.

        Delta accepts a repeated transaction in silence: it is read, and committed, on one handle, so that of two
        racers one fails.
        """
        rows = frame.with_columns(ingest=pl.lit(number, dtype=pl.Int64))
        transaction = Transaction(_application(number), 1)
        for _ in range(_TRIES):
            table = self._open(model, log) or self._create(model, log, rows)
            if table.transaction_version(transaction.app_id) is not None:
                return False
            _refuse_other_types(model, log, rows.schema, pl.scan_delta(table).collect_schema())
            with contextlib.suppress(CommitFailedError):
                properties = CommitProperties(app_transactions=[transaction], custom_metadata=self._told(model, log))
                write_deltalake(table, rows, mode="append", schema_mode="merge", commit_properties=properties)
                return True
        what = f"{log} of {model} could not be appended to: others were quicker {_TRIES} times"
        raise StorageError(what, mend="run it again")

    def _merge(self, model: str, log: Log, days: list[date]) -> bool:
        """Rewrite the small files of the days that are still crowded; False when anything else was committed meanwhile.

        Those hold the newest appends: what came from the first of them on is rewritten, larger files are left alone.

        deltalake's own compaction (1.6.6) would let two at once both commit, and every row would be there twice. An
        overwrite that is not tried again is committed only onto the very version that it read.
        """
        table = self._open_anew(model, log)
        if table is None or (crowded := table.crowded_days().filter(pl.col("day").is_in(days))).is_empty():
            return True
        parts = list(crowded.select("day", "since").iter_rows())
        mine = pl.any_horizontal((pl.col("day") == day) & (pl.col("ingest") >= since) for day, since in parts)
        there = pl.scan_delta(table, storage_options=self._options or None).filter(mine)
        rows = there.sort("ingest", maintain_order=True).collect()
        where = " OR ".join(f"(day = '{day}' AND ingest >= {since})" for day, since in parts)
        with contextlib.suppress(CommitFailedError):
            once = CommitProperties(max_commit_retries=0, custom_metadata=self._told(model, log))
            write_deltalake(table, rows, mode="overwrite", predicate=where, commit_properties=once)
            return True
        return False

    def _told(self, model: str, log: Log) -> dict[str, str]:
        """What a commit tells of itself."""
        return {_HIGHEST: str(self.ingests.highest(model, log))}

    def _refuse_older_database(self, model: str, log: Log) -> None:
        """Refuse a log that has higher numbers than the database knows: it would give them a second time."""
        table = self._open(model, log)
        there = 0 if table is None else table.highest_ingest()
        known = self.ingests.highest(model, log)  # asked after: what is in the table was in the database before
        if there > known:
            raise StorageError(
                f"the database is older than the table {log} of {model}",
                why=f"the table has appends up to number {there}, and the database knows of none after {known}",
                mend="restore the database and the `storage` of one moment together; two databases need two storages",
                code="storage-ahead",
            )

    def _look(self, model: str, log: Log, number: int) -> tuple[int, list[date]]:
        """How many rows Delta holds of an append, and of which days."""
        table = self._open(model, log)
        if table is None:
            return 0, []
        mine = pl.scan_delta(table, storage_options=self._options or None).filter(pl.col("ingest") == number)
        with _explained(model, log, "could not be read"):
            counts = mine.group_by("day").len().collect()
        return int(counts["len"].sum()), counts["day"].to_list()

    def _open(self, model: str, log: Log) -> _Table | None:
        """A handle on the newest state of a table, None when there is none; the next call in this thread moves it on.

        To bring a handle up to date costs a twentieth of reading the whole log, so each thread keeps its own for a
        while.
        """
        handles: dict[tuple[str, Log], tuple[_Table, float]] = self._kept.__dict__.setdefault("handles", {})
        table, opened_at = handles.pop((model, log), (None, 0.0))
        if table is not None and time.monotonic() - opened_at < _HOLD_S and self._is_there(model, log):
            with contextlib.suppress(DeltaError):
                table.update_incremental()
                handles[model, log] = table, opened_at
                return table
        table = self._open_anew(model, log)
        if table is not None:
            handles[model, log] = table, time.monotonic()
        return table

    def _open_anew(self, model: str, log: Log) -> _Table | None:
        """A handle of one's own on the newest state of a table, where it stays; None when there was never one.

        A table that has taken appends and is not found is away: to make it anew would be to lose what comes back.
        """
        table = self._find(model, log)
        if table is None and self.ingests.committed(model, log):
            table = self._find(model, log)  # another process may have made it in between
            if table is None:
                raise StorageError(
                    f"the table {log} of {model} is not where it was",
                    why=f"nothing is at {self._uri(model, log)}, and it has taken appends",
                    mend="bring the storage back: its disk, its folder, or the setting `storage`",
                    code="storage-away",
                )
        return table

    def _find(self, model: str, log: Log) -> _Table | None:
        with _explained(model, log, "could not be opened"):
            try:
                return _Table(self._uri(model, log), storage_options=self._options or None)
            except TableNotFoundError:
                return None

    def _is_there(self, model: str, log: Log) -> bool:
        """Whether a folder of this machine still has the table. A handle on one that is away notices nothing, and would
        write into the folder's place.
        """
        return "://" in self._root or Path(self._uri(model, log), "_delta_log").is_dir()

    def _create(self, model: str, log: Log, rows: pl.DataFrame) -> _Table:
        """Create the table without a row, unless another process has done so meanwhile.

        deltalake (1.6.6) reads nothing of a measured column that stands behind a struct, so they come first.
        """
        uri = self._uri(model, log)
        measured = [name for name in _MEASURED if name in rows.columns]
        terms = _TERMS | {"delta.dataSkippingStatsColumns": ",".join(measured)}
        with contextlib.suppress(CommitFailedError):
            write_deltalake(
                uri, rows.clear().select(*measured, pl.exclude(measured)), mode="ignore", partition_by=["day"],
                configuration=terms, storage_options=self._options or None,
            )  # fmt: skip
        return _Table(uri, storage_options=self._options or None)

    def _uri(self, model: str, log: Log) -> str:
        return f"{self._root}/{model}/{log}"


class _Table(DeltaTable):
    """A table whose local files have the names that the disk knows: deltalake's are percent-encoded, and Polars takes
    them literally.
    """

    def file_uris(self, *args: Any, **options: Any) -> list[str]:  # noqa: ANN401 - whatever deltalake's takes
        """The paths or URLs of the files."""
        return [uri if "://" in uri else unquote(uri) for uri in super().file_uris(*args, **options)]

    def highest_ingest(self) -> int:
        """The highest number that its newest commits tell of; 0 when they tell none."""
        told = (commit.get(_HIGHEST) for commit in self.history(_LOOK_BACK))
        return int(next(filter(None, told), 0))

    def rows_by_day(self) -> dict[date, int]:
        """How many rows lie in each partition, those of void appends too."""
        files = pl.DataFrame(self.get_add_actions(flatten=True))
        if files.is_empty():
            return {}
        return dict(files.group_by("partition.day").agg(pl.col("num_records").sum()).iter_rows())

    def crowded_days(self) -> pl.DataFrame:
        """The days that have several small files, in order: ``day``, how many of them are ``loose``, ``since`` which
        append they hold anything, and the ``rows`` of all files that hold something from there on.
        """
        files = pl.DataFrame(self.get_add_actions(flatten=True))
        if files.is_empty():
            return pl.DataFrame(schema={"day": pl.Date, "rows": pl.Int64, "loose": pl.Int64, "since": pl.Int64})
        small = files.filter(pl.col("size_bytes") < _SMALL).group_by(day="partition.day")
        days = small.agg(loose=pl.len().cast(pl.Int64) - 1, since=pl.min("min.ingest")).filter(pl.col("loose") > 0)
        there = days.join(files.rename({"partition.day": "day"}), on="day").filter(
            pl.col("max.ingest") >= pl.col("since")
        )
        return there.group_by("day", "loose", "since").agg(rows=pl.col("num_records").sum()).sort("day")


def _refuse_other_types(model: str, log: Log, rows: pl.Schema, table: pl.Schema) -> None:
    """Refuse rows whose columns have other types than the table's: Delta would cast them in silence."""
    for name, dtype in rows.items():
        if name in table and not _is_same(dtype, table[name]):
            raise StorageError(
                f"rows for {log} of {model} do not fit its table",
                why=f"{name} is {dtype}, and was {table[name]}",
                mend="a field that changed its type needs a new name",
                code="storage-type",
            )


def _is_same(new: pl.DataType, old: pl.DataType) -> bool:
    """Whether two types are the same, but for fields of structs that only one of them has."""
    if isinstance(new, pl.Struct) and isinstance(old, pl.Struct):
        fields = {field.name: field.dtype for field in old.fields}
        return all(_is_same(f.dtype, fields[f.name]) for f in new.fields if f.name in fields)  # type: ignore[arg-type]
    return new == old or new == pl.Null


def _ensure_readable(root: str) -> None:
    if "://" not in root and (odd := _UNREADABLE.search(str(Path(root).absolute()))):
        raise StorageError(
            f"the folder {root} cannot hold tables",
            why=f"its path has {odd.group()!r} in it, which the table format cannot read back",
            mend="move the project, or set `storage` to another folder",
            code="storage-path",
        )


def _vacuum(table: DeltaTable, keep: timedelta, told: CommitProperties, *, full: bool = False) -> None:
    hours = math.ceil(keep / timedelta(hours=1))
    table.vacuum(
        retention_hours=hours, dry_run=False, enforce_retention_duration=False, full=full, commit_properties=told
    )


def _application(number: int) -> str:
    return f"ingest-{number}"


def _extent(frame: pl.DataFrame) -> tuple[int, list[date]]:
    """How many rows a frame has, and of which days."""
    return frame.height, [] if frame.is_empty() else frame["day"].unique().to_list()


def _between(since: datetime | None, until: datetime | None) -> Iterator[pl.Expr]:
    """Conditions on event time; each also on the partition, so that other days are not opened."""
    at, day = pl.col("event_at"), pl.col("day")
    if since is not None:
        since = since.astimezone(UTC)
        yield day >= since.date()
        yield at.is_null() | (at >= since)
    if until is not None:
        until = until.astimezone(UTC)
        yield day <= (until - timedelta.resolution).date()
        yield at.is_null() | (at < until)


def collected(ask: Callable[[], pl.LazyFrame], model: str, log: Log) -> pl.DataFrame:
    """The rows of the scan that ``ask`` makes; it is made anew when a file was vacuumed under it, in a read of hours.

    Raises StorageError when a file of the table is damaged or cannot be read.
    """
    with _explained(model, log, "could not be read"):
        for _ in range(_READS - 1):
            with contextlib.suppress(OSError, pl.exceptions.ComputeError):
                return ask().collect()
        return ask().collect()


@contextlib.contextmanager
def _explained(model: str, log: Log, what: str) -> Iterator[None]:
    try:
        yield
    except (DeltaError, pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise _failed(model, log, what, error) from error


def _failed(model: str, log: Log, what: str, error: BaseException) -> StorageError:
    why = str(error).splitlines()[0] if str(error) else type(error).__name__
    mend = "check the setting `storage`, its disk and its rights"
    return StorageError(f"the table {log} of {model} {what}", why=why, mend=mend)
