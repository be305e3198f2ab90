"""Callers written in Python, for what `wrk` cannot do: gRPC, and requests that arrive at a rate."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import cycle
from typing import TypeVar
from urllib.parse import urlsplit

import grpc as grpc_io
import numpy as np
import polars as pl

from benchmarks.report import Row
from raypipe.serving.oip_messages import SERVICE, message
from raypipe.words import amount

CALLERS = 16
Call = Callable[[], Awaitable[None]]
T = TypeVar("T")


def rest(url: str, bodies: Sequence[bytes], rows: int, seconds: float) -> Row:
    """JSON over HTTP, written onto the socket as lean as the gRPC client is."""

    async def run() -> Row:
        connections = [await _open(url, _from(bodies, caller)) for caller in range(CALLERS)]
        return await _measure("raypipe REST", rows, connections, seconds)

    return asyncio.run(run())


def _from(all_: Sequence[T], caller: int) -> Iterator[T]:
    """All in turn, again and again; each caller begins at another one."""
    first = caller * len(all_) // CALLERS
    return cycle([*all_[first:], *all_[:first]])


def _question(frame: pl.DataFrame) -> object:
    """A request for the rows of a frame, as raw tensors."""
    inputs, raw = [], []
    for column in frame.iter_columns():
        texts = column.dtype == pl.String
        inputs.append({"name": column.name, "datatype": "BYTES" if texts else "INT64", "shape": [frame.height]})
        if texts:
            raw.append(b"".join(len(text).to_bytes(4, "little") + text for text in map(str.encode, column.to_list())))
        else:
            raw.append(column.cast(pl.Int64).to_numpy().tobytes())
    return message("ModelInferRequest")(model_name="flights", inputs=inputs, raw_input_contents=raw)


def grpc(target: str, questions: pl.DataFrame, rows: int, seconds: float) -> Row:
    """Raw tensors over gRPC."""
    asked = [_question(part) for part in questions.iter_slices(rows)]
    answer = message("ModelInferResponse")

    async def run() -> Row:
        async with grpc_io.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            infer = channel.unary_unary(
                f"/{SERVICE}/ModelInfer",
                request_serializer=lambda one: one.SerializeToString(),
                response_deserializer=answer.FromString,  # type: ignore[attr-defined]
            )

            def call(mine: Iterator[object]) -> Call:
                async def one() -> None:
                    found = await infer(next(mine))
                    assert len(found.raw_output_contents[0]) == 8 * rows

                return one

            calls = [call(_from(asked, caller)) for caller in range(CALLERS)]
            return await _measure("raypipe gRPC", rows, calls, seconds)

    return asyncio.run(run())


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


async def _measure(system: str, rows: int, calls: list[Call], seconds: float) -> Row:
    times: list[float] = []
    for call in calls:
        await call()
    end = time.perf_counter() + seconds

    async def caller(call: Call) -> None:
        while (began := time.perf_counter()) < end:
            await call()
            times.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(caller(call) for call in calls))
    took = time.perf_counter() - began
    p50, p99 = np.quantile(times, [0.5, 0.99]) * 1e3
    figures = {"requests_s": len(times) / took, "p50_ms": float(p50), "p99_ms": float(p99)}
    return Row(system, f"{CALLERS} callers in Python, {amount(rows, 'row')}", figures)


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
