"""Requests that wait at the same time are computed together; a request that finds nobody waiting does not wait."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from polars.exceptions import PanicException

from raypipe.errors import RequestError

T = TypeVar("T")
R = TypeVar("R")

#: Up to this many rows are computed on the event loop: handing them to a thread costs more than it gives.
INLINE_ROWS = 256
#: How many turns of the event loop a request takes from its socket to here, behind Serve. All of them together cost
#: some 40 µs when nobody else comes, and one row costs a thousand.
TURNS = 4


@dataclass(frozen=True, slots=True)
class _Job(Generic[T, R]):
    rows: list[T]
    answer: asyncio.Future[list[R]]


class Batcher(Generic[T, R]):
    """One worker that takes all that waits, computes it in one call, and takes again.

    Args:
        compute: rows in, one result a row out; called by one thread at a time.
        max_batch: how many rows it takes at once; one request is never split.
        max_waiting: how many rows may wait; a request over that is refused at once.
    """

    def __init__(
        self, compute: Callable[[list[T]], list[R]], *, max_batch: int = 128, max_waiting: int = 8_192
    ) -> None:
        self._compute = compute
        #: Both may be changed at any moment.
        self.max_batch, self.max_waiting = max_batch, max_waiting
        self._jobs: deque[_Job[T, R]] = deque()
        self._waiting = 0
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, rows: list[T]) -> list[R]:
        """The results of some rows, in their order.

        Raises:
            RequestError: too much waits already; status 503.
        """
        if self._jobs and self._waiting + len(rows) > self.max_waiting:
            raise overloaded()
        loop = asyncio.get_running_loop()
        job: _Job[T, R] = _Job(rows, loop.create_future())
        self._jobs.append(job)
        self._waiting += len(rows)
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        return await job.answer

    async def _work(self) -> None:
        try:
            while self._jobs:
                await self._gather()
                await self._answer(self._take())
        finally:
            self._worker = None

    async def _gather(self) -> None:
        """Let those come in whose requests have arrived already, as long as more of them do."""
        quiet = 0
        while quiet < TURNS and self._waiting < self.max_batch:
            before = self._waiting
            await asyncio.sleep(0)
            quiet = quiet + 1 if self._waiting == before else 0

    def _take(self) -> list[_Job[T, R]]:
        jobs: list[_Job[T, R]] = []
        size = 0
        while self._jobs and (not jobs or size + len(self._jobs[0].rows) <= self.max_batch):
            job = self._jobs.popleft()
            self._waiting -= len(job.rows)
            # Whoever asked may have gone away while waiting.
            if not job.answer.done():
                jobs.append(job)
                size += len(job.rows)
        return jobs

    async def _answer(self, jobs: list[_Job[T, R]]) -> None:
        rows = [row for job in jobs for row in job.rows]
        if not rows:
            return
        try:
            if len(rows) > INLINE_ROWS:
                results = await asyncio.get_running_loop().run_in_executor(None, self._compute, rows)
            else:
                results = self._compute(rows)
        except (Exception, PanicException) as error:  # noqa: BLE001  # handed to whoever waits for it
            # One row that cannot be computed must not fail the requests that happened to come with it.
            if len(jobs) > 1 and not _is_everybodys(error):
                for job in jobs:
                    await self._answer([job])
                return
            for job in jobs:
                if not job.answer.done():
                    job.answer.set_exception(error)
            return
        at = 0
        for job in jobs:
            if not job.answer.done():
                job.answer.set_result(results[at : at + len(job.rows)])
            at += len(job.rows)


def overloaded() -> RequestError:
    """What is said to whoever comes when too much waits."""
    return RequestError("is overloaded", where="server", cure="Try again in a second", status=503)


def _is_everybodys(error: BaseException) -> bool:
    """Whether no other request could have been answered either."""
    return isinstance(error, RequestError) and error.status >= 500
