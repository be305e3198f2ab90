"""Every request over HTTP is counted once: most of them by the replica, the others by Serve from HAProxy's lines."""

import asyncio
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from ray.serve._private.haproxy import HAProxyApi, HAProxyConfig
from ray.serve._private.haproxy_metrics import HAProxyMetricsCollector
from ray.serve.config import HTTPOptions

from raypipe.services import front_door
from raypipe.serving import door, http
from raypipe.serving.app import App
from raypipe.serving.engine import Engine
from raypipe.serving.meter import Meter
from tests.serving import test_grpc_http
from tests.serving.test_grpc_http import _backends, _listens, replica
from tests.serving.test_parse import GOOD

ASKED = 320


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    door._Here.app, door._Here.calls = None, {}


class Told:
    """A sink that keeps what was counted."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, str]] = Counter()

    def answered(self, method: str, status: int) -> None:
        self.answers[method, str(status)] += 1

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_: None


def lines(metrics: socket.socket) -> Counter[tuple[str | None, str | None, str | None]]:
    """Application, method and status of what HAProxy tells Serve, as Serve reads it."""
    found: Counter[tuple[str | None, str | None, str | None]] = Counter()
    while True:
        try:
            parsed = HAProxyMetricsCollector.parse_line(metrics.recv(16_384))
        except BlockingIOError:
            return found
        if parsed is not None:
            found[parsed.app, parsed.method, parsed.status_code] += 1


async def answers(free_port: Callable[[], int], folder: Path, app: App, told: Told, taken: Callable[[], None]) -> None:
    """Ask through HAProxy, as Ray configures it and raypipe starts it: well, wrongly, and another application."""
    program = front_door._haproxy()
    if program is None:
        pytest.skip("there is no HAProxy for this machine")
    own, port = free_port(), free_port()
    config = HAProxyConfig(
        socket_path=str(folder / "a"),
        metrics_port=free_port(),
        stats_port=free_port(),
        metrics_enabled=True,
        metrics_socket_path=str(folder / "m"),
        nbthread=1,
        has_received_routes=True,
        is_head=True,
        http_options=HTTPOptions(host="127.0.0.1", port=port),
    )
    backends = {name: one for name, one in _backends([(own, own)], own, ("late", "other")) if name.startswith("http")}
    HAProxyApi(config, backends, str(folder / "cfg"))._generate_config_file_internal()
    (folder / "haproxy").write_text(front_door.launcher(program))
    async with replica(app, Meter(), own):
        running = await asyncio.create_subprocess_exec("sh", str(folder / "haproxy"), "-db", "-f", str(folder / "cfg"))
        try:
            await _listens(port)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                for number in range(ASKED):
                    body = GOOD if number % 2 else GOOD | {"flight": "x"}
                    # Who sends the header himself changes nothing.
                    answer = await client.post("/late/predict", json=body, headers={http.TELL.decode(): "1"})
                    assert (answer.status_code, http.TOLD.decode() in answer.headers) == ((422, 200)[number % 2], False)
                    taken()
                for _ in range(20):
                    assert (await client.get("/other/x")).status_code == 418
                    taken()
        finally:
            running.terminate()
            await running.wait()


async def serve(scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
    """What Serve would answer: that it is well, and another application."""
    await http.Response(200 if scope["path"] == "/-/healthz" else 418, b"").send(send, None, head=False)


def test_each_request_is_counted_once(
    engine: Engine, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_grpc_http, "behind", serve)
    told = Told()
    seen: Counter[tuple[str | None, str | None, str | None]] = Counter()
    app = App("late", Meter(told))
    app.hold(engine)
    with tempfile.TemporaryDirectory(prefix="rp-") as name, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as metrics:
        metrics.bind(f"{name}/m")
        metrics.setblocking(False)
        asyncio.run(answers(free_port, Path(name), app, told, lambda: seen.update(lines(metrics))))
        seen.update(lines(metrics))
    for status in ("200", "422"):
        here, there = told.answers["POST", status], seen["late", "POST", status]
        assert here + there == ASKED // 2
        assert 0.8 * ASKED // 2 < here < ASKED // 2, "the front door times one of sixteen"
    assert (seen["other", "GET", "418"], sum(told.answers.values()) < ASKED) == (20, True)
    assert "127.0.0.1:514" not in front_door.launcher("haproxy").replace("/^    log 127.0.0.1:514 local0 info$/d", "")


def test_nobody_counts_twice_where_another_front_door_stands(engine: Engine) -> None:
    """Without its header it counts all requests itself."""
    told = Told()
    app = App("late", Meter(told))
    app.hold(engine)

    async def ask(**headers: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app.direct), base_url="http://test") as client:
            return await client.post("/late/predict", json=GOOD, headers=headers)

    assert http.TOLD.decode() not in asyncio.run(ask()).headers
    assert not told.answers
    app.most = 0
    refused = asyncio.run(ask(**{http.TELL.decode(): "1"}))
    assert (refused.status_code, refused.headers[http.TOLD.decode()]) == (503, "1")
    assert told.answers == {("POST", "503"): 1}


def test_the_front_door_means_the_same_headers() -> None:
    assert (front_door.TELL.encode(), front_door.TOLD.encode()) == (http.TELL, http.TOLD)
