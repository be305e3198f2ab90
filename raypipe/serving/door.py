"""The short way in: from a replica's socket to its application, past the books that Serve keeps on each request.

Serve makes three tasks, a queue and some dozen records for a request that comes straight from its front door: more
work than the answer itself. It lets one name middlewares, which stand before all that, in ``ENVIRONMENT``. What Serve
did there is done here or in `App`: the id of a request, the bound on how many are under way, and how many there are
for those who scale. Health checks, other paths and other processes go on to Serve. Calls of gRPC that the front door
has turned into HTTP/1.1 come this way, too.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from starlette.middleware import Middleware

from raypipe.serving.app import App
from raypipe.serving.http import Receive, Scope, Send

Behind = Callable[[Scope, Receive, Send], Awaitable[None]]


class _Here:
    """The application of this process, and the event loop that it lives on."""

    app: App | None = None
    loop: asyncio.AbstractEventLoop | None = None
    path: str = ""
    below: str = ""
    calls: Mapping[str, Behind] = {}


def open_to(app: App, calls: Mapping[str, Behind] | None = None) -> None:
    """Let requests in this process go straight to an application; to be called on its event loop.

    Args:
        app: answers what is below its own path.
        calls: what else is answered here, by path.
    """
    _Here.calls = calls or {}
    _Here.app, _Here.loop, _Here.path, _Here.below = app, asyncio.get_running_loop(), f"/{app.name}", f"/{app.name}/"


def middlewares() -> list[Middleware]:
    """What Serve puts before its own handling of requests, in every process that has a port."""
    return [Middleware(Door)]


class Door:
    """Hands requests to the application of this process, and all others to Serve.

    Args:
        behind: Serve's own handling.
    """

    def __init__(self, behind: Behind) -> None:
        self._behind = behind
        self._near: bool | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry point."""
        app = _Here.app
        if app is not None and scope["type"] == "http" and not scope["root_path"]:
            path = scope["path"]
            if (path.startswith(_Here.below) or path == _Here.path) and self._same_loop():
                await app.direct(scope, receive, send)
                return
            if (call := _Here.calls.get(path)) is not None and self._same_loop():
                await call(scope, receive, send)
                return
        await self._behind(scope, receive, send)

    def _same_loop(self) -> bool:
        """Whether the application may be called from here: Serve can be told to keep it on a thread of its own."""
        if self._near is None:
            self._near = asyncio.get_running_loop() is _Here.loop
        return self._near
