"""The short way from a socket to the gRPC service of a replica, and what goes on to Serve."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from ray.serve._private.grpc_util import gRPCGenericServer

from raypipe.serving import grpc_door
from raypipe.serving.app import App
from raypipe.serving.meter import Meter
from tests.serving.grpc_caller import QUESTION, Pairs, Service, call

SERVE = "what Serve says"


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    grpc_door._Here.methods = None


def serves(service_method: str, streaming_type: object) -> Callable[..., Awaitable[bytes]]:
    """Serve's own handling, in the place of every method."""

    async def handle(request: object, context: Any) -> bytes:
        context.set_code(grpc.StatusCode.DATA_LOSS)
        context.set_details(SERVE)
        return b""

    return handle


async def ask(name: str, /, metadata: Pairs = (), **fields: Any) -> tuple[Any, dict[str, str]]:
    """One call to Serve's server, and what came beside its answer."""
    server = gRPCGenericServer(serves, extra_options=[])
    return await call(server, Service(App("late", Meter()), Meter()), name, metadata, **fields)


def asked(app: App, name: str, /, metadata: Pairs = (), **fields: Any) -> tuple[Any, dict[str, str]]:
    """The same in a process whose service is open."""

    async def opened() -> tuple[Any, dict[str, str]]:
        grpc_door.open_to(Service(app, Meter()), app.name)
        return await ask(name, metadata, **fields)

    return asyncio.run(opened())


def test_calls_go_straight_to_the_service_of_the_process(app: App) -> None:
    told, beside = asked(app, "ModelInfer", **QUESTION, id="mine")
    assert (told.id, beside["request_id"], len(np.frombuffer(told.raw_output_contents[0], "<f8"))) == ("mine",) * 2 + (
        2,
    )
    assert app.under_way == 0
    assert asked(app, "ModelReady", name="late")[0].ready
    mine, _ = asked(app, "ModelInfer", metadata=(("application", "late"),), **QUESTION)
    assert mine.raw_output_contents == told.raw_output_contents


def test_another_application_and_a_process_without_a_service_are_left_to_serve(app: App) -> None:
    assert asyncio.run(ask("ModelInfer", **QUESTION))[0].details() == SERVE
    assert asked(app, "ModelInfer", metadata=(("application", "other"),), **QUESTION)[0].details() == SERVE
    # The loop that it was opened on is another one.
    assert asyncio.run(ask("ModelInfer", **QUESTION))[0].details() == SERVE


def test_who_comes_too_much_is_refused_at_once(app: App) -> None:
    app.under_way = app.most
    refused, _ = asked(app, "ModelInfer", **QUESTION)
    assert (refused.code(), refused.details().partition(".")[0]) == (
        grpc.StatusCode.UNAVAILABLE,
        "server: is overloaded",
    )
    assert app.under_way == app.most
    assert asked(app, "ServerLive")[0].live


def test_an_error_leaves_nothing_under_way(app: App) -> None:
    assert asked(app, "ModelInfer", model_name="other")[0].code() is grpc.StatusCode.NOT_FOUND
    assert app.under_way == 0
