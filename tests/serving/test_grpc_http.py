"""gRPC calls that HAProxy passes on as HTTP/1.1: with the file that Ray writes for it, and gRPC's own client."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import uvicorn
from ray.serve._private.common import RequestProtocol
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions, gRPCOptions
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from raypipe.clock import SystemClock
from raypipe.services import front_door
from raypipe.serving import door, grpc_http
from raypipe.serving.access import Guard, Keyring
from raypipe.serving.app import App
from raypipe.serving.engine import Engine
from raypipe.serving.grpc_door import add_to_server
from raypipe.serving.meter import Meter
from raypipe.serving.oip_messages import SERVICE, message
from tests.serving.grpc_caller import QUESTION, Service
from tests.serving.test_door import behind
from tests.serving.test_parse import GOOD

Port = Callable[[], int]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    door._Here.app, door._Here.calls = None, {}


@asynccontextmanager
async def replica(app: App, meter: Meter, port: int) -> AsyncIterator[None]:
    """The HTTP port of a replica: uvicorn, and the door before what Serve would do."""
    door.open_to(app, {grpc_http.PATH: grpc_http.Infer(Service(app, meter), 1.0)})
    server = uvicorn.Server(
        uvicorn.Config(door.Door(behind), host="127.0.0.1", port=port, lifespan="off", log_level="critical")
    )
    task = asyncio.create_task(server.serve())
    await _listens(port)
    try:
        yield
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def own_server(answer: Any, port: int) -> AsyncIterator[None]:
    """A gRPC server, which says who answered; that of a replica, or of Serve's own proxy."""
    server = grpc.aio.server()
    add_to_server(answer, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)


class Says:
    """Answers every call with its name."""

    def __init__(self, who: str) -> None:
        self._who = who

    def __getattr__(self, call: str) -> Any:
        async def answer(request: object, context: object) -> Any:
            return message(f"{call}Response")(**({"id": self._who} if call == "ModelInfer" else {}))

        return answer


@asynccontextmanager
async def haproxy(free_port: Port, replicas: list[tuple[int, int]], fallback: int, *apps: str) -> AsyncIterator[int]:
    """HAProxy as Ray configures it and raypipe starts it, before replicas at these ports for HTTP and gRPC."""
    program = front_door._haproxy()
    if program is None:
        pytest.skip("there is no HAProxy for this machine")
    with tempfile.TemporaryDirectory(prefix="rp-") as name:
        folder, door_port = Path(name), free_port()
        config = HAProxyConfig(
            socket_path=str(folder / "a"),
            metrics_port=free_port(),
            stats_port=free_port(),
            metrics_enabled=False,
            nbthread=1,
            retry_on=front_door.PROMPT["RAY_SERVE_HAPROXY_RETRY_ON"],
            retries=int(front_door.PROMPT["RAY_SERVE_HAPROXY_RETRIES"]),
            observe_error_limit=1,
            observe_mark_down_enabled=True,
            has_received_routes=True,
            is_head=True,
            http_options=HTTPOptions(host="127.0.0.1", port=free_port()),
            grpc_options=gRPCOptions(port=door_port, grpc_servicer_functions=[front_door.GRPC_SERVICE]),
        )
        api = HAProxyApi(config, dict(_backends(replicas, fallback, apps or ("late",))), str(folder / "cfg"))
        api._generate_config_file_internal()
        launcher = folder / "haproxy"
        launcher.write_text(front_door.launcher(program))
        running = await asyncio.create_subprocess_exec("sh", str(launcher), "-db", "-f", str(folder / "cfg"))
        try:
            await _listens(door_port)
            yield door_port
        finally:
            running.terminate()
            await running.wait()


def _backends(
    replicas: list[tuple[int, int]], fallback: int, apps: tuple[str, ...]
) -> Iterator[tuple[str, BackendConfig]]:
    for app in apps:
        for place, protocol in enumerate((RequestProtocol.HTTP, RequestProtocol.GRPC)):
            name = f"{protocol.value.lower()}-{app}"
            servers = [ServerConfig(f"replica{n}", "127.0.0.1", ports[place]) for n, ports in enumerate(replicas)]
            yield (
                name,
                BackendConfig(
                    name=name,
                    path_prefix=f"/{app}",
                    app_name=app,
                    servers=servers,
                    protocol=protocol,
                    fallback_server=ServerConfig("fallback", "127.0.0.1", fallback),
                ),
            )


async def _listens(port: int) -> None:
    for _ in range(100):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise AssertionError(f"nobody listens at {port}")


async def infer(port: int, metadata: Any = None, compression: Any = None, **fields: Any) -> tuple[Any, dict[str, Any]]:
    """An answer and what stands beside it, or the error."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", compression=compression) as channel:
        method = channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=lambda one: one.SerializeToString(),
            response_deserializer=message("ModelInferResponse").FromString,  # type: ignore[attr-defined]
        )
        asked = method(message("ModelInferRequest")(**fields), metadata=metadata, timeout=10)
        try:
            return await asked, dict(await asked.trailing_metadata())
        except grpc.aio.AioRpcError as error:
            return error, dict(error.trailing_metadata())


def test_the_front_door_means_the_same_call() -> None:
    assert f"path {grpc_http.PATH}\n" in front_door._INFER.replace('"', "\n")
    assert grpc_http.MOST_BYTES == front_door.GRPC_BYTES


def test_a_call_comes_as_http_and_its_status_in_trailers(app: App, meter: Meter, free_port: Port) -> None:
    async def ask() -> tuple[Any, dict[str, Any], Any]:
        http, own, fallback = free_port(), free_port(), free_port()
        async with (
            replica(app, meter, http),
            own_server(Says("gRPC's own server"), own),
            haproxy(free_port, [(http, own)], fallback) as port,
        ):
            told, beside = await infer(port, **QUESTION, id="mine")
            many = 4_096
            inputs = [one | {"shape": [many]} for one in QUESTION["inputs"]]  # type: ignore[union-attr,index]
            pieces = [piece * (many // 2) for piece in QUESTION["raw_input_contents"]]
            long, _ = await infer(port, model_name="late", inputs=inputs, raw_input_contents=pieces)
            return told, beside, long

    told, beside, long = asyncio.run(ask())
    assert (told.id, beside["request_id"], told.model_name) == ("mine", "mine", "late")
    assert len(np.frombuffer(told.raw_output_contents[0], "<f8")) == 2
    assert len(np.frombuffer(long.raw_output_contents[0], "<f8")) == 4_096
    assert app.under_way == 0


def test_what_is_wrong_is_told_as_grpc_tells_it(app: App, meter: Meter, free_port: Port) -> None:
    async def ask() -> list[Any]:
        http, own, fallback = free_port(), free_port(), free_port()
        async with replica(app, meter, http), haproxy(free_port, [(http, own)], fallback) as port:
            other, _ = await infer(port, model_name="other")
            strange = QUESTION | {"outputs": [{"name": "x"}]}
            output, _ = await infer(port, **strange)
            app.most = 0
            busy, _ = await infer(port, **QUESTION)
            return [other, output, busy]

    other, output, busy = asyncio.run(ask())
    assert (other.code(), other.details()[:26]) == (grpc.StatusCode.NOT_FOUND, "model: is not a model here")
    assert (output.code(), "There are probability, label" in output.details()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        True,
    )
    assert (busy.code(), busy.details()[:21]) == (grpc.StatusCode.UNAVAILABLE, "server: is overloaded")
    assert sum(meter.counts()["refused"].values()) == 3


def test_what_is_compressed_and_every_other_call_goes_to_grpcs_own_server(
    app: App, meter: Meter, free_port: Port
) -> None:
    async def ask() -> tuple[Any, bool]:
        http, own, fallback = free_port(), free_port(), free_port()
        async with (
            replica(app, meter, http),
            own_server(Says("gRPC's own server"), own),
            haproxy(free_port, [(http, own)], fallback) as port,
        ):
            packed, _ = await infer(port, compression=grpc.Compression.Gzip, **QUESTION)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                live = channel.unary_unary(
                    f"/{SERVICE}/ServerLive",
                    response_deserializer=message("ServerLiveResponse").FromString,  # type: ignore[attr-defined]
                )
                return packed, (await live(b"", timeout=10)).live

    packed, live = asyncio.run(ask())
    assert (packed.id, live) == ("gRPC's own server", False)


def test_where_all_replicas_are_dead_serves_own_proxy_answers(app: App, meter: Meter, free_port: Port) -> None:
    async def ask() -> list[str]:
        dead, fallback = [(free_port(), free_port()) for _ in range(2)], free_port()
        async with own_server(Says("fallback"), fallback), haproxy(free_port, dead, fallback) as port:
            return [(await infer(port, **QUESTION))[0].id for _ in range(3)]

    assert asyncio.run(ask()) == ["fallback"] * 3


def test_of_several_applications_the_one_in_the_metadata_answers(app: App, meter: Meter, free_port: Port) -> None:
    async def ask() -> list[Any]:
        http, own, fallback = free_port(), free_port(), free_port()
        async with replica(app, meter, http), haproxy(free_port, [(http, own)], fallback, "late", "early") as port:
            metadata = (None, (("application", "late"),), (("application", "never"),))
            return [(await infer(port, metadata=one, **QUESTION))[0] for one in metadata]

    nobody, mine, never = asyncio.run(ask())
    assert mine.model_name == "late"
    assert (nobody.code(), never.code()) == (grpc.StatusCode.NOT_FOUND,) * 2


@pytest.mark.parametrize(
    "body", [b"", b"\0\0\0\0", b"\0\0\0\0\x05abc", b"\x01\0\0\0\0", b"\0\0\0\0\x02\xff\xff", b"\0\0\0\0\0" * 2]
)
def test_a_body_that_is_no_message_is_refused(app: App, meter: Meter, body: bytes) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(one: Any) -> None:
        sent.append(one)

    infer = grpc_http.Infer(Service(app, meter), 1.0)
    asyncio.run(infer({"type": "http", "headers": []}, receive, send))
    headers = dict(sent[0]["headers"])
    assert (headers[b"grpc-status"], headers[b"content-length"]) == (b"3", b"0")


def test_keys_are_asked_for_on_this_way_too(engine: Engine, meter: Meter, tmp_path: Path) -> None:
    ring = Keyring(tmp_path, SystemClock())
    key = ring.add("caller")
    guarded = App("late", meter, guard=Guard(ring, SystemClock(), required=True))
    guarded.hold(engine)
    content = message("ModelInferRequest")(**QUESTION | {"model_name": "other"}).SerializeToString()
    found = []
    for shown in (b"", b"Bearer rp_0_x", f"Bearer {key}".encode()):
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"\0" + len(content).to_bytes(4, "big") + content}

        async def send(one: Any, sent: list[Any] = sent) -> None:
            sent.append(one)

        scope = {"type": "http", "headers": [(b"authorization", shown)]}
        asyncio.run(grpc_http.Infer(Service(guarded, meter), 1.0)(scope, receive, send))
        found.append(dict(sent[0]["headers"])[b"grpc-status"])
    assert found == [b"16", b"16", b"5"]


def test_an_answer_leaves_in_one_piece(
    app: App, meter: Meter, free_port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REST, gRPC and an error: a replica that is killed has sent a whole answer or nothing of it."""
    written = list[bytes]()
    made = HttpToolsProtocol.connection_made

    class Watched:
        def __init__(self, transport: Any) -> None:
            self._transport = transport

        def write(self, data: bytes) -> None:
            written.append(data)
            self._transport.write(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._transport, name)

    monkeypatch.setattr(HttpToolsProtocol, "connection_made", lambda self, one: made(self, Watched(one)))
    port = free_port()
    body = message("ModelInferRequest")(**QUESTION).SerializeToString()
    framed = b"\0" + len(body).to_bytes(4, "big") + body

    async def asked() -> list[int]:
        async with replica(app, meter, port), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            kind = {"content-type": "application/grpc"}
            answers = [
                await http.post("/late/predict", json=GOOD),
                await http.post("/late/predict", content=b"{", headers={"content-type": "application/json"}),
                await http.post(grpc_http.PATH, content=framed, headers=kind),
                await http.post(grpc_http.PATH, content=b"odd", headers=kind),
                await http.post("/late/predict", json=GOOD, headers={"connection": "close"}),
            ]
        return [one.status_code for one in answers]

    assert asyncio.run(asked()) == [200, 400, 200, 200, 200]
    assert [data.split(b"\r\n")[0] for data in written] == [b"HTTP/1.1 200 OK", b"HTTP/1.1 400 Bad Request"] + 3 * [
        b"HTTP/1.1 200 OK"
    ]
