"""`make bench-lost`: requests that arrive at a rate, while versions, replicas and configurations come and go.

It needs a workspace in which `raypipe run examples/flights/pipeline.py` has been run, with the setting `grpc_port`, and
nothing else going on in it: replicas are killed. Half of the requests come over HTTP and half over gRPC. Every one must
be answered well, and be in the prediction log exactly once. `RAYPIPE_BENCH_PARTS=kill,hang` plays some cases.
"""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import msgspec

from benchmarks.clients.arrivals import PATIENCE, arriving, over_grpc, over_http, reconciled
from benchmarks.report import QUICK, Aim, Row, versions, write
from raypipe.cli.logs import read_log
from raypipe.cli.opened import opened
from raypipe.contracts import bundle
from raypipe.contracts.logs import PREDICTIONS
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Candidate, ModelVersion
from raypipe.errors import RaypipeError
from raypipe.flows import Platform
from raypipe.flows.deploy import put_into_service
from raypipe.serving.api import Config, ServeApi
from raypipe.serving.ray_sink import DEPLOYMENT
from raypipe.serving.tuning import Tuned, Tuning
from raypipe.settings import load_settings
from raypipe.spec import fingerprint

NAME, WHY = "flights", "a benchmark of lost requests"
RATE, REPLICAS = (40, 2) if QUICK else (250, 2)
#: How often each is done to the service, under load.
ROUNDS = (
    {"roll": 1, "fail": 1, "cycle": 1, "kill": 1, "hang": 1}
    if QUICK
    else {"roll": 3, "fail": 3, "cycle": 50, "kill": 100, "hang": 3}
)
#: While updates roll and fail and versions come and go, so many requests are to come; cycles go on until they have.
CHANGES, REQUESTS = ("roll", "fail", "cycle"), 500 if QUICK else 100_000


class Bench:
    """The service, and what is done to it. Each case gives the seconds that it took.

    Args:
        platform: open, its champion in service.
    """

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.target = f"127.0.0.1:{load_settings().grpc_port}"
        self.url = f"{platform.services.serve_url}/{NAME}"
        self.api = ServeApi(platform.services.dashboard_url, platform.services.serve_url)
        self.question = httpx.get(self.url, timeout=30).json()["example"]
        self.champion = platform.registry.get(NAME, "champion")
        self.twin = twin(platform, self.champion)

    def cycle(self) -> float:
        """Another version is promoted and answers; it is rolled back, and the one before answers."""
        began = time.monotonic()
        registry = self.platform.registry
        registry.promote(NAME, self.twin.version, expect=self.champion.version, why=WHY, bypass=WHY)
        self._answers(self.twin)
        registry.rollback(NAME, WHY)
        self._answers(self.champion)
        return time.monotonic() - began

    def _answers(self, version: ModelVersion) -> None:
        put_into_service(self.platform, Silent(), version=version)
        told = httpx.post(f"{self.url}/predict", json=self.question, timeout=30).json()
        assert told["version"] == version.version, told

    def roll(self) -> float:
        """Every replica is replaced, for the application is another one."""
        began, before = time.monotonic(), set(self.pids())
        self.put(self._altered("max_body_bytes", lambda held: int(str(held)) + 1))
        self.until(lambda: self.settled() and not before & set(self.pids()))
        return time.monotonic() - began

    def fail(self) -> float:
        """Every replica was to be replaced by one that cannot start; and a version is deployed that lies."""
        began, before, held = time.monotonic(), set(self.pids()), self.api.configs()[NAME]
        with tempfile.TemporaryDirectory() as empty:
            self.put(self._altered("folder", lambda _: empty))
            self.until(lambda: self.api.status(NAME).failed)
            self.put(held)
            self.until(self.settled)
        damaged = msgspec.structs.replace(self.champion, digest="0" * 64)
        with suppress(RaypipeError):
            put_into_service(self.platform, Silent(), version=damaged)
            raise AssertionError("a damaged version answers")
        assert before & set(self.pids()), "nobody was left of those that answered well"
        return time.monotonic() - began

    def kill(self) -> float:
        """A replica dies, and another one takes its place."""
        return self._without(signal.SIGKILL)

    def hang(self) -> float:
        """A replica stops, with its sockets open; it is out, and another one takes its place."""
        return self._without(signal.SIGSTOP)

    def _without(self, sent: signal.Signals) -> float:
        pid = self.pids()[0]
        os.kill(pid, sent)
        took = self.until(lambda: pid not in self.pids())
        self.until(self.settled)
        return took

    def pids(self) -> list[int]:
        """Of the replicas that answer."""
        deployments = self.api._details()["applications"][NAME]["deployments"]
        # While the application is built anew, there may be none.
        found = deployments.get(DEPLOYMENT, {"replicas": []})["replicas"]
        return [one["pid"] for one in found if one["state"] == "RUNNING"]

    def settled(self) -> bool:
        """Whether as many replicas answer as should, and none is on its way."""
        return len(self.pids()) == REPLICAS and self.api.status(NAME).running

    def scale(self) -> None:
        """As many replicas as the benchmark wants, which keep no answers."""
        tuned = Tuned(self.platform.workspace / "serving", NAME)
        tuned.write(msgspec.structs.replace(tuned.read() or Tuning(), replicas=REPLICAS, most=0, cache=0))
        present = self.api.configs()[NAME]
        self.put(present | {"deployments": [{"name": DEPLOYMENT} | (tuned.read() or Tuning()).scaled]})
        self.until(self.settled)

    def put(self, config: Config) -> None:
        """Make this the application."""
        self.api.put(self.api.configs() | {NAME: config})

    def _altered(self, arg: str, change: Callable[[object], object]) -> Config:
        held = self.api.configs()[NAME]
        args = held["args"]
        assert isinstance(args, dict)
        return held | {"args": args | {arg: change(args[arg])}}

    def until(self, what: Callable[[], bool]) -> float:
        """Seconds until something is so."""
        began = time.monotonic()
        while not what():
            if time.monotonic() - began > PATIENCE:
                raise RuntimeError(f"{self.api.status(NAME)} for {PATIENCE:.0f} s")
            time.sleep(0.1)
        return time.monotonic() - began


def twin(platform: Platform, version: ModelVersion) -> ModelVersion:
    """A version that answers the same and has another digest; registered once."""
    with tempfile.TemporaryDirectory() as temp:
        folder = Path(shutil.copytree(version.folder, Path(temp) / NAME, copy_function=shutil.copyfile))
        card = bundle.card(folder)
        (folder / bundle.CARD).write_text(msgspec.structs.replace(card, seed=card.seed + 1).to_json())
        bundle.seal(folder)
        candidate = Candidate(
            pipeline=NAME,
            training_set=version.lineage.training_set,
            algorithm=version.algorithm,
            params=version.lineage.params,
            seed=card.seed + 1,
            folder=str(folder),
            metrics=version.metrics,
            trials=(),
            reason=WHY,
            experiment="",
        )
        # This code may write the same definition in another way than the one that trained.
        definition = fingerprint(bundle.pipeline(folder))
        lineage = msgspec.structs.replace(version.lineage, pipeline_definition=definition)
        return platform.registry.register(candidate, lineage)


async def measure(bench: Bench, case: str, least: int) -> Row:
    """One case under load, until so many requests have come."""
    run, since = f"lost-{uuid.uuid4().hex[:8]}", bench.platform.clock.now()
    async with (
        over_http(f"{bench.url}/predict", bench.question) as http,
        over_grpc(bench.target, NAME, bench.question) as grpc,
        arriving((http, grpc), RATE, run) as answers,
    ):
        await asyncio.sleep(1)
        rounds: list[float] = []
        while len(rounds) < ROUNDS[case] or len(answers) < least:
            rounds.append(await asyncio.to_thread(getattr(bench, case)))
        await asyncio.sleep(1)
    found = reconciled(answers, await asyncio.to_thread(read_log, PREDICTIONS, NAME, since))
    by_grpc = sum(int(id_.rpartition("-")[2]) % 2 for id_ in answers)
    slowest = max(answer.seconds for answer in answers.values())
    times = {"slowest_s": round(slowest, 2), "longest_round_s": round(max(rounds), 2)}
    return Row("raypipe", f"{case} x {len(rounds)}", found._asdict() | {"by_grpc": by_grpc} | times)


def aims(rows: list[Row]) -> list[Aim]:
    """Nothing is lost, all is in the log once, and who hangs is out soon."""
    found = []
    for row in rows:
        for figure, what in (("lost", "lost"), ("not_once_in_log", "not in the log once")):
            count = row.figures[figure]
            found.append(Aim(f"{what}, {row.case}", count, "0", count == 0))
        if row.case.startswith("hang"):
            seconds = float(row.figures["longest_round_s"] or 0)
            found.append(Aim("seconds until a hung replica is out", seconds, "at most 15", seconds <= 15))
    if any(row.case.startswith("cycle") for row in rows):
        asked = sum(int(row.figures["requests"] or 0) for row in rows if row.case.startswith(CHANGES))
        found.append(Aim("requests while versions came and went", asked, f"at least {REQUESTS:,}", asked >= REQUESTS))
    return found


def main() -> int:
    if not load_settings().grpc_port:
        print("Set RAYPIPE_GRPC_PORT, and start the service with it", file=sys.stderr)
        return 2
    wanted = os.environ.get("RAYPIPE_BENCH_PARTS", ",".join(ROUNDS)).split(",")
    rows = []
    with opened(Silent(), "raypipe: lost requests") as platform:
        bench = Bench(platform)
        bench.scale()
        left = REQUESTS
        for case in wanted:
            rows.append(asyncio.run(measure(bench, case, left if case == "cycle" else 0)))
            left -= int(rows[-1].figures["requests"] or 0) if case in CHANGES else 0
            print(rows[-1].case, "|", rows[-1].figures, flush=True)
    notes = f"{RATE} requests/s, {REPLICAS} replicas. Load average: "
    write("lost", rows, aims(rows), versions("ray"), notes + ", ".join(f"{one:.1f}" for one in os.getloadavg()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
