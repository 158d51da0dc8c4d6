"""Many rows, batch by batch: the next is read while one is computed and the one before is written."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Iterable, Iterator
from queue import Empty, Full, Queue
from typing import Any, TypeVar

import polars as pl

from perene.definition.arrivals import Frame, arrived, technology
from perene.definition.checking import Checked
from perene.definition.model import Model
from perene.errors import DataError

Item = TypeVar("Item")

BATCH_ROWS = 50_000
_LOOK_S = 0.1


def ahead(items: Iterable[Item], *, most: int = 2) -> Generator[Item, None, None]:
    """The items, made in a thread of their own, up to ``most`` ahead of who takes them; what making raises is raised.

    Whoever stops taking ends the thread when what it makes at that moment is made.
    """
    made: Queue[tuple[Item] | BaseException | None] = Queue(most)
    stopping = threading.Event()

    def put(what: tuple[Item] | BaseException | None) -> bool:
        while not stopping.is_set():
            with contextlib.suppress(Full):
                made.put(what, timeout=_LOOK_S)
                return True
        return False

    def make() -> None:
        try:
            for item in items:
                if not put((item,)):
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 - the edge of a thread: it is raised where the items are taken
            put(error)
        finally:
            if hasattr(items, "close"):
                items.close()

    thread = threading.Thread(target=make, name="perene-ahead", daemon=True)
    thread.start()
    try:
        while (what := made.get()) is not None:
            if isinstance(what, BaseException):
                raise what
            yield what[0]
    finally:
        stopping.set()
        with contextlib.suppress(Empty):
            made.get_nowait()  # whoever waits for room sees the end sooner
        thread.join()


def batches_of(rows: Frame | Iterable[Frame], *, size: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
    """Rows in batches: of a frame, of a lazy one without holding all of it, or of frames that come one after another.

    Raises DataError: it is none of these.
    """
    if isinstance(rows, pl.LazyFrame):
        yield from _again(rows.collect_batches(chunk_size=size), size)
    elif technology(rows) in ("polars", "pandas", "pyarrow"):
        yield from arrived(rows).iter_slices(size)
    elif isinstance(rows, Iterable) and not isinstance(rows, str | bytes | dict):
        yield from _again((arrived(frame) for frame in rows), size)
    else:
        what = f"{type(rows).__name__} holds no rows"
        raise DataError(what, mend="give a frame, a polars LazyFrame, or frames one after another")


def refuse_bad(model: Model, checked: Checked) -> None:
    """Refuse rows of which some do not fit the Row. Raises DataError with what is wrong with which."""
    if checked.bad:
        bad = int(checked.bad_rows.sum())
        raise DataError(
            f"{bad:,} of {checked.bad_rows.len():,} rows do not fit {model.schema.name}",
            seen=tuple(f"{b.field} {b.what} ({b.rows:,} rows, as {b.sample[0]})" for b in checked.bad),
            mend="mend these rows",
            code="bad-rows",
        )


def _again(frames: Iterable[Any], size: int) -> Iterator[pl.DataFrame]:
    """Frames, none of them larger than a batch."""
    for frame in frames:
        yield from frame.iter_slices(size)
