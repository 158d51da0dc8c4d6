"""Micro-batches: whatever waited while the last one computed. There is no timer, so a lone request never waits."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from perene.errors import ServingError

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Deliver = Callable[[Sequence[Answer]], None]
Work = Callable[[Sequence[Request], Deliver[Answer]], None]

BATCH_ROWS = 2048


@dataclass(slots=True)
class _Waiting(Generic[Request, Answer]):
    request: Request
    rows: int
    answer: asyncio.Future[Answer]


class Batcher(Generic[Request, Answer]):
    """One worker thread that answers batches of requests.

    ``work(requests, deliver)`` calls ``deliver`` once, with one answer per request. When it raises before that, each
    request of the batch is run again alone, so that only those that fail by themselves get the error.
    """

    def __init__(self, name: str, work: Work[Request, Answer], *, limit_rows: int) -> None:
        self._work = work
        self._limit = limit_rows
        self._waiting: deque[_Waiting[Request, Answer]] = deque()
        self._waiting_rows = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"perene-{name}", daemon=True)
        self._thread.start()

    def submit(self, request: Request, rows: int) -> asyncio.Future[Answer]:
        """Queue a request of so many rows. Raises ServingError when the queue is full or the server stops."""
        waiting = _Waiting[Request, Answer](request, rows, asyncio.get_running_loop().create_future())
        with self._changed:
            if self._closing:
                raise ServingError("the server is stopping", code="stopping", mend="send the request again")
            if self._waiting_rows and self._waiting_rows + rows > self._limit:
                why = f"{self._waiting_rows} rows wait already; the limit is {self._limit}"
                raise ServingError("too many requests wait", why=why, code="queue-full", mend="wait a second")
            self._waiting.append(waiting)
            self._waiting_rows += rows
            self._changed.notify()
        return waiting.answer

    def close(self, timeout_s: float = 30.0) -> None:
        """Answer what waits, then end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while batch := self._take():
            self._answer(batch)

    def _take(self) -> list[_Waiting[Request, Answer]]:
        """Everything that waits, up to a batch's size; at least one request. Nothing only when the batcher ends."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            batch: list[_Waiting[Request, Answer]] = []
            rows = 0
            while self._waiting and (not batch or rows + self._waiting[0].rows <= BATCH_ROWS):
                batch.append(self._waiting.popleft())
                rows += batch[-1].rows
            self._waiting_rows -= rows
        return batch

    def _answer(self, batch: list[_Waiting[Request, Answer]]) -> None:
        delivered = False

        def deliver(answers: Sequence[Answer]) -> None:
            nonlocal delivered
            delivered = True
            _hand_over(batch, answers)

        try:
            self._work([w.request for w in batch], deliver)
        except BaseException as error:  # noqa: BLE001 - the edge of a step: the error is the request's answer
            if delivered:
                return
            if len(batch) == 1:
                _hand_over(batch, [error if isinstance(error, Exception) else _as_ours(error)])
                return
            for waiting in batch:
                self._answer([waiting])


def _as_ours(error: BaseException) -> ServingError:
    """What would end a process, as sys.exit() in a hook, ends one request."""
    why = f"{type(error).__name__}: {error}"
    return ServingError("the model's code failed on these rows", why=why, mend="see its features and post steps")


def _hand_over(batch: Sequence[_Waiting[Request, Answer]], answers: Sequence[Answer | Exception]) -> None:
    """Give the answers to the event loops in which the requests wait."""
    loop = batch[0].answer.get_loop()
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(_resolve, batch, answers)


def _resolve(batch: Sequence[_Waiting[Request, Answer]], answers: Sequence[Answer | Exception]) -> None:
    for waiting, answer in zip(batch, answers, strict=True):
        if waiting.answer.done():
            continue  # the caller went away
        if isinstance(answer, Exception):
            waiting.answer.set_exception(answer)
        else:
            waiting.answer.set_result(answer)
