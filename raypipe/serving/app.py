"""The HTTP face of one pipeline's model, as a plain ASGI application.

=============================== =================================================================
``POST /{name}/predict``        predictions for one object of fields, or for ``{"rows": [...]}``
``GET /{name}``                 what answers: version, digest, fields, an example, counts
``GET /{name}/health``          200 while a checked model is loaded
``GET /{name}/docs``            a page for people
``GET /{name}/openapi.json``    the same for programs
=============================== =================================================================
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from polars.exceptions import PanicException

from raypipe.errors import RequestError
from raypipe.serving.describe import Description
from raypipe.serving.engine import Engine
from raypipe.serving.http import (
    ClientGoneError,
    Receive,
    Response,
    Scope,
    Send,
    failure,
    read_body,
    request_id,
    require_json,
)
from raypipe.serving.meter import Meter
from raypipe.serving.model import Served

logger = logging.getLogger(__name__)

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Limits:
    """What one request may take.

    Attributes:
        body_bytes: the largest body.
        body_seconds: the longest time a body may take to arrive.
    """

    body_bytes: int = 4 * 2**20
    body_seconds: float = 10.0


class App:
    """Answers with whatever engine it holds; holding another one is a single assignment.

    Args:
        name: of the pipeline; everything is below ``/{name}``.
        meter: counts what happens.
        limits: what one request may take.
        echo_id: send the ``X-Request-Id`` header; False behind a server that adds it.
    """

    def __init__(self, name: str, meter: Meter, limits: Limits | None = None, *, echo_id: bool = True) -> None:
        self.name = name
        #: The version that was to take over last and could not, and why.
        self.refused: Served | None = None
        self.reason = ""
        self._held: tuple[Engine, Description] | None = None
        self._meter, self._limits, self._echo = meter, limits or Limits(), echo_id
        self._pages: dict[str, Callable[[Engine, Description], Response]] = {
            "": self._metadata,
            "/health": self._health,
            "/docs": lambda _, description: Response(200, description.html, b"text/html; charset=utf-8"),
            "/openapi.json": lambda _, description: Response(200, description.openapi),
        }

    @property
    def engine(self) -> Engine | None:
        """What answers now."""
        return self._held[0] if self._held else None

    def hold(self, engine: Engine) -> None:
        """Answer with this engine from the next request on; requests under way end with the one before."""
        self._held = (engine, Description(engine))
        self.accept()

    def accept(self) -> None:
        """Nothing is refused any more."""
        self.refused, self.reason = None, ""

    def refuse(self, served: Served, reason: str) -> None:
        """Go on with what is held, and remember why another version did not take over."""
        self.refused, self.reason = served, reason

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry point."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        headers = dict(scope["headers"])
        id_ = request_id(headers)
        try:
            response = await self._respond(scope, headers, receive, id_)
        except ClientGoneError:
            return
        except RequestError as error:
            self._meter.refused(error.status)
            response = failure(error, id_)
        except (Exception, PanicException):
            # The edge of the process: whatever broke inside, the caller gets an answer, and the answer tells nothing.
            logger.exception("request %s failed", id_.decode())
            self._meter.refused(500)
            response = failure(RequestError("failed to answer", where="server", status=500), id_)
        await response.send(send, id_ if self._echo else None, head=scope["method"] == "HEAD")

    async def _respond(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, id_: bytes) -> Response:
        path, method = _path(scope, self.name), scope["method"]
        page = self._pages.get(path)
        if page is None and path != "/predict":
            raise RequestError("is not a path here", where="path", cure=f"See /{self.name}/docs", status=404)
        allowed = b"OPTIONS, POST" if page is None else b"GET, HEAD, OPTIONS"
        if method == "OPTIONS":
            return Response(204, b"", headers=[(b"allow", allowed)])
        if method.encode() not in allowed.split(b", "):
            told = RequestError("is not allowed here", where="method", cure=f"Use {allowed.decode()}", status=405)
            self._meter.refused(405)
            return failure(told, id_, [(b"allow", allowed)])
        if self._held is None:
            raise RequestError("has no model yet", where="server", cure="Try again in a second", status=503)
        engine, description = self._held
        if page is not None:
            return page(engine, description)
        require_json(headers)
        body = await read_body(headers, receive, most=self._limits.body_bytes, seconds=self._limits.body_seconds)
        return await self._predict(engine, body, id_)

    async def _predict(self, engine: Engine, body: bytes, id_: bytes) -> Response:
        predictions, many = await engine.answer(body)
        about = {"request_id": id_.decode(), "model": self.name, "version": engine.model.served.version}
        rows = [{"probability": p.probability, "label": p.label} for p in predictions]
        return Response(200, _encode(about | ({"predictions": rows} if many else rows[0])))

    def _metadata(self, engine: Engine, description: Description) -> Response:
        refused = {"version": self.refused.version, "reason": self.reason} if self.refused else None
        now = {"refused": refused, "counts": self._meter.counts()}
        return Response(200, _encode(description.metadata | now))

    def _health(self, engine: Engine, description: Description) -> Response:
        served = engine.model.served
        told = {"status": "ok", "model": self.name, "version": served.version, "digest": served.digest}
        return Response(200, _encode(told))


def _path(scope: Scope, name: str) -> str:
    """The path below the pipeline's own, however the server in front has split it."""
    path = str(scope["path"])
    prefix = str(scope.get("root_path") or f"/{name}")
    if not path.startswith(prefix):
        return path
    below = path[len(prefix) :]
    return "" if below == "/" else below


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = str((await receive())["type"])
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
