"""How every protocol asks a model: submitted, waited for as long as anybody wants the answer, and counted."""

from __future__ import annotations

import asyncio
from functools import partial
from time import perf_counter
from typing import Any

from starlette.types import Receive

from perene.errors import PereneError, ServingError
from perene.server.answering import Answering
from perene.server.batch import Render, native
from perene.server.problems import status_of
from perene.server.requests import take_ids


async def ask(
    answering: Answering, rows: list[Any], receive: Receive, *, timeout_s: float | None, render: Render = native
) -> bytes:
    """The answer to a request's rows, which may have prediction ids, as ``render`` writes it.

    Raises:
        BadRows, Conflict: the rows do not fit, or a prediction id belongs to another row.
        ServingError: nothing is live, too many wait, the time is over, or the model's code failed.
    """
    started = perf_counter()
    try:
        ids = take_ids(rows)
        answer = await answering.submit(rows, ids, render, timeout_s=timeout_s, on_wait=partial(_watch, receive))
    except asyncio.CancelledError:
        task = asyncio.current_task()
        is_ending = task is not None and task.cancelling() > 0  # the server; else the caller went away
        answering.meter.not_answered(len(rows), "failed" if is_ending else "abandoned")
        what = "the answer was not ready when the caller went away, or the server ended"
        raise ServingError(what, mend="send the request again", code="stopping") from None
    except Exception as error:
        is_refused = isinstance(error, PereneError) and status_of(error) < 500
        answering.meter.not_answered(len(rows), "refused" if is_refused else "failed")
        raise
    answering.meter.answered(len(rows), perf_counter() - started)
    return answer


def _watch(receive: Receive, answer: asyncio.Future[bytes]) -> None:
    """Cancel an answer when its caller goes away."""
    watching = asyncio.get_running_loop().create_task(_cancel_when_gone(receive, answer))
    _WATCHING.add(watching)
    watching.add_done_callback(_WATCHING.discard)


_WATCHING: set[asyncio.Task[None]] = set()  # or they might be collected


async def _cancel_when_gone(receive: Receive, answer: asyncio.Future[bytes]) -> None:
    """Ends in any case: a request that is answered has no more to receive."""
    while (await receive())["type"] != "http.disconnect":
        pass
    answer.cancel()
