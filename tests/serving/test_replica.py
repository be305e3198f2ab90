"""A replica without a cluster: it begins with the version in service, swaps, refuses, and comes back."""

import asyncio
import json
from pathlib import Path

import pytest
from polars.exceptions import PanicException

from raypipe.errors import ServingError
from raypipe.serving import replica as module
from raypipe.serving.app import Limits
from raypipe.serving.engine import Engine
from raypipe.serving.model import Served
from raypipe.serving.pointer import Pointer
from raypipe.serving.replica import Holding, Replica
from raypipe.spec import Pipeline
from tests.serving.conftest import make_bundle
from tests.serving.reader import FakeReader


@pytest.fixture
def versions(tmp_path: Path, pipeline: Pipeline) -> list[Served]:
    made = [make_bundle(tmp_path / str(n), pipeline, bias=n / 10) for n in range(2)]
    return [Served(folder=one.folder, digest=one.digest, version=n) for n, one in enumerate(made)]


@pytest.fixture
def pointer(tmp_path: Path, versions: list[Served]) -> Pointer:
    pointer = Pointer(tmp_path / "serving", "late")
    pointer.write(versions[0])
    return pointer


def begin(pointer: Pointer, name: str = "late") -> Replica:
    return Replica(name, FakeReader, pointer, Limits())


def take(replica: Replica, served: Served) -> Holding:
    return Holding.from_json(asyncio.run(replica.take(served.to_json())))


async def healthy(replica: Replica) -> None:
    await replica.check_health()
    if replica._return is not None:
        await replica._return


def held(replica: Replica) -> int:
    served = Holding.from_json(replica.holding()).served
    assert served is not None
    return served.version


def test_it_begins_with_the_version_in_service_and_swaps(pointer: Pointer, versions: list[Served]) -> None:
    replica = begin(pointer)
    assert held(replica) == 0
    assert take(replica, versions[1]) == Holding(served=versions[1], refused=None, reason="")


def test_it_cannot_begin_without_a_version_or_with_another_pipelines(pointer: Pointer, versions: list[Served]) -> None:
    other = Pointer(pointer.path.parent, "other")
    with pytest.raises(ServingError, match="no version is in service"):
        begin(other, "other")
    other.write(versions[0])
    with pytest.raises(ServingError, match="is a model of `late`"):
        begin(other, "other")


def test_a_bad_version_is_refused_with_the_reason(
    pointer: Pointer, versions: list[Served], tmp_path: Path, pipeline: Pipeline
) -> None:
    replica = begin(pointer)
    bad = make_bundle(tmp_path / "bad", pipeline, wrong_by=0.1)
    refused = take(replica, bad)
    assert (refused.served, refused.refused) == (versions[0], bad)
    assert "golden rows" in refused.reason
    assert take(replica, versions[0]) == Holding(served=versions[0], refused=None, reason="")


@pytest.mark.parametrize("error", [MemoryError("no room"), PanicException("oh")])
def test_whatever_happens_while_loading_the_old_version_goes_on(
    pointer: Pointer, versions: list[Served], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    replica = begin(pointer)

    def load(*_: object, **__: object) -> Engine:
        raise error

    monkeypatch.setattr(module, "Engine", load)
    assert take(replica, versions[1]) == Holding(served=versions[0], refused=versions[1], reason=str(error))


def test_a_version_that_hangs_is_refused(
    pointer: Pointer, versions: list[Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = begin(pointer)

    async def never(*_: object) -> Engine:
        await asyncio.sleep(3600)
        raise AssertionError

    monkeypatch.setattr(module, "_LOAD_SECONDS", 0.05)
    monkeypatch.setattr("asyncio.to_thread", never)
    assert "did not load within 0.05 seconds" in take(replica, versions[1]).reason
    assert held(replica) == 0


def test_of_two_versions_at_once_the_later_one_stays(pointer: Pointer, versions: list[Served]) -> None:
    replica = begin(pointer)

    async def both() -> None:
        await asyncio.gather(replica.take(versions[1].to_json()), replica.take(versions[0].to_json()))

    asyncio.run(both())
    assert held(replica) == 0


def test_a_health_check_brings_the_version_in_service_back(pointer: Pointer, versions: list[Served]) -> None:
    replica = begin(pointer)
    take(replica, versions[1])
    asyncio.run(healthy(replica))
    assert held(replica) == 0


def test_a_refused_version_is_not_tried_at_every_health_check(
    pointer: Pointer, versions: list[Served], tmp_path: Path, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = begin(pointer)
    pointer.write(make_bundle(tmp_path / "bad", pipeline, wrong_by=0.1))
    asyncio.run(healthy(replica))
    assert json.loads(replica.holding())["refused"]
    monkeypatch.setattr(module, "Engine", lambda *_, **__: pytest.fail("tried again"))
    asyncio.run(healthy(replica))
    assert held(replica) == 0


def test_a_lost_pointer_makes_no_replica_unhealthy(pointer: Pointer) -> None:
    replica = begin(pointer)
    for content in ("{", "{}"):
        pointer.path.write_text(content)
        asyncio.run(healthy(replica))
    pointer.write(None)
    asyncio.run(healthy(replica))
    assert held(replica) == 0
