"""Traces, as a receiver of OpenTelemetry sees them: from a run to its stages, from a request to its model."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx
import pytest

from raypipe import observe
from raypipe.contracts.progress import Silent
from raypipe.errors import GateError
from raypipe.flows.remote import on_cluster
from raypipe.observe import traces
from raypipe.observe.traces import _exporting  # the sampler alone
from raypipe.serving.app import App
from raypipe.serving.engine import Engine
from raypipe.serving.meter import Meter
from raypipe.spec import Pipeline
from tests.flows.test_stage import SmallPlatform, refuse
from tests.observe.receiver import Receiver, attributes
from tests.serving.conftest import make_bundle
from tests.serving.pipeline import pipeline as late
from tests.serving.reader import FakeReader
from tests.serving.test_parse import GOOD

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def ask(app: App, bodies: list[object], headers: dict[str, str]) -> list[httpx.Response]:
    """Several requests at the same time."""

    async def all_of_them() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            post = partial(client.post, "/late/predict", headers={"content-type": "application/json", **headers})
            return await asyncio.gather(*(post(content=json.dumps(body)) for body in bodies))

    return asyncio.run(all_of_them())


@pytest.fixture
def app(tmp_path: Path) -> App:
    pipeline: Pipeline = late
    found = App("late", Meter())
    found.hold(Engine(make_bundle(tmp_path / "1", pipeline), FakeReader, Meter()))
    return found


def test_a_request_goes_from_its_caller_to_features_and_model(otlp: Receiver, app: App) -> None:
    (answer,) = ask(app, [{"rows": [GOOD, GOOD]}], {"traceparent": f"00-{TRACE}-{CALLER}-01", "x-request-id": "r-7"})
    assert answer.status_code == 200
    observe.flush()
    request, features, model = (otlp.named(name) for name in ("POST /late", "features", "model"))
    assert {span.trace_id.hex() for span in (request, features, model)} == {TRACE}
    assert request.parent_span_id.hex() == CALLER
    assert features.parent_span_id == model.parent_span_id == request.span_id
    assert attributes(request) == {"request_id": "r-7", "url.path": "/late/predict", "http.response.status_code": 200}
    assert attributes(features)["rows"] == 2
    assert request.start_time_unix_nano <= features.start_time_unix_nano < features.end_time_unix_nano
    assert features.end_time_unix_nano <= model.start_time_unix_nano < model.end_time_unix_nano
    assert model.end_time_unix_nano <= request.end_time_unix_nano + 1_000  # the clock of the log has microseconds
    assert otlp.headers[0]["api-key"] == "canary"


def test_requests_that_are_computed_together_keep_their_own_traces(otlp: Receiver, app: App) -> None:
    assert [a.status_code for a in ask(app, [GOOD] * 3, {})] == [200] * 3
    observe.flush()
    requests = {span.trace_id for span in otlp.spans if span.name == "POST /late"}
    assert len(requests) == 3
    for name in ("features", "model"):
        assert {span.trace_id for span in otlp.spans if span.name == name} == requests


def test_an_error_is_told_with_its_status(otlp: Receiver, app: App) -> None:
    (answer,) = ask(app, [{"carrier": 7}], {})
    observe.flush()
    assert attributes(otlp.named("POST /late"))["http.response.status_code"] == answer.status_code == 422


def test_who_decided_before_is_followed_and_else_the_share_holds() -> None:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    tracer = _exporting(InMemorySpanExporter(), 0.0).get_tracer("t")
    read = TraceContextTextMapPropagator().extract
    assert not tracer.start_span("mine").is_recording()
    assert tracer.start_span("theirs", read({"traceparent": f"00-{TRACE}-{CALLER}-01"})).is_recording()
    assert not tracer.start_span("theirs", read({"traceparent": f"00-{TRACE}-{CALLER}-00"})).is_recording()


@pytest.mark.parametrize("away", ["gone", "silent"])
def test_a_receiver_that_is_away_holds_nobody_up(app: App, free_port, monkeypatch, away: str) -> None:
    """Neither while a request is answered, nor at the end of a stage, nor when the process ends."""
    monkeypatch.setattr(traces, "PATIENCE", 0.1)
    with ExitStack() as stack:
        port = free_port()
        if away == "silent":
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        stack.callback(traces._sender.cache_clear)  # what comes next has a receiver
        stack.callback(observe.stop)
        observe.start(observe.Observing(f"http://127.0.0.1:{port}", 1.0))
        began = time.monotonic()
        assert [answer.status_code for answer in ask(app, [GOOD], {})] == [200]
        observe.flush()
        observe.flush()
        observe.stop()
        # The exporter itself tries for seven seconds, or waits for ten.
        assert time.monotonic() - began < 5


def test_what_waits_is_sent_when_the_process_ends(otlp: Receiver) -> None:
    code = "import sys; from raypipe import observe; observe.start(observe.Observing(sys.argv[1], 1.0))\n"
    code += "with observe.span('the last'): pass"
    subprocess.run([sys.executable, "-c", code, otlp.url], check=True, timeout=60)
    assert otlp.named("the last").start_time_unix_nano > 0


def about(_: object, progress: object) -> dict[str, str]:
    return dict(observe.told_about())


@pytest.mark.usefixtures("ray_local")
def test_a_stage_is_one_trace_from_the_driver_to_its_task(otlp: Receiver, tmp_path: Path) -> None:
    reopen = partial(_open, otlp.url)
    place = SmallPlatform(None, reopen)
    with observe.about(run_id="r1"), observe.span("raypipe: toy") as run:
        seen = on_cluster("toy: train", about, place, Silent())
        with pytest.raises(GateError):
            on_cluster("toy: gate", refuse, place, Silent())
    observe.flush()
    trace = f"{run.get_span_context().trace_id:032x}"
    assert seen == {"run_id": "r1", "pipeline": "toy", "stage": "train", "trace_id": trace}
    train, gate = otlp.named("toy: train"), otlp.named("toy: gate")
    tasks = [span for span in otlp.spans if span.name == "task"]
    assert [task.parent_span_id for task in tasks] == [train.span_id, gate.span_id]
    assert {span.trace_id.hex() for span in otlp.spans} == {trace}
    assert gate.status.code == gate.status.STATUS_CODE_ERROR
    assert "3 of 10 rows" in gate.status.message


def _open(url: str) -> str:
    observe.start(observe.Observing(url, 1.0))
    return "reopened"
