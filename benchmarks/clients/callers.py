"""Requests over HTTP that arrive at a rate, which neither `wrk` nor `h2load` can do: lean, for it shares the cores."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import cast
from urllib.parse import urlsplit

import numpy as np
import uvloop

from benchmarks.report import Row

#: So many connections are open; one that waits for an answer sends nothing.
CONNECTIONS = 128


@dataclass(frozen=True)
class _Load:
    """Who may ask next, how many seconds each answer came after its request was due, and what went wrong."""

    idle: "deque[_Connection]" = field(default_factory=deque)
    times: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class _Connection(asyncio.Protocol):
    """One connection that is kept."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._got, self._due = b"", 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is one without being asyncio's.
        self._transport = cast("asyncio.WriteTransport", transport)
        self._load.idle.append(self)

    def ask(self, request: bytes, due: float) -> None:
        self._got, self._due = b"", due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, _, body = self._got.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or -1)
        if len(body) == length:
            if not head.startswith(b"HTTP/1.1 200"):
                self._load.faults.append(repr(head[:100]))
            self._load.times.append(time.perf_counter() - self._due)
            self._load.idle.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self not in self._load.idle:
            self._load.faults.append("closed before its answer came")


def open_loop(system: str, url: str, bodies: Sequence[bytes], rate: float, seconds: float, what: str) -> Row:
    """Requests leave when their time has come; each one's wait counts from then, sent late or not."""
    times = uvloop.run(_arrive(url, _requests(url, bodies), rate, int(rate * seconds)))
    p50, p99 = np.quantile(times, [0.5, 0.99]) * 1e3
    return Row(f"{system}, open loop", what, {"requests_s": rate, "p50_ms": float(p50), "p99_ms": float(p99)})


async def _arrive(url: str, requests: Iterator[bytes], rate: float, many: int) -> list[float]:
    loop, at, load = asyncio.get_running_loop(), urlsplit(url), _Load()
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: _Connection(load), at.hostname or "", at.port or 80)
    waiting: deque[float] = deque()
    began, number = time.perf_counter() + 0.1, 0
    while len(load.times) < many:
        assert not load.faults, load.faults[0]
        now = time.perf_counter()
        while number < many and began + number / rate <= now:
            waiting.append(began + number / rate)
            number += 1
        while waiting and load.idle:
            load.idle.popleft().ask(next(requests), waiting.popleft())
        await asyncio.sleep(0.0005 if waiting or number == many else max(0.0, began + number / rate - now))
    return load.times


def _requests(url: str, bodies: Sequence[bytes]) -> Iterator[bytes]:
    """All in turn, again and again, as they go over the wire."""
    at = urlsplit(url)
    head = f"POST {at.path} HTTP/1.1\r\nHost: {at.netloc}\r\nContent-Type: application/json\r\nContent-Length: "
    return cycle([f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies])
