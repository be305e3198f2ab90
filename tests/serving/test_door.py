"""The short way from a socket to the application, and what goes on to Serve."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from raypipe.serving import door
from raypipe.serving.app import App
from raypipe.serving.http import Receive, Response, Scope, Send
from tests.serving.test_parse import GOOD


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    door._Here.app = None


async def behind(scope: Scope, receive: Receive, send: Send) -> None:
    await Response(418, b"Serve").send(send, None, head=False)


async def ask(path: str, method: str = "POST", **options: str) -> httpx.Response:
    (made,) = door.middlewares()
    transport = httpx.ASGITransport(made.cls(behind), **options)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        return await http.request(method, path, json=GOOD if method == "POST" else None)


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/late/predict", "POST", 200),
        ("/late", "GET", 200),
        ("/late/nothing", "GET", 404),
        ("/later/predict", "POST", 418),
        ("/-/healthz", "GET", 418),
        ("/", "GET", 418),
    ],
)
def test_what_is_below_the_pipeline_goes_straight_to_its_application(
    app: App, path: str, method: str, status: int
) -> None:
    async def opened() -> httpx.Response:
        door.open_to(app)
        return await ask(path, method)

    answer = asyncio.run(opened())
    assert answer.status_code == status
    # Serve does not add the id any more, so it is added here, once.
    ids = [*answer.headers.get_list("x-request-id")]
    assert len(ids) == (status != 418)
    assert status != 200 or method != "POST" or answer.json()["request_id"] == ids[0]


def test_a_process_without_an_application_leaves_all_to_serve() -> None:
    assert asyncio.run(ask("/late/predict")).status_code == 418


def test_an_application_on_another_event_loop_is_not_called_from_this_one(app: App) -> None:
    async def opened() -> None:
        door.open_to(app)

    asyncio.run(opened())
    assert asyncio.run(ask("/late/predict")).status_code == 418


def test_below_a_path_of_the_whole_cluster_serve_knows_better(app: App) -> None:
    async def opened() -> httpx.Response:
        door.open_to(app)
        return await ask("/late/predict", root_path="/cluster")

    assert asyncio.run(opened()).status_code == 418
