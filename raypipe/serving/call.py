"""One request on its way through a replica, and the ways that requests can go."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from raypipe.errors import RequestError
from raypipe.serving.access import Scope
from raypipe.serving.describe import Description
from raypipe.serving.engine import Engine
from raypipe.serving.http import Receive, Response


class Call(NamedTuple):
    """What was asked.

    Attributes:
        method: such as ``POST``.
        path: below the pipeline's own, such as ``/predict``.
        query: what stands behind the question mark.
        headers: by lower-case name; of a repeated one the last.
        receive: gives the body.
        id: the caller's, or a new one.
    """

    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    receive: Receive
    id: bytes


Handler: TypeAlias = Callable[[Engine, Description, Call], Awaitable[Response]]
Tell: TypeAlias = Callable[[RequestError, bytes], Response]


@dataclass(frozen=True, slots=True)
class Route:
    """What answers at one path.

    Attributes:
        handler: answers.
        methods: that it takes, besides OPTIONS, as `Allow` lists them.
        tell: writes an error as callers of this path expect one.
        public: True when no key is asked for.
        scope: what a key must allow.
    """

    handler: Handler
    methods: tuple[str, ...]
    tell: Tell
    public: bool = False
    scope: Scope = "predict"

    @property
    def allow(self) -> bytes:
        """The header of that name."""
        return ", ".join(sorted((*self.methods, "OPTIONS"))).encode()


class Face(Protocol):
    """One protocol."""

    def find(self, path: str) -> Route | None:
        """What answers at a path below the pipeline's own; None: nothing of this protocol."""
        ...


class Paths:
    """A protocol whose paths are fixed."""

    def __init__(self, routes: dict[str, Route]) -> None:
        self.find = routes.get
