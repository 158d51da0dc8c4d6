"""The batcher: what waits together is computed together, and no request suffers for another."""

from __future__ import annotations

import asyncio
import threading

import pytest

from perene.errors import ServingError
from perene.server.batcher import BATCH_ROWS, Batcher


class Doubler:
    """Doubles numbers; refuses negative ones; notes its batches and their threads; waits at ``gate`` when cleared."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: list[threading.Thread] = []
        self.gate = threading.Event()
        self.gate.set()
        self.busy = threading.Event()

    def __call__(self, requests, deliver) -> None:
        self.batches.append(list(requests))
        self.threads.append(threading.current_thread())
        self.busy.set()
        self.gate.wait(10)
        if -77 in requests:
            raise ServingError("the prediction cannot be logged", code="not-logged")
        if any(r < 0 for r in requests):
            raise SystemExit(1) if -99 in requests else ValueError("negative")
        deliver([2 * r for r in requests])


@pytest.fixture
def doubler():
    return Doubler()


@pytest.fixture
def batcher(doubler: Doubler):
    batcher = Batcher("test", doubler, limit_rows=BATCH_ROWS * 3)
    yield batcher
    doubler.gate.set()
    batcher.close()


async def busy(batcher: Batcher, doubler: Doubler) -> asyncio.Future:
    """Submit a request and hold its computation."""
    doubler.gate.clear()
    first = batcher.submit(0, 1)
    await asyncio.to_thread(doubler.busy.wait, 10)
    return first


def test_what_waits_is_one_batch(batcher: Batcher, doubler: Doubler) -> None:
    """Requests that come while a batch computes make up the next one, each with its own answer."""

    async def scenario() -> list[int]:
        first = await busy(batcher, doubler)
        rest = [batcher.submit(i, 1) for i in range(1, 6)]
        doubler.gate.set()
        return await asyncio.gather(first, *rest)

    answers = asyncio.run(scenario())

    assert answers == [0, 2, 4, 6, 8, 10]
    assert doubler.batches == [[0], [1, 2, 3, 4, 5]]


def test_a_batch_has_a_largest_size(batcher: Batcher, doubler: Doubler) -> None:
    """Large requests do not pile up in one batch; a request is never split."""

    async def scenario() -> None:
        first = await busy(batcher, doubler)
        rest = [batcher.submit(i, BATCH_ROWS // 2) for i in range(1, 4)]
        doubler.gate.set()
        await asyncio.gather(first, *rest)

    asyncio.run(scenario())

    assert doubler.batches == [[0], [1, 2], [3]]


def test_a_failed_batch_is_run_request_by_request(batcher: Batcher, doubler: Doubler) -> None:
    """One bad request of a batch fails alone; the others get their answers."""

    async def scenario() -> list[int | BaseException]:
        first = await busy(batcher, doubler)
        rest = [batcher.submit(i, 1) for i in (1, -2, 3)]
        doubler.gate.set()
        return await asyncio.gather(first, *rest, return_exceptions=True)

    answers = asyncio.run(scenario())

    assert [a for a in answers if not isinstance(a, ValueError)] == [0, 2, 6]
    assert isinstance(answers[2], ValueError)


def test_a_full_queue_refuses(batcher: Batcher, doubler: Doubler) -> None:
    """More rows than the limit may not wait; a request that finds the queue empty is taken whatever its size."""

    async def scenario() -> None:
        first = await busy(batcher, doubler)
        large = batcher.submit(1, BATCH_ROWS * 10)
        with pytest.raises(ServingError) as refused:
            batcher.submit(2, 1)
        doubler.gate.set()
        assert await asyncio.gather(first, large) == [0, 2]
        assert refused.value.code == "queue-full"

    asyncio.run(scenario())


def test_close_answers_what_waits(batcher: Batcher, doubler: Doubler) -> None:
    """What was taken in is answered before the thread ends; what comes after is refused."""

    async def scenario() -> list[int]:
        first = await busy(batcher, doubler)
        rest = [batcher.submit(i, 1) for i in (1, 2)]
        doubler.gate.set()
        await asyncio.to_thread(batcher.close)
        with pytest.raises(ServingError) as refused:
            batcher.submit(3, 1)
        assert refused.value.code == "stopping"
        return await asyncio.gather(first, *rest)

    assert asyncio.run(scenario()) == [0, 2, 4]


def test_a_request_that_exits_ends_no_more_than_itself(batcher: Batcher) -> None:
    """sys.exit() in a model's code is an error of that request; the next one is answered."""

    async def scenario() -> tuple[BaseException, int]:
        (failed,) = await asyncio.gather(batcher.submit(-99, 1), return_exceptions=True)
        return failed, await asyncio.wait_for(batcher.submit(4, 1), 10)

    failed, answer = asyncio.run(scenario())

    assert isinstance(failed, ServingError)
    assert failed.why == "SystemExit: 1"
    assert answer == 8


def test_light_requests_are_computed_where_they_came_in(batcher: Batcher, doubler: Doubler) -> None:
    """Those of one moment are one batch, and no other thread has to take them over."""

    async def scenario() -> list[int]:
        return await asyncio.gather(*(batcher.submit(i, 1, is_light=True) for i in range(3)))

    assert asyncio.run(scenario()) == [0, 2, 4]
    assert (doubler.batches, doubler.threads) == ([[0, 1, 2]], [threading.current_thread()])


def test_a_heavy_request_takes_the_light_ones_beside_it_along(batcher: Batcher, doubler: Doubler) -> None:
    """What is heavy never holds up the event loop, and a batch is not torn apart for it."""

    async def scenario() -> list[int]:
        return await asyncio.gather(batcher.submit(1, 1, is_light=True), batcher.submit(2, 1))

    assert asyncio.run(scenario()) == [2, 4]
    assert doubler.batches == [[1, 2]]
    assert threading.current_thread() not in doubler.threads


def test_light_requests_wait_behind_heavy_ones(batcher: Batcher, doubler: Doubler) -> None:
    """While the thread is busy, the event loop goes on: one batch is computed at a time."""

    async def scenario() -> list[int]:
        first = await busy(batcher, doubler)
        light = batcher.submit(1, 1, is_light=True)
        done, _ = await asyncio.wait([light], timeout=0.05)
        assert not done
        doubler.gate.set()
        return await asyncio.gather(first, light)

    assert asyncio.run(scenario()) == [0, 2]
    assert doubler.threads[1] is doubler.threads[0]


def test_requests_of_adjoining_turns_are_one_batch(batcher: Batcher, doubler: Doubler) -> None:
    """While each turn of the event loop brings more, the batch grows; a turn without ends it."""

    async def scenario() -> list[int]:
        asked = []
        for i in range(4):
            asked.append(batcher.submit(i, 1, is_light=True))
            await asyncio.sleep(0)
        return await asyncio.gather(*asked)

    assert asyncio.run(scenario()) == [0, 2, 4, 6]
    assert doubler.batches == [[0, 1, 2, 3]]


def test_a_light_request_that_fails_fails_alone(batcher: Batcher, doubler: Doubler) -> None:
    """As in the thread: the others of its batch get their answers."""

    async def scenario() -> list[int | BaseException]:
        asked = [batcher.submit(i, 1, is_light=True) for i in (1, -2, 3)]
        return await asyncio.gather(*asked, return_exceptions=True)

    first, failed, last = asyncio.run(scenario())

    assert (first, last) == (2, 6)
    assert isinstance(failed, ValueError)


def test_close_answers_what_has_just_arrived(batcher: Batcher, doubler: Doubler) -> None:
    """A request that no batch was made of yet is answered too, though the thread has ended."""

    async def scenario() -> int:
        asked = batcher.submit(1, 1)
        batcher.close()
        return await asyncio.wait_for(asked, 10)

    assert asyncio.run(scenario()) == 2


def test_a_batch_with_a_bad_request_is_halved(batcher: Batcher, doubler: Doubler) -> None:
    """What is good is not computed one by one for what is bad: halves that are good are answered as they are."""

    async def scenario() -> list[int | BaseException]:
        first = await busy(batcher, doubler)
        rest = [batcher.submit(-1 if i == 21 else i, 1) for i in range(1, 65)]
        doubler.gate.set()
        return await asyncio.gather(first, *rest, return_exceptions=True)

    answers = asyncio.run(scenario())

    assert [a for a in answers if not isinstance(a, ValueError)] == [2 * i for i in range(65) if i != 21]
    assert len(doubler.batches) == 2 + 2 * 6  # log2(64) halvings, and what came before


def test_an_error_that_all_have_is_told_to_all_at_once(batcher: Batcher, doubler: Doubler) -> None:
    """Where the journal has no room, a batch is not computed again and again for nothing."""

    async def scenario() -> list[BaseException]:
        first = await busy(batcher, doubler)
        rest = [batcher.submit(-77, 1) for _ in range(64)]
        doubler.gate.set()
        return (await asyncio.gather(first, *rest, return_exceptions=True))[1:]

    told = asyncio.run(scenario())

    assert [getattr(error, "code", None) for error in told] == ["not-logged"] * 64
    assert len(doubler.batches) == 2


def test_a_request_whose_time_is_over_is_refused_and_not_computed(batcher: Batcher, doubler: Doubler) -> None:
    """It is told so while the batch before it still computes; the others are answered."""

    async def scenario() -> tuple[ServingError, list[int]]:
        first = await busy(batcher, doubler)
        late, patient = batcher.submit(1, 1, timeout_s=0.01), batcher.submit(2, 1, timeout_s=60)
        with pytest.raises(ServingError) as refused:
            await asyncio.wait_for(late, 10)
        doubler.gate.set()
        return refused.value, await asyncio.gather(first, patient)

    refused, answers = asyncio.run(scenario())

    assert refused.code == "deadline"
    assert answers == [0, 4]
    assert doubler.batches == [[0], [2]]


def test_a_light_request_whose_time_is_over_is_not_computed(batcher: Batcher, doubler: Doubler) -> None:
    """Where the event loop was busy for longer than a request may take, the request is refused."""

    async def scenario() -> list[int | BaseException]:
        asked = [batcher.submit(n, 1, is_light=True, timeout_s=timeout_s) for n, timeout_s in ((1, -1.0), (2, 60.0))]
        return await asyncio.gather(*asked, return_exceptions=True)

    late, answered = asyncio.run(scenario())

    assert isinstance(late, ServingError)
    assert (late.code, answered) == ("deadline", 4)
    assert doubler.batches == [[2]]


def test_a_request_that_is_being_computed_when_its_time_is_over(batcher: Batcher, doubler: Doubler) -> None:
    """Its caller is told so at once; its batch is finished, and the next one comes."""

    async def scenario() -> tuple[str, int]:
        doubler.gate.clear()
        late = batcher.submit(1, 1, timeout_s=0.05)
        with pytest.raises(ServingError) as refused:
            await asyncio.wait_for(late, 10)
        doubler.gate.set()
        return refused.value.code, await batcher.submit(2, 1)

    assert asyncio.run(scenario()) == ("deadline", 4)
    assert doubler.batches == [[1], [2]]


def test_what_nobody_waits_for_leaves_the_queue(batcher: Batcher, doubler: Doubler) -> None:
    """A cancelled request, and one whose time is over, make room at once, and are not computed."""

    async def scenario() -> list[int]:
        first = await busy(batcher, doubler)
        gone = batcher.submit(1, BATCH_ROWS * 2, on_wait=lambda answer: answer.cancel())
        late = batcher.submit(2, BATCH_ROWS, timeout_s=0.01)
        await asyncio.wait([gone, late])
        assert isinstance(late.exception(), ServingError)
        await asyncio.sleep(0)
        large = [batcher.submit(n, BATCH_ROWS) for n in (3, 4, 5)]
        doubler.gate.set()
        return await asyncio.gather(first, *large)

    assert asyncio.run(scenario()) == [0, 6, 8, 10]
    assert doubler.batches == [[0], [3], [4], [5]]


def test_a_queue_of_cancelled_requests_ends_no_thread(batcher: Batcher, doubler: Doubler) -> None:
    """Where nothing of a queue is wanted any more, the next request is answered all the same."""

    async def scenario() -> int:
        first = await busy(batcher, doubler)
        for answer in [batcher.submit(n, 1) for n in (1, 2)]:
            answer.cancel()
        doubler.gate.set()
        await first
        return await asyncio.wait_for(batcher.submit(3, 1), 10)

    assert asyncio.run(scenario()) == 6
    assert [1, 2] not in doubler.batches
