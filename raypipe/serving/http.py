"""The few things of HTTP that an ASGI application needs: a body within limits, an answer, an error."""

import asyncio
import os
import re
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec

from raypipe.contracts.headers import TELL as _TELL
from raypipe.contracts.headers import TOLD as _TOLD
from raypipe.errors import RequestError
from raypipe.serving.one_piece import OnePiece

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]

JSON = b"application/json"
#: A body that becomes more than so many times as long when it is unpacked is refused.
LARGEST_RATIO = 100
_WINDOWS = {b"gzip": 31, b"deflate": 15}
#: The front door asks for an answer to be counted here, and hears that it was, see `raypipe.services.front_door`.
TELL, TOLD = _TELL.encode(), _TOLD.encode()
_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class ClientGoneError(Exception):
    """The caller closed the connection before the request was whole; nobody is left to answer."""


@dataclass(slots=True)
class Response:
    """A whole answer; not frozen, for to make a frozen one takes three times as long."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: Headers = field(default_factory=list)

    async def send(self, send: Send, request_id: bytes | None, *, head: bool) -> None:
        """Send it; ``head``: without its body. ``request_id`` is None when the server in front adds the header."""
        headers = [
            (b"content-type", self.content_type),
            (b"content-length", str(len(self.body)).encode()),
            *self.headers,
        ]
        if request_id is not None:
            headers.append((b"x-request-id", request_id))
        with OnePiece(send):
            await send({"type": "http.response.start", "status": self.status, "headers": headers})
            await send({"type": "http.response.body", "body": b"" if head else self.body})


def failure(error: RequestError, request_id: bytes, headers: Headers | None = None) -> Response:
    """An error as every error is answered: which field, what is wrong, and the cure when there is one."""
    told = {"field": error.where, "message": error.what}
    if error.cure:
        told["cure"] = error.cure
    body = msgspec.json.encode({"error": told, "request_id": request_id.decode()})
    headers = list(headers or [])
    if error.status in (429, 503):
        headers.append((b"retry-after", b"1"))
    if error.status in (408, 413):
        # The rest of the body is not read, so the connection cannot be used again.
        headers.append((b"connection", b"close"))
    return Response(error.status, body, headers=headers)


def request_id(headers: dict[bytes, bytes]) -> bytes:
    """The caller's own id when it is a sane one, else a new one."""
    given = headers.get(b"x-request-id", b"")
    return given if _SANE_ID.fullmatch(given) else new_id()


def new_id() -> bytes:
    """An id that no other request has."""
    return os.urandom(16).hex().encode()


def require_json(headers: dict[bytes, bytes]) -> None:
    """Refuse a body that is declared as anything but plain JSON.

    Raises:
        RequestError: status 415.
    """
    kind, _, parameter = headers.get(b"content-type", b"").partition(b";")
    if kind.strip().lower() != JSON or (parameter and parameter.strip().lower().replace(b'"', b"") != b"charset=utf-8"):
        raise RequestError(
            "must be application/json in UTF-8",
            where="Content-Type",
            cure="Send `Content-Type: application/json`",
            status=415,
        )


async def read_body(headers: dict[bytes, bytes], receive: Receive, *, most: int, seconds: float) -> bytes:
    """The whole body, if it is within limits.

    Args:
        headers: of the request.
        receive: gives its parts.
        most: bytes; a body over that is refused before it is read, or as soon as it is known to be longer.
        seconds: how long a slow sender may take.

    Raises:
        RequestError: it is too long (413) or too slow (408).
        ClientGoneError: the caller closed the connection.
    """
    declared = headers.get(b"content-length")
    if declared is not None and (not declared.isdigit() or int(declared[:20]) > most):
        raise _too_long(most)
    parts: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(seconds):
            while more:
                part, more = await _part(receive)
                parts.append(part)
                size += len(part)
                if size > most:
                    raise _too_long(most)
    except TimeoutError:
        raise RequestError(f"took longer than {seconds:g} seconds to arrive", where="body", status=408) from None
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    coding = headers.get(b"content-encoding")
    return body if coding is None else unpacked(body, coding.strip().lower(), most)


def unpacked(body: bytes, coding: bytes, most: int) -> bytes:
    """A body that was sent compressed, never more of it than is allowed, whatever it claims to become.

    Raises:
        RequestError: it is compressed in another way (415), broken (400), or too long (413).
    """
    if coding == b"identity":
        return body
    if coding not in _WINDOWS:
        cure = "Send the body as it is, or with gzip or deflate"
        raise RequestError("is not taken", where="Content-Encoding", cure=cure, status=415)
    reader = zlib.decompressobj(_WINDOWS[coding])
    # One more than is allowed tells that it is too long; nothing beyond that is ever made.
    limit = min(most, max(len(body), 1_024) * LARGEST_RATIO)
    try:
        plain = reader.decompress(body, limit + 1)
    except zlib.error:
        raise RequestError(f"is not {coding.decode()}", where="body", status=400) from None
    if len(plain) > limit:
        raise _too_long(most)
    if not reader.eof or reader.unused_data:
        raise RequestError(f"is not {coding.decode()} to its end", where="body", status=400)
    return plain


async def _part(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    body = message.get("body", b"")
    return (body if isinstance(body, bytes) else b""), bool(message.get("more_body"))


def _too_long(most: int) -> RequestError:
    return RequestError(f"is longer than {most} bytes", where="body", cure="Send fewer rows a request", status=413)
