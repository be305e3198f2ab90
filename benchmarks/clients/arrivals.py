"""Requests that arrive at a rate, each with an id of its own, whatever the service does; and what became of each."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

import httpx
import polars as pl

#: How many seconds a caller waits for an answer.
PATIENCE = 120.0
_CONNECTIONS = httpx.Limits(max_connections=256, max_keepalive_connections=256)


class Answer(NamedTuple):
    """Its status, 0 where the connection broke, and the seconds from when the request was due."""

    status: int
    seconds: float


@asynccontextmanager
async def arriving(url: str, question: Mapping[str, object], rate: float, run: str) -> AsyncIterator[dict[str, Answer]]:
    """Ask while the block lasts; when it is over, every request has its answer.

    Args:
        url: to post to.
        question: the body.
        rate: requests a second.
        run: what all ids begin with.

    Yields:
        The answers so far, by id.
    """
    answers: dict[str, Answer] = {}
    over, tasks = asyncio.Event(), set[asyncio.Task[None]]()
    async with httpx.AsyncClient(timeout=PATIENCE, limits=_CONNECTIONS) as http:

        async def one(id_: str, due: float) -> None:
            try:
                status = (await http.post(url, json=question, headers={"X-Request-Id": id_})).status_code
            except httpx.HTTPError:
                status = 0
            answers[id_] = Answer(status, time.monotonic() - due)

        async def arrive() -> None:
            began, number = time.monotonic(), 0
            while not over.is_set():
                due = began + number / rate
                tasks.add(asyncio.create_task(one(f"{run}-{number}", due)))
                number += 1
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))

        arrivals = asyncio.create_task(arrive())
        try:
            yield answers
        finally:
            over.set()
            await arrivals
            await asyncio.gather(*tasks)


class Reckoning(NamedTuple):
    """How many were asked, were not answered with 200, and were answered but are not in the log exactly once.

    ``statuses`` are those of the lost, 0 where the connection broke.
    """

    requests: int
    lost: int
    not_once_in_log: int
    statuses: str = ""


def reconciled(answers: Mapping[str, Answer], log: pl.DataFrame) -> Reckoning:
    """Compare what callers were told with the prediction log.

    >>> answers = {"a": Answer(200, 0.1), "b": Answer(200, 0.1), "c": Answer(500, 0.1)}
    >>> reconciled(answers, pl.DataFrame({"request_id": ["a", "a", "other"], "answered": [True, True, True]}))
    Reckoning(requests=3, lost=1, not_once_in_log=2, statuses='500')
    """
    counts = dict(log.filter("answered").group_by("request_id").len().iter_rows())
    told = [id_ for id_, answer in answers.items() if answer.status == 200]
    lost = [str(answer.status) for answer in answers.values() if answer.status != 200]
    wrong = sum(counts.get(id_, 0) != 1 for id_ in told)
    return Reckoning(len(answers), len(lost), wrong, " ".join(sorted(set(lost))))
