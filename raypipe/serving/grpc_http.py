"""The fast way for the one gRPC call that counts: over HTTP/1.1, as the front door passes it on.

A gRPC server of Python's asyncio takes longer for an empty answer than a replica for a prediction. HAProxy stands in
front in any case and speaks HTTP/2 to callers; to a replica it can pass the same call as a POST over HTTP/1.1
(`raypipe.services.front_door` tells it to). The message is then the body, behind five bytes that say whether it is
compressed and how long it is, and the status stands in the trailers of a chunked answer; see PROTOCOL-HTTP2.md of
gRPC. Compressed messages, all other calls, and clusters whose HAProxy was not told go to gRPC's own server.
"""

from collections.abc import Sequence
from urllib.parse import quote

import grpc
from google.protobuf.message import DecodeError, Message

from raypipe.errors import RequestError, ServingError
from raypipe.serving.http import ClientGoneError, Headers, Receive, Scope, Send, read_body
from raypipe.serving.oip_grpc import GrpcService
from raypipe.serving.oip_messages import SERVICE, parsed
from raypipe.serving.one_piece import OnePiece

PATH = f"/{SERVICE}/ModelInfer"
#: What a message may be: as much as gRPC's own server takes (`raypipe.services.front_door.GRPC_BYTES`).
MOST_BYTES = 16 * 2**20
_HEAD = 5
_CONTENT: Headers = [(b"content-type", b"application/grpc")]
#: Of a status message everything is escaped but printable ASCII.
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


class Infer:
    """Answers ``ModelInfer`` as an ASGI application.

    Args:
        service: of this process.
        seconds: the longest time a message may take to arrive.
    """

    def __init__(self, service: GrpcService, seconds: float) -> None:
        self._service, self._seconds = service, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry point."""
        headers = dict(scope["headers"])
        context = _Context(headers)
        try:
            body = await read_body(headers, receive, most=MOST_BYTES, seconds=self._seconds)
            answer = await self._service.direct(_request(body), context)
        except ClientGoneError:
            return
        except RequestError as error:
            answer = self._service.refused("ModelInferResponse", error, context)
        with OnePiece(send):
            await _send(send, context, answer)


class _Context:
    """What a call has beside its message, and what its answer is to have."""

    def __init__(self, headers: dict[bytes, bytes]) -> None:
        self._headers = headers
        self.code, self.details = grpc.StatusCode.OK, ""
        self.beside: Sequence[tuple[str, str]] = ()

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details

    def set_trailing_metadata(self, metadata: Sequence[tuple[str, str]]) -> None:
        self.beside = metadata

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self._headers.items()]

    @property
    def trailers(self) -> Headers:
        """The status, and what stands beside it."""
        status, _ = self.code.value
        found = [("grpc-status", str(status)), *self.beside]
        if self.details:
            found.append(("grpc-message", quote(self.details, safe=_PLAIN)))
        return [(name.encode(), value.encode()) for name, value in found]


def _request(body: bytes) -> Message:
    """The message in a body.

    Raises:
        RequestError: there is none, or more than one; status 400.
    """
    if len(body) < _HEAD or body[0] or int.from_bytes(body[1:_HEAD], "big") != len(body) - _HEAD:
        raise RequestError("must be one message that is not compressed", where="body", status=400)
    try:
        found: Message = parsed("ModelInferRequest", body[_HEAD:])
    except DecodeError:
        raise RequestError("is not a ModelInferRequest", where="body", status=400) from None
    return found


async def _send(send: Send, context: _Context, answer: Message) -> None:
    if context.code is not grpc.StatusCode.OK:
        # Without a message, the trailers are the headers.
        headers = [*_CONTENT, (b"content-length", b"0"), *context.trailers]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return
    content = answer.SerializeToString()
    trailers = b"".join(b"%b: %b\r\n" % pair for pair in context.trailers)
    framed = b"\0" + len(content).to_bytes(4, "big") + content
    await send({"type": "http.response.start", "status": 200, "headers": _CONTENT})
    await _send_chunked(send, b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(framed), framed, trailers))


async def _send_chunked(send: Send, body: bytes) -> None:
    """Send what is in chunks already, trailers included, for which uvicorn's HTTP/1.1 has no word.

    Its own chunks are switched off, once it has told the caller of them: it then takes the body as it is.
    """
    cycle = send.__self__  # type: ignore[attr-defined]  # a method of the request's cycle
    if cycle.chunked_encoding is not True:
        # Or it is another server than the one meant: what it would make of this is no answer of gRPC.
        raise ServingError("does not send in chunks", where="HTTP server", cure="Install the pinned uvicorn")
    cycle.chunked_encoding, cycle.expected_content_length = False, len(body)
    await send({"type": "http.response.body", "body": body})
