"""The short form of `make chaos`: the checker catches what it must, in builds that are broken on purpose."""

import asyncio
import contextlib
import json
import os
import socket
import socketserver
import subprocess
import sys
from pathlib import Path
from threading import Thread

import httpx
import pytest

from raypipe.clock import ManualClock
from raypipe.contracts.logs import PREDICTIONS
from raypipe.flows.collect import COLLECT_SECONDS, collect
from raypipe.lake import Lake
from raypipe.lake import commit as lake_commit
from raypipe.lake import ingest as lake_ingest
from raypipe.lake.log import LogTable
from raypipe.ledger import Ledger
from raypipe.serving.log import PredictionLog
from tests.architecture.source import ROOT
from tests.chaos import broken, canary, live
from tests.chaos.history import History, Thing, Verdict, judge
from tests.chaos.proxy import Proxy
from tests.chaos.scenarios import BROKEN, CAUGHT
from tests.cluster import life
from tests.cluster.servers import CANARY
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


class KilledError(Exception):
    """Stands for a process that is killed where it does harm."""


def killed() -> None:
    raise KilledError


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a broken build changes is as it was afterwards; a process of it dies where that does harm."""
    for home, name in (
        (lake_commit, "commit_files"),
        (lake_ingest, "land"),
        (PredictionLog, "append"),
        (LogTable, "append"),
        (LogTable, "positions"),
    ):
        monkeypatch.setattr(home, name, getattr(home, name))
    monkeypatch.setattr("raypipe.flows.collect.COLLECT_SECONDS", COLLECT_SECONDS)
    monkeypatch.setattr(broken, "window", killed)
    monkeypatch.setattr(broken, "LATE_SECONDS", 0.0)


@pytest.mark.parametrize(("build", "found"), [("", ""), ("twice", "doubled"), ("early", "lost"), ("apart", "lost")])
@pytest.mark.usefixtures("patched")
def test_rows_of_a_broken_build_are_noticed(
    build: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    life.ship(tmp_path)
    broken.apply(build)
    with contextlib.suppress(Exception) if build else contextlib.nullcontext():
        live.rows_in(tmp_path)
    verdict = judge(live.handed_in(tmp_path / "trips", History()), *live.kept(tmp_path))
    assert _found(verdict) == ({found} if found else set())
    assert verdict.told == 2_000


@pytest.mark.parametrize(
    ("build", "found"),
    [("", ""), ("unlogged", "lost"), ("late", "lost"), ("relogged", "doubled"), ("forgetful", "doubled")],
)
@pytest.mark.usefixtures("patched")
def test_predictions_of_a_broken_build_are_noticed(
    build: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken.apply(build)
    app = logging_app(make_bundle(tmp_path / "bundle" / "1", late), tmp_path / "log" / PREDICTIONS.name / "late")
    history = History()

    async def ask(number: int) -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            answer = await client.post("/late/predict", json=GOOD, headers={"X-Request-Id": f"r{number}"})
            assert answer.status_code == 200
            history.tell("prediction", f"r{number}", answer.json()["probability"])

    for number in range(8):
        asyncio.run(ask(number))
    monkeypatch.setattr(broken, "LATE_SECONDS", 60.0)  # longer than the replica lives
    asyncio.run(ask(8))
    clock = ManualClock(1)
    collect(Lake(tmp_path / "lake", clock=clock), tmp_path, clock)
    monkeypatch.undo()  # whoever collects next is another process
    collect(Lake(tmp_path / "lake", clock=clock), tmp_path, clock)
    with contextlib.closing(live.catalog_of(tmp_path)) as catalog:
        verdict = judge(history, live.predictions(catalog, "late"))
    assert _found(verdict) == ({found} if found else set())


@pytest.mark.parametrize("build", ["", "apart"])
def test_a_process_imports_the_build_that_is_named(build: str, tmp_path: Path) -> None:
    file = tmp_path / "build"
    file.write_text(build)
    paths = [str(Path(broken.__file__).with_name("stepped")), str(ROOT)]
    done = subprocess.run(
        [sys.executable, "-c", "from raypipe.lake import ingest, commit; print(ingest.land is commit.land)"],
        env=os.environ | {broken.FILE: str(file), "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == (str(not build), "")


def test_broken_builds_of_the_cluster_are_judged_by_what_they_must_show() -> None:
    for one in BROKEN.values():
        assert one.build in broken.BUILDS
        assert one.judged(Verdict(1, 1)) != CAUGHT
        assert one.judged(Verdict(1, 1, **{one.found: ("row 1",)})) == CAUGHT


def test_a_secret_in_the_ledger_is_noticed(tmp_path: Path) -> None:
    ledger = Ledger.in_folder(tmp_path, ManualClock(1))
    ledger.append("a", "stage.done", "trips", "{}")
    ledger.append("b", "stage.done", "trips", json.dumps({"url": f"redis://:{CANARY}@h"}))
    assert list(canary.in_rows(ledger.entries())) == ["a secret is in row 2 of the ledger"]
    ledger.close()


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
