"""Requests that arrive at a rate, each with an id of its own, whatever the service does; and what became of each."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeAlias

import grpc
import httpx
import polars as pl

from raypipe.serving.oip_messages import SERVICE, message

#: How many seconds a caller waits for an answer.
PATIENCE = 120.0
_CONNECTIONS = httpx.Limits(max_connections=256, max_keepalive_connections=256)
#: So many connections share the calls of gRPC.
_CHANNELS = 8
_KINDS = {str: "BYTES", int: "INT64", float: "FP64", bool: "BOOL"}
_CONTENTS = {"BYTES": "bytes_contents", "INT64": "int64_contents", "FP64": "fp64_contents", "BOOL": "bool_contents"}

#: Asks with an id: 200, or what came instead.
Way: TypeAlias = Callable[[str], Awaitable[int | str]]


class Answer(NamedTuple):
    """Its status, 0 where the connection broke, of gRPC the code; and the seconds from when the request was due."""

    status: int | str
    seconds: float


@asynccontextmanager
async def over_http(url: str, question: Mapping[str, object]) -> AsyncIterator[Way]:
    """Posts a question as JSON."""
    async with httpx.AsyncClient(timeout=PATIENCE, limits=_CONNECTIONS) as http:

        async def ask(id_: str) -> int | str:
            try:
                return (await http.post(url, json=question, headers={"X-Request-Id": id_})).status_code
            except httpx.HTTPError:
                return 0

        yield ask


@asynccontextmanager
async def over_grpc(target: str, model: str, question: Mapping[str, object]) -> AsyncIterator[Way]:
    """Sends the same question as tensors."""
    inputs = []
    for name, value in question.items():
        kind = _KINDS[type(value)]
        content = value.encode() if isinstance(value, str) else value
        inputs.append({"name": name, "datatype": kind, "shape": [1], "contents": {_CONTENTS[kind]: [content]}})
    own = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(target, options=own) for _ in range(_CHANNELS)]
    calls = [
        channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=lambda one: one.SerializeToString(),
            response_deserializer=message("ModelInferResponse").FromString,  # type: ignore[attr-defined]
        )
        for channel in channels
    ]

    async def ask(id_: str) -> int | str:
        asked = message("ModelInferRequest")(model_name=model, id=id_, inputs=inputs)
        try:
            await calls[hash(id_) % _CHANNELS](asked, timeout=PATIENCE)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return 200

    try:
        yield ask
    finally:
        for channel in channels:
            await channel.close()


@asynccontextmanager
async def arriving(ways: Sequence[Way], rate: float, run: str) -> AsyncIterator[dict[str, Answer]]:
    """Ask while the block lasts, one way after the other; when it is over, every request has its answer.

    Args:
        ways: to ask.
        rate: requests a second, all ways together.
        run: what all ids begin with.

    Yields:
        The answers so far, by id.
    """
    answers: dict[str, Answer] = {}
    over, tasks = asyncio.Event(), set[asyncio.Task[None]]()

    async def one(number: int, due: float) -> None:
        id_ = f"{run}-{number}"
        answers[id_] = Answer(await ways[number % len(ways)](id_), time.monotonic() - due)

    async def arrive() -> None:
        began, number = time.monotonic(), 0
        while not over.is_set():
            tasks.add(asyncio.create_task(one(number, began + number / rate)))
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

    ``statuses`` are those of the lost.
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
