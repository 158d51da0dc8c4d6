"""Micro-batches: whatever comes in adjoining turns of the event loop, and waits while the last batch is computed.

There is no timer, so a lone request never waits. Light requests are computed in the event loop's own thread: for those
that take less than a handover between threads costs, which is milliseconds where both want the interpreter.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from perene.errors import ServingError

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Deliver = Callable[[Sequence[Answer]], None]
Work = Callable[[Sequence[Request], Deliver[Answer]], None]

BATCH_ROWS = 2048
_ENOUGH = 64  # requests: more at once are hardly cheaper
_OF_ALL = {"not-logged", "no-live-version"}  # errors that each request of a batch would get alone


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Request, Answer]):
    request: Request
    rows: int
    is_light: bool
    answer: asyncio.Future[Answer]
    until: float  # of the event loop's time
    timeout_s: float | None
    on_wait: Callable[[asyncio.Future[Answer]], object] | None
    is_queued: bool = False  # for the thread
    timer: asyncio.TimerHandle | None = None


_HandOver = Callable[[Sequence[_Waiting[Any, Any]], Sequence[object]], None]


class Batcher(Generic[Request, Answer]):
    """Answers batches of requests: light ones where they came in, unless others wait; the rest in one worker thread.

    ``work(requests, deliver)`` calls ``deliver`` once, with one answer per request. When it raises before that, the
    batch is run again in halves, and their halves, so that only requests that fail alone get the error; one that is not
    about requests (the journal has no room, nothing is live) all get at once. A request whose
    time is over before its batch begins, or whose answer was cancelled, is not computed.
    """

    def __init__(self, name: str, work: Work[Request, Answer], *, limit_rows: int) -> None:
        self._work = work
        self._limit = limit_rows
        self._arrived: list[_Waiting[Request, Answer]] = []
        self._seen = 0  # how many had arrived a turn of the event loop ago
        self._waiting: deque[_Waiting[Request, Answer]] = deque()  # for the thread
        self._rows = 0  # of both
        self._is_idle = True  # the thread
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"perene-{name}", daemon=True)
        self._thread.start()

    def submit(
        self,
        request: Request,
        rows: int,
        *,
        is_light: bool = False,
        timeout_s: float | None = None,
        on_wait: Callable[[asyncio.Future[Answer]], object] | None = None,
    ) -> asyncio.Future[Answer]:
        """Queue a request of so many rows, whose answer is an error after ``timeout_s``.

        ``on_wait`` is called with the answer of a request that has to wait for the thread: whoever finds that nobody
        wants it any more cancels it. Raises ServingError when the queue is full or the server stops.
        """
        # Python 3.11 asks the system which process this is whenever it is asked for the loop: once a batch is enough.
        loop = self._arrived[0].answer.get_loop() if self._arrived else asyncio.get_running_loop()
        until = math.inf if timeout_s is None else loop.time() + timeout_s
        answer: asyncio.Future[Answer] = loop.create_future()
        waiting = _Waiting(request, rows, is_light, answer, until, timeout_s, on_wait)
        with self._changed:
            if self._closing:
                raise ServingError("the server is stopping", code="stopping", mend="send the request again")
            if self._rows and self._rows + rows > self._limit:
                why = f"{self._rows} rows wait already; the limit is {self._limit}"
                raise ServingError("too many requests wait", why=why, code="queue-full", mend="wait a second")
            self._rows += rows
        if not self._arrived:
            loop.call_soon(self._end_turn)
        self._arrived.append(waiting)
        return waiting.answer

    def close(self, timeout_s: float = 30.0) -> None:
        """Answer what waits, then end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _end_turn(self) -> None:
        """Compute here what has arrived, or leave it to the thread. While each turn brings more, wait for the next."""
        if self._seen < len(self._arrived) < _ENOUGH:
            self._seen = len(self._arrived)
            asyncio.get_running_loop().call_soon(self._end_turn)
            return
        arrived, self._arrived, self._seen = self._arrived, [], 0
        with self._changed:
            is_free = self._is_idle and not self._waiting and all(waiting.is_light for waiting in arrived)
            is_thread_s = not is_free and not self._closing
            if is_thread_s:
                for waiting in arrived:
                    waiting.is_queued = True
                self._waiting.extend(arrived)
                self._changed.notify()
        if is_thread_s:
            for waiting in arrived:
                self._look_after(waiting)
            return
        queue = deque(arrived)
        while queue:
            now = asyncio.get_running_loop().time()
            for waiting in queue:
                if waiting.until < now:
                    _expire(waiting)
            with self._changed:
                batch = self._cut(queue)
            if batch:
                self._answer(batch, _resolve)

    def _look_after(self, waiting: _Waiting[Request, Answer]) -> None:
        """See that a request leaves the queue when its time is over, or nobody waits for its answer."""
        if waiting.until < math.inf:
            waiting.timer = asyncio.get_running_loop().call_at(waiting.until, _expire, waiting)
        waiting.answer.add_done_callback(partial(self._leave, waiting))
        if waiting.on_wait is not None:
            waiting.on_wait(waiting.answer)

    def _leave(self, waiting: _Waiting[Request, Answer], answer: asyncio.Future[Answer]) -> None:
        if waiting.timer is not None:
            waiting.timer.cancel()
        with self._changed:
            if waiting.is_queued:
                self._waiting.remove(waiting)
                self._rows -= waiting.rows

    def _run(self) -> None:
        while (batch := self._take()) is not None:
            self._answer(batch, _hand_over)

    def _take(self) -> list[_Waiting[Request, Answer]] | None:
        """What waits, up to a batch's size; at least one request. None when the batcher ends."""
        with self._changed:
            self._is_idle = True
            while True:
                if batch := self._cut(self._waiting):
                    self._is_idle = False
                    return batch
                if self._closing:
                    return None
                self._changed.wait()

    def _cut(self, queue: deque[_Waiting[Request, Answer]]) -> list[_Waiting[Request, Answer]]:
        """Take the next batch of those that still want an answer: as many as fit, and the first in any case."""
        batch: list[_Waiting[Request, Answer]] = []
        rows = 0
        while queue and (not batch or rows + queue[0].rows <= BATCH_ROWS):
            waiting = queue.popleft()
            waiting.is_queued = False
            self._rows -= waiting.rows
            if not waiting.answer.done():
                batch.append(waiting)
                rows += waiting.rows
        return batch

    def _answer(self, batch: list[_Waiting[Request, Answer]], hand_over: _HandOver) -> None:
        delivered = False

        def deliver(answers: Sequence[Answer]) -> None:
            nonlocal delivered
            delivered = True
            hand_over(batch, answers)

        try:
            self._work([w.request for w in batch], deliver)
        except BaseException as error:  # noqa: BLE001 - the edge of a step: the error is the request's answer
            if delivered:
                return
            if len(batch) == 1 or (isinstance(error, ServingError) and error.code in _OF_ALL):
                hand_over(batch, [error if isinstance(error, Exception) else _as_ours(error)] * len(batch))
                return
            half = len(batch) // 2
            self._answer(batch[:half], hand_over)
            self._answer(batch[half:], hand_over)


def _expire(waiting: _Waiting[Any, Any]) -> None:
    """Its time is over: whoever waits is told so, and what has not begun does not begin."""
    if not waiting.answer.done():
        mend = "send it again, with more time or more slowly; a faster model or more workers have shorter queues"
        why = f"it had {waiting.timeout_s:g} s from when its body was here"
        waiting.answer.set_exception(
            ServingError("the time of this request is over", why=why, code="deadline", mend=mend)
        )


def _as_ours(error: BaseException) -> ServingError:
    """What would end a process, as sys.exit() in a hook, ends one request."""
    why = f"{type(error).__name__}: {error}"
    return ServingError("the model's code failed on these rows", why=why, mend="see its features and post steps")


def _hand_over(batch: Sequence[_Waiting[Any, Any]], answers: Sequence[object]) -> None:
    """Give the answers to the event loop in which the requests wait, from another thread."""
    loop = batch[0].answer.get_loop()
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(_resolve, batch, answers)


def _resolve(batch: Sequence[_Waiting[Any, Any]], answers: Sequence[object]) -> None:
    for waiting, answer in zip(batch, answers, strict=True):
        if waiting.answer.done():
            continue  # the caller went away
        if isinstance(answer, Exception):
            waiting.answer.set_exception(answer)
        else:
            waiting.answer.set_result(answer)
