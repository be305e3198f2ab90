"""Callers written in Python, for what neither `wrk` nor `h2load` can do: requests that arrive at a rate."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import cycle
from typing import TypeVar
from urllib.parse import urlsplit

import numpy as np

from benchmarks.report import Row

#: So many questions apart do callers begin.
CALLERS = 16
Call = Callable[[], Awaitable[None]]
T = TypeVar("T")


def _from(all_: Sequence[T], caller: int) -> Iterator[T]:
    """All in turn, again and again; each caller begins at another one."""
    first = caller * len(all_) // CALLERS
    return cycle([*all_[first:], *all_[:first]])


def open_loop(url: str, bodies: Sequence[bytes], rate: float, seconds: float, what: str) -> Row:
    """Requests leave when their time has come; each one's wait counts from then, sent late or not."""

    async def run() -> Row:
        idle: asyncio.Queue[Call] = asyncio.Queue()
        for caller in range(128):
            idle.put_nowait(await _open(url, _from(bodies, caller % CALLERS)))
        times: list[float] = []

        async def one(due: float) -> None:
            call = await idle.get()
            await call()
            times.append(time.perf_counter() - due)
            idle.put_nowait(call)

        began, tasks = time.perf_counter() + 0.1, []
        for number in range(int(rate * seconds)):
            due = began + number / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            tasks.append(asyncio.create_task(one(due)))
        await asyncio.gather(*tasks)
        p50, p99 = np.quantile(times, [0.5, 0.99]) * 1e3
        return Row("raypipe, open loop", what, {"requests_s": rate, "p50_ms": float(p50), "p99_ms": float(p99)})

    return asyncio.run(run())


async def _open(url: str, bodies: Iterator[bytes]) -> Call:
    """One connection that is kept."""
    at = urlsplit(url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    head = f"POST {at.path} HTTP/1.1\r\nHost: {at.netloc}\r\nContent-Type: application/json\r\nContent-Length: "

    async def call() -> None:
        body = next(bodies)
        writer.write(f"{head}{len(body)}\r\n\r\n".encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer[:100]
        lower = answer.lower()
        at = lower.index(b"content-length:") + 15
        await reader.readexactly(int(lower[at : lower.index(b"\r", at)]))

    return call
