"""Whether the store, the tables, the disks, the journals and the clocks are sound."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import polars as pl
import sqlalchemy as sa

from perene.clock import MachineClock
from perene.monitoring.doctor.attempts import broken, failed, fine, warning
from perene.records.finding import Finding
from perene.repositories.models import Models
from perene.repositories.time import ProjectTime
from perene.storage import tables
from perene.storage.database import Database
from perene.storage.envelope import Log
from perene.storage.journal import JournalFile, journal_files, lock_path
from perene.storage.lake import Lake, collected

_LEAST = 64 << 20  # bytes: with less, the next run or drain fails
_SOME = 256 << 20  # bytes that a run may need beside what it did before
_CLOCKS = timedelta(seconds=5)  # by which clocks may differ
_MIB = 1 << 20


def check_store(storage: str, *, is_used: bool | None) -> Iterator[Finding]:
    """Write a file, read it back, take it away. ``is_used``: whether the database knows of something that is there."""
    if "://" in storage:
        yield warning(
            "store", f"{storage} was not tried", why="it is no folder", mend="perene dataset verify MODEL reads it"
        )
        return
    root = Path(storage)
    if not root.is_dir():
        if is_used is False:
            yield fine("store", f"{root} comes with the first run")
        else:
            why = "the database knows of versions or appends that lie there" if is_used else ""
            mend = "bring it back: its disk, its folder, or the setting `storage`"
            yield broken("store", f"{root} is not there", why=why, mend=mend)
        return
    probe, content = root / f".doctor-{uuid4().hex}", os.urandom(4096)
    try:
        try:
            probe.write_bytes(content)
            is_same = probe.read_bytes() == content
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        mend = "free its disk, or give this user the right to write it"
        yield broken("store", f"{root} cannot be written", why=f"{error.strerror}", mend=mend)
        return
    if is_same:
        yield fine("store", f"{root} can be written and read back")
    else:
        yield broken("store", f"{root} gives back other bytes than were written", mend="look at its disk")


def check_tables(storage: str, database: Database, machine: MachineClock) -> Iterator[Finding]:
    """Count every row of every table of the lake, which opens each of its files."""
    lake = Lake(storage, database, machine)
    rows = {log.value: 0 for log in Log}
    is_sound = True
    for model in Models(database).list():
        for log in Log:
            try:
                rows[log.value] += _rows_of(lake, model.name, log)
            except Exception as error:  # noqa: BLE001 - one table that is damaged must not hide another
                is_sound = False
                yield failed(f"table {log.value} of {model.name}", error)
    if is_sound:
        yield fine("tables", ", ".join(f"{count:,} {log.replace('_', ' ')}" for log, count in rows.items()))


def _rows_of(lake: Lake, model: str, log: Log) -> int:
    return int(collected(lambda: lake.scan(model, log).select(pl.len()), model, log).item())


def check_space(places: Mapping[str, Path], *, free: Callable[[Path], int]) -> Iterator[Finding]:
    """The room on each disk, against what the last day took of it."""
    disks: dict[int, tuple[list[str], Path]] = {}
    for name, place in places.items():
        there = next(folder for folder in (place, *place.parents) if folder.is_dir())
        disks.setdefault(there.stat().st_dev, ([], there))[0].append(name)
    for names, folder in disks.values():
        left, need = free(folder), _SOME + 2 * sum(map(_lately, {places[name] for name in names}))
        check = "space" if len(disks) == 1 else f"space of {' and '.join(names)}"
        said = f"{left // _MIB:,} MiB free for {', '.join(names)}"
        mend = f"free space on the disk of {folder}"
        if left < _LEAST:
            yield broken(check, said, why="the next run or drain will fail", mend=mend)
        elif left < need:
            why = f"a day may need {need // _MIB:,} MiB: twice what the last one took"
            yield warning(check, said, why=why, mend=mend)
        else:
            yield fine(check, said)


def _lately(folder: Path) -> int:
    """The bytes of files in a folder that were written within a day of its newest."""
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                stat = os.stat(os.path.join(place, name))  # noqa: PTH116, PTH118 - a store has many files
            except OSError:
                continue  # gone in between
            found.append((stat.st_mtime, stat.st_size))
    newest = max((at for at, _ in found), default=0.0)
    return sum(size for at, size in found if at > newest - 86_400)


def check_journals(folder: Path) -> Iterator[Finding]:
    """What dead processes left, and whether each file can be read."""
    left, living, bad = [], 0, []
    for file in journal_files(folder):
        try:
            entries = sum(entry.lines for entry in file.entries())
        except Exception as error:  # noqa: BLE001 - one file that is damaged must not hide another
            bad.append(failed(f"journal {file.path.name}", error))
            continue
        if _lives(file):
            living += entries
        elif entries:
            left.append(entries)
    yield from bad
    if left:
        what = f"{sum(left):,} rows wait in {len(left)} files that dead processes left"
        why = "a server drains them within half a minute, a run at its start"
        yield warning("journals", what, why=why, mend="perene serve, or perene train MODEL")
    elif not bad:
        yield fine("journals", f"nothing is left over; {living:,} rows of living processes wait for their drain")


def _lives(file: JournalFile) -> bool:
    """Whether a living process holds the lock of a file's writer."""
    try:
        descriptor = os.open(lock_path(file.path.parent, file.writer), os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def check_clock(database: Database, machine: MachineClock) -> Iterator[Finding]:
    """Project time, and this machine's clock against what was recorded and against the database's server."""
    time = ProjectTime(database, machine)
    anchor, now, here = time.anchor(), time.now(), machine()
    newest = max((at for at in (_newest(database), None if anchor else now) if at is not None), default=here)
    if newest - here > _CLOCKS:
        what = f"this machine's clock is {_span(newest - here)} behind what was recorded"
        why = f"it says {here:%Y-%m-%d %H:%M:%S} UTC; the newest record is of {newest:%Y-%m-%d %H:%M:%S} UTC"
        yield broken("clock", what, why=why, mend="set the machine's clock (NTP); perene waits until it has caught up")
        return
    if database.dialect == "postgresql":
        before = machine()
        with database.read() as connection:
            theirs: datetime = connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
        skew = theirs - (before + (machine() - before) / 2)
        if abs(skew) > _CLOCKS:
            side = "ahead of" if skew > timedelta(0) else "behind"
            what = f"the database's server is {_span(abs(skew))} {side} this machine"
            yield warning(
                "clock", what, why="workers on several machines judge by them who is alive", mend="set both by NTP"
            )
            return
    if anchor is None:
        yield fine("clock", f"real time, {now:%Y-%m-%d %H:%M:%S} UTC")
    else:
        pace = "stands" if anchor.speed == 0 or anchor.has_run_down(here) else f"runs {anchor.speed:g} times as fast"
        yield fine("clock", f"a replay, at {now:%Y-%m-%d %H:%M:%S} UTC; it {pace}")


def _newest(database: Database) -> datetime | None:
    """The newest machine time that any process recorded."""
    columns = (
        tables.run.c.heartbeat_at, tables.server.c.heartbeat_at, tables.step.c.started_at, tables.step.c.ended_at,
        tables.ingest.c.created_at, tables.ingest.c.committed_at,
    )  # fmt: skip
    with database.read() as connection:
        found = [connection.scalar(sa.select(sa.func.max(column))) for column in columns]
    return max((at for at in found if at is not None), default=None)


def _span(value: timedelta) -> str:
    seconds = int(value.total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
