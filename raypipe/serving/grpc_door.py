"""The short way in over gRPC: from a replica's socket to its service, past the books that Serve keeps on each request.

Serve puts a handler of its own in the place of every method, which makes a generator, a task and some dozen records for
a request: twice the work of the answer. It asks ``add_to_server`` for the methods, in every process that has a port;
where that process is a replica, this one's handlers are asked first. Calls for another application, of other services
(Serve's health checks among them) and in other processes go on to Serve.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc.aio._server import Server

from raypipe.serving.oip_grpc import GrpcService
from raypipe.serving.oip_messages import CALLS, SERVICE, message

Answer = Callable[[Any, Any], Awaitable[Any]]


class _Here:
    """The service of this process, its methods by path, and the event loop that it lives on."""

    name: str = ""
    methods: dict[str, grpc.RpcMethodHandler] | None = None
    loop: asyncio.AbstractEventLoop | None = None


def open_to(service: GrpcService, name: str) -> None:
    """Let calls in this process go straight to the service of a pipeline; to be called on its event loop."""
    calls = {call: getattr(service, call) for call in CALLS} | {"ModelInfer": service.direct}
    _Here.methods = {f"/{SERVICE}/{call}": _method(call, answer) for call, answer in calls.items()}
    _Here.name, _Here.loop = name, asyncio.get_running_loop()


class GrpcDoor(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc is untyped
    """Hands calls to the service of this process, and leaves all others to who is asked next."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """The handler of a call; None: it is another's."""
        if _Here.methods is None or asyncio.get_running_loop() is not _Here.loop:
            return None
        for key, value in details.invocation_metadata or ():
            if key == "application" and value != _Here.name:
                return None
        return _Here.methods.get(details.method)


def add_to_server(servicer: object, server: Any) -> None:  # noqa: ANN401  # grpc's servers are untyped
    """What gRPC's code generator calls ``add_GRPCInferenceServiceServicer_to_server``; Serve asks for it by name."""
    handlers = {call: _method(call, getattr(servicer, call)) for call in CALLS}
    # Past Serve's own method, which replaces what handlers do; who is added first is asked first.
    Server.add_generic_rpc_handlers(server, (GrpcDoor(),))
    # Handlers that are registered one by one would come before the door.
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


def _method(call: str, answer: Answer) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=message(f"{call}Request").FromString,  # type: ignore[attr-defined]
        response_serializer=message(f"{call}Response").SerializeToString,  # type: ignore[attr-defined]
    )
