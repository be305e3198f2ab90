"""Requests that wait together are computed together; nobody waits for company, and nobody is answered for another."""

import asyncio
import threading

import pytest

from raypipe.errors import RequestError
from raypipe.serving.batcher import INLINE_ROWS, Batcher


class Doubler:
    """Doubles numbers; remembers how many came together and on which thread."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.threads: list[int] = []

    def __call__(self, rows: list[int]) -> list[int]:
        self.sizes.append(len(rows))
        self.threads.append(threading.get_ident())
        if -1 in rows:
            raise ValueError("minus one")
        return [2 * row for row in rows]


def test_a_single_request_is_computed_at_once() -> None:
    compute = Doubler()
    assert asyncio.run(Batcher(compute).submit([1, 2])) == [2, 4]
    assert compute.sizes == [2]


def test_those_that_wait_together_are_computed_together_and_answered_apart() -> None:
    compute = Doubler()

    async def ask() -> list[list[int]]:
        batcher = Batcher(compute)
        return await asyncio.gather(*(batcher.submit([n, n + 1]) for n in range(50)))

    assert asyncio.run(ask()) == [[2 * n, 2 * n + 2] for n in range(50)]
    assert compute.sizes == [100]


def test_those_on_their_way_are_waited_for() -> None:
    compute = Doubler()

    async def late(batcher: Batcher[int, int], turns: int) -> list[int]:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await batcher.submit([turns])

    async def ask() -> None:
        batcher = Batcher(compute)
        await asyncio.gather(*(late(batcher, turns) for turns in range(10)))

    asyncio.run(ask())
    assert compute.sizes == [10]


def test_a_batch_has_a_limit_and_a_request_is_not_split() -> None:
    compute = Doubler()

    async def ask() -> list[list[int]]:
        batcher = Batcher(compute, max_batch=10)
        return await asyncio.gather(*(batcher.submit([0] * size) for size in (6, 4, 1, 25, 3)))

    assert [len(rows) for rows in asyncio.run(ask())] == [6, 4, 1, 25, 3]
    assert compute.sizes == [10, 1, 25, 3]


def test_large_work_leaves_the_event_loop_free() -> None:
    compute = Doubler()

    async def ask() -> None:
        batcher = Batcher(compute, max_batch=10_000)
        await batcher.submit([1] * INLINE_ROWS)
        await batcher.submit([1] * (INLINE_ROWS + 1))

    asyncio.run(ask())
    assert compute.threads[0] == threading.get_ident() != compute.threads[1]


def test_one_that_cannot_be_computed_fails_alone() -> None:
    compute = Doubler()

    async def ask() -> list[list[int] | BaseException]:
        batcher = Batcher(compute)
        return await asyncio.gather(*(batcher.submit([n]) for n in (1, -1, 3)), return_exceptions=True)

    first, bad, last = asyncio.run(ask())
    assert (first, last) == ([2], [6])
    assert isinstance(bad, ValueError)
    assert asyncio.run(Batcher(compute).submit([4])) == [8]


def test_too_much_waiting_is_refused_at_once() -> None:
    compute = Doubler()

    async def ask() -> list[list[int] | BaseException]:
        batcher = Batcher(compute, max_waiting=5)
        return await asyncio.gather(*(batcher.submit([n, n]) for n in range(4)), return_exceptions=True)

    answers = asyncio.run(ask())
    assert answers[:2] == [[0, 0], [2, 2]]
    assert [error.status for error in answers[2:] if isinstance(error, RequestError)] == [503, 503]
    assert compute.sizes == [4]


def test_a_request_larger_than_the_queue_is_taken_when_nobody_waits() -> None:
    assert asyncio.run(Batcher(Doubler(), max_waiting=5).submit([1] * 6)) == [2] * 6


def test_nothing_is_computed_for_those_who_went_away() -> None:
    compute = Doubler()

    async def ask() -> list[int]:
        batcher = Batcher(compute)
        gone = asyncio.create_task(batcher.submit([7] * 9))
        stays = asyncio.create_task(batcher.submit([1]))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return await stays

    assert asyncio.run(ask()) == [2]
    assert compute.sizes == [1]


def test_when_all_went_away_the_next_one_is_answered() -> None:
    compute = Doubler()

    async def ask() -> list[int]:
        batcher = Batcher(compute)
        gone = asyncio.create_task(batcher.submit([7]))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0.01)
        return await batcher.submit([1])

    assert asyncio.run(ask()) == [2]
    assert compute.sizes == [1]


def test_what_fails_everybody_is_tried_once() -> None:
    sizes = []

    def compute(rows: list[int]) -> list[int]:
        sizes.append(len(rows))
        raise RequestError("are not there", where="features", status=503)

    async def ask() -> list[list[int] | BaseException]:
        batcher = Batcher(compute)
        return await asyncio.gather(*(batcher.submit([n]) for n in range(5)), return_exceptions=True)

    assert [type(answer) for answer in asyncio.run(ask())] == [RequestError] * 5
    assert sizes == [5]
