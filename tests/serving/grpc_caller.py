"""Two questions as the tensors of the Open Inference Protocol, and a caller over gRPC."""

import asyncio
import struct
from typing import Any

import grpc
import numpy as np

from raypipe.serving.app import App
from raypipe.serving.grpc_door import add_to_server
from raypipe.serving.meter import Meter
from raypipe.serving.oip_grpc import GrpcService
from raypipe.serving.oip_messages import SERVICE, message

Pairs = tuple[tuple[str, str], ...]
TIME = 1_370_095_200_000_000
COLUMNS: dict[str, tuple[str, list[Any]]] = {
    "carrier": ("BYTES", ["UA", "AA"]),
    "flight": ("INT64", [1, 2]),
    "origin": ("BYTES", ["EWR", "JFK"]),
    "charter": ("BOOL", [False, True]),
    "scheduled_at": ("INT64", [TIME, TIME]),
    "distance": ("FP32", [100.5, float("nan")]),
}


def raw(kind: str, values: list[Any]) -> bytes:
    if kind == "BYTES":
        return b"".join(struct.pack("<I", len(v.encode())) + v.encode() for v in values)
    return np.array(values, {"INT64": "<i8", "BOOL": "?", "FP32": "<f4"}[kind]).tobytes()


PIECES = {name: raw(kind, values) for name, (kind, values) in COLUMNS.items()}


def grpc_inputs(**changed: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": n, "datatype": k, "shape": [2]} | changed.get(n, {}) for n, (k, _) in COLUMNS.items()]


QUESTION = {"model_name": "late", "inputs": grpc_inputs(), "raw_input_contents": list(PIECES.values())}


class Service(GrpcService):
    """Of an application that is made already."""

    def __init__(self, app: App, meter: Meter) -> None:
        self._app, self._meter = app, meter


async def call(
    server: Any, service: Service, name: str, /, metadata: Pairs = (), **fields: Any
) -> tuple[Any, dict[str, str]]:
    """One call to a server over a real connection: the answer, or the error; and what came beside the answer."""
    add_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            method = channel.unary_unary(
                f"/{SERVICE}/{name}",
                request_serializer=lambda m: m.SerializeToString(),
                response_deserializer=message(f"{name}Response").FromString,  # type: ignore[attr-defined]
            )
            asked = method(message(f"{name}Request")(**fields), timeout=10, metadata=metadata)
            return await asked, dict(await asked.trailing_metadata())
    except grpc.aio.AioRpcError as error:
        return error, {}
    finally:
        await server.stop(0)


def over_grpc(app: App, meter: Meter, name: str, /, metadata: Pairs = (), **fields: Any) -> Any:
    """One call to gRPC's own server: the answer, or the error."""

    async def ask() -> tuple[Any, dict[str, str]]:
        return await call(grpc.aio.server(), Service(app, meter), name, metadata, **fields)

    return asyncio.run(ask())[0]
