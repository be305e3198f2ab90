"""Answers leave in one piece: a replica that dies in the middle of one has sent all of it or nothing.

uvicorn writes the head of an answer and its body one after the other. A process that is killed in between leaves the
front door with half an answer, which it can neither finish nor ask another replica for.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, cast


class _Transport(Protocol):
    def write(self, data: bytes, /) -> None: ...
    def close(self) -> None: ...


class _Cycle(Protocol):
    """The request's cycle of uvicorn."""

    transport: _Transport


class _Held:
    """Keeps what is written until it is released, or the connection is to be closed."""

    def __init__(self, transport: _Transport) -> None:
        self._transport, self._pieces = transport, list[bytes]()

    def write(self, data: bytes) -> None:
        self._pieces.append(data)

    def close(self) -> None:
        self.release()
        self._transport.close()

    def release(self) -> None:
        if self._pieces:
            self._transport.write(b"".join(self._pieces))
            self._pieces.clear()


class OnePiece:
    """While this is open, what is sent is kept; it leaves as one when it closes.

    Args:
        send: of an ASGI application. Of another server than uvicorn it sends as it always does.
    """

    __slots__ = ("_cycle", "_held", "_transport")

    def __init__(self, send: Callable[..., object]) -> None:
        cycle = getattr(send, "__self__", None)
        self._cycle = cast("_Cycle", cycle) if hasattr(cycle, "transport") else None

    def __enter__(self) -> None:
        if self._cycle is not None:
            self._transport = self._cycle.transport
            self._cycle.transport = self._held = _Held(self._transport)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._cycle is not None:
            self._cycle.transport = self._transport
            self._held.release()
