"""The HTTP face of one pipeline's model, as a plain ASGI application.

=============================== =================================================================
``POST /{name}/predict``        predictions for one object of fields, or for ``{"rows": [...]}``
``GET /{name}``                 what answers: version, digest, fields, an example, counts
``GET /{name}/health``          200 while a checked model is loaded
``GET /{name}/docs``            a page for people
``GET /{name}/openapi.json``    the same for programs
=============================== =================================================================
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from urllib.parse import parse_qs

import msgspec
from opentelemetry.trace import get_current_span
from polars.exceptions import PanicException

from raypipe.clock import Clock, SystemClock
from raypipe.errors import RequestError
from raypipe.observe import about, span, tracing
from raypipe.serving import access, invocations
from raypipe.serving.batcher import overloaded
from raypipe.serving.call import Call, Face, Paths, Route
from raypipe.serving.describe import Description
from raypipe.serving.engine import Engine, Prediction
from raypipe.serving.http import (
    TELL,
    TOLD,
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
from raypipe.serving.log import Asked
from raypipe.serving.meter import Meter
from raypipe.serving.model import Served
from raypipe.serving.oip_rest import Rest
from raypipe.serving.parse import Row
from raypipe.serving.routing import Router
from raypipe.serving.tuning import Tuning

logger = logging.getLogger(__name__)

#: So many rows of one request are explained at most: it takes a hundred times as long as to answer them.
MOST_EXPLAINED = 64
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
        clock: says when a request came.
        guard: asks for keys; None: nobody does.
        hash_: turns a unit into what may be logged; None: it is left as it is.
    """

    def __init__(
        self,
        name: str,
        meter: Meter,
        limits: Limits | None = None,
        *,
        echo_id: bool = True,
        clock: Clock | None = None,
        guard: access.Guard | None = None,
        hash_: Callable[[object], str] | None = None,
    ) -> None:
        self.name = name
        self._guard = guard
        self._clock, self._hash = clock or SystemClock(), hash_
        self._router: Router | None = None
        #: Requests that came straight from the front door and are not answered yet, and how many there may be.
        self.under_way, self.most = 0, Tuning().queue
        self.limits = limits or Limits()
        #: The version that was to take over last and could not, and why.
        self.refused: Served | None = None
        self.reason = ""
        self._held: tuple[Engine, Description] | None = None
        self._meter, self._echo = meter, echo_id
        self._faces: tuple[Face, ...] = (self._own(), Rest(self), invocations.face(self))

    def add(self, face: Face) -> None:
        """Answer at the paths of another protocol, too."""
        self._faces += (face,)

    @property
    def engine(self) -> Engine | None:
        """What answers now."""
        return self._held[0] if self._held else None

    def hold(self, engine: Engine, router: Router | None = None) -> None:
        """Answer with this engine from the next request on; requests under way end with the one before.

        Args:
            engine: the champion.
            router: the champion and those beside it; None: it is alone.
        """
        description = Description(engine)
        self._router = router or Router(engine, hash_=self._hash)
        self._held = (engine, description)
        self._meter.champion(engine.model.served.version)
        self.accept()

    def accept(self) -> None:
        """Nothing is refused any more."""
        self.refused, self.reason = None, ""

    def refuse(self, served: Served, reason: str) -> None:
        """Go on with what is held, and remember why another version did not take over."""
        self.refused, self.reason = served, reason

    def admit(self, authorization: bytes, scope: access.Scope) -> None:
        """Let a caller pass who has a key for this, where keys are asked for.

        Raises:
            RequestError: status 401, 403 or 429.
        """
        if self._guard is not None:
            self._guard.check(authorization, scope)

    async def ask(self, engine: Engine, rows: list[Row], id_: bytes, *, alone: bool = False) -> list[Prediction]:
        """Predictions for parsed rows: the one way, whatever the protocol; errors as in `Engine.answer`."""
        asked = Asked(id_.decode(), self._clock.now(), perf_counter(), get_current_span())
        router = self._router
        if alone or router is None or router.champion is not engine:
            # It was asked for by its number, or another one took over while the body came in.
            router = Router(engine, hash_=self._hash)
        return await router.ask(rows, asked)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry point."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        await self._http(scope, receive, send, echo=self._echo)

    async def direct(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same for requests over HTTP that no other server has seen: bounded, counted, their id in the header."""
        if self.under_way >= self.most:
            await self._overloaded(scope, send)
            return
        self.under_way += 1
        try:
            await self._http(scope, receive, send, echo=True)
        finally:
            self.under_way -= 1

    async def _overloaded(self, scope: Scope, send: Send) -> None:
        """Refused before anything is read: who comes too much must cost nothing."""
        id_ = request_id(dict(scope["headers"]))
        response = failure(overloaded(), id_, [(b"connection", b"close")])
        self._meter.refused(response.status)
        self._count(dict(scope["headers"]), scope["method"], response)
        await response.send(send, id_, head=scope["method"] == "HEAD")

    def _count(self, headers: dict[bytes, bytes], method: str, response: Response) -> None:
        """Count an answer if the front door asks for it, and say that it is counted."""
        if TELL in headers:
            response.headers.append((TOLD, b"1"))
            self._meter.answered(method, response.status)

    async def _http(self, scope: Scope, receive: Receive, send: Send, *, echo: bool) -> None:
        headers = dict(scope["headers"])
        id_ = request_id(headers)
        path = _path(scope, self.name)
        query = scope.get("query_string", b"")
        call = Call(scope["method"], path, query, headers, receive, id_)
        try:
            with about(request_id=id_.decode()):
                response = await (self._traced(call, scope) if tracing() else self._respond(call))
        except ClientGoneError:
            return
        if echo:
            self._count(headers, call.method, response)
        await response.send(send, id_ if echo else None, head=call.method == "HEAD")

    async def _traced(self, call: Call, scope: Scope) -> Response:
        caller = call.headers.get(b"traceparent", b"").decode("latin-1")
        asked = {"request_id": call.id.decode(), "url.path": str(scope["path"])}
        with span(f"{call.method} /{self.name}", caller, **asked) as made:
            response = await self._respond(call)
            made.set_attribute("http.response.status_code", response.status)
            return response

    async def _respond(self, call: Call) -> Response:
        route = self._find(call.path)
        tell = route.tell if route else failure
        try:
            if route is None:
                cure = f"See /{self.name}/docs"
                raise RequestError("is not a path here", where="path", cure=cure, status=404)
            return await self._answer(route, call)
        except RequestError as error:
            response = tell(error, call.id)
            if route is not None and error.status == 405:
                response.headers.append((b"allow", route.allow))
            if error.status == 401:
                response.headers.append((b"www-authenticate", b'Bearer, Basic realm="raypipe"'))
        except ClientGoneError:
            raise
        except (Exception, PanicException):
            # The edge of the process: whatever broke inside, the caller gets an answer, and the answer tells nothing.
            logger.exception("request %s failed", call.id.decode())
            response = tell(RequestError("failed to answer", where="server", status=500), call.id)
        self._meter.refused(response.status)
        return response

    def _find(self, path: str) -> Route | None:
        for face in self._faces:
            if (route := face.find(path)) is not None:
                return route
        return None

    async def _answer(self, route: Route, call: Call) -> Response:
        if call.method == "OPTIONS":
            return Response(204, b"", headers=[(b"allow", route.allow)])
        if not route.public:
            self.admit(call.headers.get(b"authorization", b""), route.scope)
        if call.method not in route.methods:
            cure = f"Use {' or '.join(route.methods)}"
            raise RequestError("is not allowed here", where="method", cure=cure, status=405)
        if self._held is None:
            raise RequestError("has no model yet", where="server", cure="Try again in a second", status=503)
        return await route.handler(*self._held, call)

    def _own(self) -> Face:
        """The protocol of this page's table."""
        page = partial(Route, methods=("GET", "HEAD"), tell=failure)
        return Paths(
            {
                "/predict": Route(self._predict, ("POST",), failure),
                "": page(self._metadata),
                "/health": page(self._health, public=True),
                "/docs": page(self._docs),
                "/openapi.json": page(self._openapi),
            }
        )

    async def body(self, call: Call) -> bytes:
        """The whole body of a call, within limits."""
        limits = self.limits
        return await read_body(call.headers, call.receive, most=limits.body_bytes, seconds=limits.body_seconds)

    async def _predict(self, engine: Engine, description: Description, call: Call) -> Response:
        require_json(call.headers)
        explain = _explain(call.query)
        rows, many = engine.parser.parse(await self.body(call))
        if explain and engine.model.card.target.task != "binary":
            raise RequestError("is for models of true or false", where="explain")
        if explain and len(rows) > MOST_EXPLAINED:
            what = f"holds {len(rows)} rows, and {MOST_EXPLAINED} are explained at a time"
            raise RequestError(what, where="rows", cure="Ask in several requests", status=413)
        predictions = await self.ask(engine, rows, call.id)
        about = {"request_id": call.id.decode(), "model": self.name, "version": engine.model.served.version}
        told = [one.told | one.about for one in predictions]
        if explain:
            # Features are read by this thread alone; what comes after takes long, so another one does it.
            found = await asyncio.to_thread(engine.explain, engine.matrix(rows))
            # What another version said, this one cannot explain.
            mine = [
                why if one.version == about["version"] else None for one, why in zip(predictions, found, strict=True)
            ]
            told = [one | {"explanation": why} for one, why in zip(told, mine, strict=True)]
        return Response(200, _encode(about | ({"predictions": told} if many else told[0])))

    async def _docs(self, engine: Engine, description: Description, call: Call) -> Response:
        return Response(200, description.html, b"text/html; charset=utf-8")

    async def _openapi(self, engine: Engine, description: Description, call: Call) -> Response:
        return Response(200, description.openapi)

    async def _metadata(self, engine: Engine, description: Description, call: Call) -> Response:
        refused = {"version": self.refused.version, "reason": self.reason} if self.refused else None
        now = {"refused": refused, "counts": self._meter.counts()}
        return Response(200, _encode(description.metadata | now))

    async def _health(self, engine: Engine, description: Description, call: Call) -> Response:
        served = engine.model.served
        told = {"status": "ok", "model": self.name, "version": served.version, "digest": served.digest}
        return Response(200, _encode(told))


def _explain(query: bytes) -> bool:
    """Whether explanations are asked for."""
    if not query:
        return False
    asked = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("explain", ["false"])
    if asked not in (["true"], ["false"]):
        raise RequestError("must be true or false", where="explain")
    return asked == ["true"]


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
