"""What can be changed while a pipeline answers, and what Serve is told of it."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from ray.serve.config import AutoscalingConfig

from raypipe.errors import ServingError, SettingsError
from raypipe.serving.app import App, Limits
from raypipe.serving.model import Served
from raypipe.serving.pointer import Pointer
from raypipe.serving.replica import Replica
from raypipe.serving.scaling import wanted
from raypipe.serving.tuning import Tuned, Tuning
from tests.serving.reader import FakeReader
from tests.serving.test_parse import GOOD


def test_it_is_kept_and_read_again(tmp_path: Path) -> None:
    tuned = Tuned(tmp_path / "serving", "late")
    assert tuned.read() is None
    tuned.write(Tuning(replicas=2, most=4, cache=10))
    assert tuned.read() == Tuning(replicas=2, most=4, cache=10)
    tuned.path.write_text("{")
    with pytest.raises(ServingError, match="cannot be read"):
        tuned.read()


@pytest.mark.parametrize(
    ("changes", "where"),
    [({"replicas": 0}, "replicas"), ({"replicas": 3, "most": 2}, "most"), ({"target": 0}, "target")],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(SettingsError) as error:
        Tuning(**changes).checked()
    assert error.value.where == where


@pytest.mark.ray  # Serve pickles the policy's code, and code whose coverage is measured cannot be
def test_serve_takes_what_it_is_told() -> None:
    assert Tuning(replicas=3).scaled == {"num_replicas": 3}
    told = Tuning(replicas=1, most=4, target=16).scaled["autoscaling_config"]
    config = AutoscalingConfig(**told)  # type: ignore[arg-type]
    assert (config.min_replicas, config.max_replicas, config.get_target_ongoing_requests()) == (1, 4, 16)
    assert config.policy.get_policy() is not None  # it can be found by its name


@pytest.mark.parametrize(
    ("told", "seen", "now", "number"),
    [
        ({"a": 32.0, "b": 30.0}, 0, 2, 2),
        ({"a": 64.0, "b": 64.0}, 0, 2, 4),
        ({"a": 10.0}, 90, 1, 4),  # what Serve sees itself counts, too
        ({"a": 500.0}, 0, 1, 4),
        ({"a": 0.0, "b": 1.0}, 0, 2, 1),
        ({}, 0, 1, 1),
    ],
)
def test_replicas_follow_the_requests_under_way(told: dict[str, float], seen: int, now: int, number: int) -> None:
    context: Any = SimpleNamespace(
        aggregated_metrics={"under_way": told},
        total_num_requests=seen,
        current_num_replicas=now,
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=4,
        config=AutoscalingConfig(min_replicas=1, max_replicas=4, target_ongoing_requests=32),
    )
    assert wanted(context)[0] == number


def test_a_replica_finds_it_at_its_next_look(tmp_path: Path, served: Served) -> None:
    pointer = Pointer(tmp_path, "late")
    pointer.write(served)
    replica = Replica("late", FakeReader, pointer, Limits())
    engine = replica._app.engine
    assert engine is not None
    assert (engine.batcher.max_batch, replica._app.most, engine.cache.most) == (128, 8_192, 0)
    Tuned(tmp_path, "late").write(Tuning(batch=7, queue=9, cache=11))
    asyncio.run(replica.check_health())
    assert (engine.batcher.max_batch, engine.batcher.max_waiting) == (7, 9)
    assert (replica._app.most, engine.cache.most) == (9, 11)
    later = Replica("late", FakeReader, pointer, Limits())._app.engine
    assert later is not None
    assert later.cache.most == 11


def test_more_requests_than_may_be_under_way_are_refused_at_once(app: App) -> None:
    async def both() -> tuple[httpx.Response, int]:
        app.most = 1
        waiting = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await waiting.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            raise AssertionError("nobody is there")

        scope = {"type": "http", "method": "POST", "path": "/late/predict", "headers": HEADERS, "root_path": ""}
        first = asyncio.create_task(app.direct(scope, receive, send))
        await asyncio.sleep(0)
        assert replica_told(app) == 1
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app.direct), base_url="http://test") as http:
            second = await http.post("/late/predict", json=GOOD)
            waiting.set()
            await first
            third = await http.post("/late/predict", json=GOOD)
        return second, third.status_code

    refused, after = asyncio.run(both())
    assert (refused.status_code, refused.headers["retry-after"], after) == (503, "1", 200)
    assert refused.json()["error"]["message"] == "is overloaded"


HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"10")]


def replica_told(app: App) -> int:
    return app.under_way
