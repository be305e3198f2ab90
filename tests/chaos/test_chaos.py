"""The short form of `make chaos`: the checker catches what it must, in builds that are broken on purpose."""

import asyncio
import contextlib
import socket
import socketserver
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import httpx
import pytest

from raypipe.clock import ManualClock
from raypipe.contracts.logs import PREDICTIONS
from raypipe.flows.collect import collect
from raypipe.lake import Lake
from raypipe.lake import commit as lake_commit
from raypipe.serving.log import PredictionLog
from tests.chaos import broken, live
from tests.chaos.history import History, Thing, Verdict, judge
from tests.chaos.proxy import Proxy
from tests.cluster import life
from tests.serving.conftest import make_bundle
from tests.serving.pipeline import pipeline as late
from tests.serving.test_log import logging_app
from tests.serving.test_parse import GOOD


def told(*keys: str) -> History:
    history = History()
    for key in keys:
        history.tell("row", key, 1)
    history.ask("row", "unknown")
    return history


@pytest.mark.parametrize(
    ("kept", "found"),
    [
        (["a", "b"], "clean"),
        (["a", "b", "unknown"], "clean"),
        (["a"], "1 lost (row b)"),
        (["a", "b", "b"], "1 doubled (row b)"),
        (["a", "b", "c"], "1 invented (row c)"),
        ([], "2 lost (row a, row b)"),
    ],
)
def test_the_checker_says_what_is_lost_doubled_and_invented(kept: list[str], found: str) -> None:
    assert str(judge(told("a", "b"), [Thing("row", key, 1) for key in kept])) == found


def test_the_checker_says_what_is_wrong_and_broken() -> None:
    verdict = judge(told("a"), [Thing("row", "a", 2)], ["row 3 is missing"])
    assert str(verdict) == "1 wrong (row a: told 1, kept 2); 1 broken (row 3 is missing)"


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a broken build changes is as it was afterwards."""
    before = lake_commit.commit_files, PredictionLog.append
    yield
    lake_commit.commit_files, PredictionLog.append = before


@pytest.mark.parametrize(("build", "found"), [("", ""), ("twice", "doubled"), ("early", "lost")])
@pytest.mark.usefixtures("patched")
def test_rows_of_a_broken_build_are_noticed(
    build: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAOS_BREAK", build)
    life.ship(tmp_path)
    broken.apply()
    with contextlib.suppress(Exception) if build else contextlib.nullcontext():
        live.rows_in(tmp_path)
    verdict = judge(live.asked(tmp_path), *live.kept(tmp_path))
    assert _found(verdict) == ({found} if found else set())
    assert verdict.told == 2_000


@pytest.mark.parametrize(("build", "found"), [("", ""), ("unlogged", "lost"), ("relogged", "doubled")])
@pytest.mark.usefixtures("patched")
def test_predictions_of_a_broken_build_are_noticed(
    build: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAOS_BREAK", build)
    broken.apply()
    app = logging_app(make_bundle(tmp_path / "bundle" / "1", late), tmp_path / "log" / PREDICTIONS.name / "late")
    history = History()

    async def ask(number: int) -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            answer = await client.post("/late/predict", json=GOOD, headers={"X-Request-Id": f"r{number}"})
            assert answer.status_code == 200
            history.tell("prediction", f"r{number}", answer.json()["probability"])

    for number in range(9):
        asyncio.run(ask(number))
    clock = ManualClock(1)
    collect(Lake(tmp_path / "lake", clock=clock), tmp_path, clock)
    with contextlib.closing(live.catalog_of(tmp_path)) as catalog:
        verdict = judge(history, live.predictions(catalog, "late"))
    assert _found(verdict) == ({found} if found else set())


def _found(verdict: Verdict) -> set[str]:
    names = ("lost", "doubled", "wrong", "invented", "broken")
    return {name for name in names if getattr(verdict, name)}


def test_a_network_is_cut_and_healed() -> None:
    class Echo(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while data := self.request.recv(100):
                self.request.sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with Proxy(server.server_address) as proxy:
            with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
                client.sendall(b"one")
                assert client.recv(100) == b"one"
                proxy.cut()
                assert client.recv(100) == b""
            assert not _answers(proxy.port)
            proxy.heal()
            assert _answers(proxy.port)
        server.shutdown()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"two")
        return client.recv(100) == b"two"
    return False
