"""The HTTP face, called in this process: paths, methods, limits, ids, and what it does under load."""

import asyncio
import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from polars.exceptions import PanicException

from raypipe.contracts.signature import Signature
from raypipe.serving.app import App, Limits
from raypipe.serving.engine import Engine
from raypipe.serving.meter import Meter
from raypipe.serving.model import Served
from raypipe.spec import Pipeline
from tests.serving.conftest import GOLDEN, expected
from tests.serving.reader import FakeReader
from tests.serving.test_parse import GOOD

Open = Callable[[], httpx.AsyncClient]
JSON = {"Content-Type": "application/json"}


def post(client: Open, body: object, headers: dict[str, str] | None = None) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with client() as http:
            content = body if isinstance(body, bytes) else json.dumps(body)
            return await http.post("/late/predict", content=content, headers=JSON if headers is None else headers)

    return asyncio.run(ask())


def get(client: Open, path: str, method: str = "GET") -> httpx.Response:
    async def ask() -> httpx.Response:
        async with client() as http:
            return await http.request(method, path)

    return asyncio.run(ask())


def truth(carrier: str, hour: int, distance: float) -> float:
    """The same prediction by hand: Polars, numpy and nothing of the room."""
    frame = pl.DataFrame({"carrier": [carrier], "hour": [hour], "distance": [distance], "origin_delay_1h": [10.0]})
    matrix = Signature.fit(GOLDEN, tuple(frame.columns)).encode(frame)
    return float(expected(matrix, [0.3, 0.01, 0.0001, 0.02], 0.0)[0])


def test_one_row_gets_the_probability(client: Open) -> None:
    answer = post(client, GOOD)
    assert answer.status_code == 200
    told = answer.json()
    assert told.pop("request_id") == answer.headers["x-request-id"]
    assert told.pop("probability") == pytest.approx(truth("UA", 14, 100.5), abs=1e-6)
    known = "2013-07-01T00:00:00Z"
    assert told == {"model": "late", "version": 1, "label": True, "arm": "champion", "features_as_of": known}


def test_many_rows_get_theirs_in_order(client: Open) -> None:
    rows = [GOOD, GOOD | {"carrier": "AA"}, GOOD | {"distance": 2_000}]
    told = post(client, {"rows": rows}).json()
    wanted = [truth("UA", 14, 100.5), truth("AA", 14, 100.5), truth("UA", 14, 2_000)]
    assert [p["probability"] for p in told["predictions"]] == pytest.approx(wanted, abs=1e-6)
    assert told.keys() == {"request_id", "model", "version", "predictions"}


def test_the_label_follows_the_threshold(client: Open, engine: Engine) -> None:
    told = post(client, {"rows": [GOOD, GOOD | {"carrier": "??"}]}).json()["predictions"]
    assert [p["label"] for p in told] == [p["probability"] >= engine.model.card.threshold for p in told]


def test_an_unknown_category_is_answered_and_counted(client: Open, meter: Meter) -> None:
    told = post(client, {"rows": [GOOD, GOOD | {"carrier": "??"}, GOOD | {"carrier": "!!"}]}).json()
    assert told["predictions"][1]["probability"] == pytest.approx(truth("??", 14, 100.5), abs=1e-6)
    assert meter.counts()["unseen"] == {"carrier": 2}
    assert get(client, "/late").json()["counts"]["unseen"] == {"carrier": 2}


@pytest.mark.parametrize("given", ["abc-1.2:3_Z", "a" * 128])
def test_a_sane_request_id_is_kept(client: Open, given: str) -> None:
    answer = post(client, GOOD, JSON | {"X-Request-Id": given})
    assert answer.headers["x-request-id"] == given == answer.json()["request_id"]


@pytest.mark.parametrize("given", ["", "a b", "a" * 129, '"><script>', "é"])
def test_another_request_id_is_replaced(client: Open, given: str) -> None:
    answer = post(client, GOOD, JSON | {"X-Request-Id": given.encode("latin-1")})  # type: ignore[dict-item]
    assert answer.headers["x-request-id"] not in ("", given)
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_errors_carry_the_request_id_and_are_counted(client: Open, meter: Meter) -> None:
    answer = post(client, GOOD | {"flight": "x"}, JSON | {"X-Request-Id": "mine"})
    assert answer.status_code == 422
    assert answer.json() == {
        "error": {"field": "flight", "message": "must be a whole number, not text"},
        "request_id": "mine",
    }
    assert meter.counts()["refused"] == {"422": 1}


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({}, "Content-Type"),
        ({"Content-Type": "text/plain"}, "Content-Type"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "Content-Type"),
        ({"Content-Type": "application/json; charset=latin-1"}, "Content-Type"),
        (JSON | {"Content-Encoding": "br"}, "Content-Encoding"),
    ],
)
def test_another_form_of_body_is_refused(client: Open, headers: dict[str, str], field: str) -> None:
    answer = post(client, GOOD, headers)
    assert (answer.status_code, answer.json()["error"]["field"]) == (415, field)


def test_a_compressed_body_is_unpacked_within_limits(client: Open) -> None:
    plain = json.dumps(GOOD).encode()
    packed = {"gzip": gzip.compress(plain), "deflate": zlib.compress(plain)}
    for coding, body in packed.items():
        assert post(client, body, JSON | {"Content-Encoding": coding}).status_code == 200
        for broken in (body[:-6], body + b"x", b"x" + body, b""):
            assert post(client, broken, JSON | {"Content-Encoding": coding}).status_code == 400
    for size in (64 * 1024 + 1, 2**28):
        bomb = gzip.compress(b" " * size, 9)
        tracemalloc.start()
        assert post(client, bomb[: 60 * 1024], JSON | {"Content-Encoding": "gzip"}).status_code == 413
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'])
def test_json_may_say_that_it_is_utf8(client: Open, kind: str) -> None:
    assert post(client, GOOD, {"Content-Type": kind}).status_code == 200


def test_paths_and_methods(client: Open) -> None:
    assert get(client, "/late/nothing").status_code == 404
    assert get(client, "/latex/predict", "POST").status_code == 404
    assert get(client, "/late/predict/", "POST").status_code == 404
    wrong = get(client, "/late/predict")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "OPTIONS, POST")
    assert wrong.json()["error"]["cure"] == "Use POST"
    assert get(client, "/late", "DELETE").json()["error"]["cure"] == "Use GET or HEAD"
    assert get(client, "/late", "DELETE").headers["allow"] == "GET, HEAD, OPTIONS"
    options = get(client, "/late/predict", "OPTIONS")
    assert (options.status_code, options.headers["allow"], options.content) == (204, "OPTIONS, POST", b"")
    head = get(client, "/late/health", "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(get(client, "/late/health").content)


def test_metadata_says_what_answers_and_its_example_works(client: Open, served: Served, pipeline: Pipeline) -> None:
    told = get(client, "/late").json()
    assert (told["name"], told["version"], told["digest"]) == ("late", 1, served.digest)
    assert [field["name"] for field in told["fields"]] == list(pipeline.request.fields)
    assert [field["required"] for field in told["fields"]] == [True] * 5 + [False]
    assert told["refused"] is None
    assert post(client, told["example"]).status_code == 200


def test_health_is_bad_until_a_model_is_held(meter: Meter, engine: Engine, served: Served) -> None:
    app = App("late", meter)
    client = lambda: httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")  # noqa: E731
    for answer in (get(client, "/late/health"), post(client, GOOD)):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    app.hold(engine)
    assert get(client, "/late/health").json() == {
        "status": "ok",
        "model": "late",
        "version": 1,
        "digest": served.digest,
    }


def test_the_page_for_people_loads_nothing_from_elsewhere(client: Open) -> None:
    page = get(client, "/late/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "scheduled_at" in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text


def test_openapi_describes_the_fields(client: Open) -> None:
    told = get(client, "/late/openapi.json").json()
    row = told["components"]["schemas"]["Row"]
    assert row["required"] == ["carrier", "flight", "origin", "charter", "scheduled_at"]
    assert row["properties"]["scheduled_at"] == {"type": "string", "format": "date-time"}
    assert row["properties"]["distance"]["type"] == ["number", "null"]
    assert set(told["paths"]) == {"/late", "/late/health", "/late/predict"}


class Sender:
    """The receiving end of a connection whose other side sends as it is told; counts what was taken from it."""

    def __init__(self, parts: list[bytes], *, delay: float = 0.0, whole: bool = True) -> None:
        self._parts, self._delay, self._whole = list(parts), delay, whole
        self.taken = 0

    async def receive(self) -> dict[str, object]:
        if not self._parts:
            if self._whole:
                await asyncio.sleep(3600)
            return {"type": "http.disconnect"}
        await asyncio.sleep(self._delay)
        part = self._parts.pop(0)
        self.taken += len(part)
        return {"type": "http.request", "body": part, "more_body": bool(self._parts) or not self._whole}


def speak(
    app: App, sender: Sender, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any], dict[str, str]]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(k.lower().encode(), v.encode()) for k, v in (JSON | (headers or {})).items()]
    scope = {"type": "http", "method": "POST", "path": "/late/predict", "headers": raw}
    asyncio.run(app(scope, sender.receive, send))
    if not sent:
        return 0, {}, {}
    told = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    return sent[0]["status"], json.loads(sent[1]["body"]), told


def test_a_body_declared_too_long_is_refused_unread(app: App) -> None:
    sender = Sender([b"x" * 1_000] * 10_000)
    status, told, headers = speak(app, sender, {"Content-Length": "10000000"})
    assert (status, told["error"]["field"], sender.taken) == (413, "body", 0)
    assert headers["connection"] == "close"


def test_a_body_that_turns_out_too_long_is_refused_at_the_limit(app: App) -> None:
    sender = Sender([b" " * 1_000] * 10_000)
    status, _, _ = speak(app, sender)
    assert status == 413
    assert sender.taken <= 64 * 1024 + 1_000


@pytest.mark.parametrize("length", ["-1", "1e9", "9" * 5_000, "٣", "abc"])
def test_a_length_that_is_none_is_refused(app: App, length: str) -> None:
    assert speak(app, Sender([b"{}"]), {"Content-Length": length})[0] in (400, 413)


def test_a_body_in_pieces_is_put_together(app: App) -> None:
    body = json.dumps(GOOD).encode()
    assert speak(app, Sender([body[i : i + 6] for i in range(0, len(body), 6)]))[0] == 200


def test_a_slow_body_is_given_up(app: App) -> None:
    status, told, headers = speak(app, Sender([b" "] * 1_000, delay=0.05))
    assert (status, told["error"]["field"], headers["connection"]) == (408, "body", "close")


def test_a_caller_who_goes_away_gets_nothing(app: App, meter: Meter) -> None:
    assert speak(app, Sender([b'{"carrier"'], whole=False))[0] == 0
    assert meter.counts()["refused"] == {}


def test_a_thousand_at_once_are_answered_right_and_computed_together(client: Open, engine: Engine) -> None:
    async def ask(http: httpx.AsyncClient, n: int) -> tuple[int, float]:
        answer = await http.post("/late/predict", json=GOOD | {"distance": float(n)})
        return answer.status_code, answer.json()["probability"]

    async def all_of_them() -> list[tuple[int, float]]:
        async with client() as http:
            return await asyncio.gather(*(ask(http, n) for n in range(1_000)))

    got = asyncio.run(all_of_them())
    assert {status for status, _ in got} == {200}
    frame = GOLDEN.head(1).select(
        pl.lit("UA").alias("carrier"), pl.lit(14).alias("hour"), distance=pl.lit(0.0), origin_delay_1h=pl.lit(10.0)
    )
    matrix = np.repeat(Signature.fit(GOLDEN, tuple(frame.columns)).encode(frame), 1_000, axis=0)
    matrix[:, 2] = np.arange(1_000)
    assert [probability for _, probability in got] == pytest.approx(
        expected(matrix, [0.3, 0.01, 0.0001, 0.02], 0.0), abs=1e-6
    )
    sizes = engine._reader.sizes[1:]  # type: ignore[attr-defined]  # the first was its rehearsal
    assert sum(sizes) == 1_000
    assert len(sizes) < 20


class BrokenReader(FakeReader):
    """Cannot compute the features of one carrier, in a way that is not foreseen."""

    error: BaseException = RuntimeError("secret detail")

    def compute(self, requests: pl.DataFrame) -> pl.DataFrame:
        if "XX" in requests["carrier"]:
            raise self.error
        return super().compute(requests)


@pytest.mark.parametrize("error", [RuntimeError("secret detail"), PanicException("secret detail")])
def test_a_fault_inside_is_told_to_nobody_and_fails_nobody_else(
    served: Served, meter: Meter, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    reader = type("Reader", (BrokenReader,), {"error": error})
    app = App("late", meter, Limits())
    app.hold(Engine(served, reader, meter))

    async def all_of_them() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
            bodies = [GOOD | {"carrier": carrier} for carrier in ("UA", "XX", "AA")]
            return await asyncio.gather(*(http.post("/late/predict", json=body) for body in bodies))

    answers = asyncio.run(all_of_them())
    assert [answer.status_code for answer in answers] == [200, 500, 200]
    assert "secret" not in answers[1].text
    assert answers[1].json()["request_id"] in caplog.text


async def _nothing() -> AsyncIterator[None]:
    yield None


def test_lifespan_and_websockets(app: App) -> None:
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    def run(scope: dict[str, object]) -> Awaitable[None]:
        return app(scope, receive, send)

    asyncio.run(run({"type": "lifespan"}))  # type: ignore[arg-type]
    asyncio.run(run({"type": "websocket", "headers": []}))  # type: ignore[arg-type]
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]
