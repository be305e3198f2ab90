"""A workspace with a champion, and a cluster's Jobs API that holds each job once, as Ray's does."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import cast

from raypipe.clock import ManualClock
from raypipe.contracts import bundle
from raypipe.contracts.decisions import Situation
from raypipe.flows import Platform
from raypipe.ledger import Ledger
from raypipe.registry import Registry
from raypipe.services import ServicesConfig
from raypipe.spec import Pipeline, changed
from raypipe.spec.retrain import NewRows, Retrain
from tests.registry.making import lineage_of, make_candidate

AT = 1_383_544_800_000_000


@dataclass
class Jobs:
    """The jobs of a cluster, and how often each was asked for. ``lose``: answers to so many submissions are lost.

    ``mute``: so many questions find it too busy to answer.
    """

    states: dict[str, str] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    stopped: list[str] = field(default_factory=list)
    lose: int = 0
    mute: int = 0
    lock: Lock = field(default_factory=Lock)


@contextmanager
def cluster() -> Iterator[tuple[Jobs, int]]:
    """A Jobs API on a free port of this machine."""
    jobs = Jobs()

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if jobs.mute > 0:
                jobs.mute -= 1
                self.connection.close()
                return
            name = self.path.removeprefix("/api/jobs/")
            found = jobs.states.get(name)
            self._say(*(404, "Job does not exist") if found is None else (200, json.dumps({"status": found})))

        def do_POST(self) -> None:
            if self.path.endswith("/stop"):
                jobs.stopped.append(self.path.split("/")[3])
                self._say(200, "{}")
                return
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = body["submission_id"]
            with jobs.lock:
                jobs.asked[name] += 1
                taken, lost = name in jobs.states, jobs.lose > 0
                jobs.states.setdefault(name, "RUNNING")
                jobs.lose -= lost
            if lost:
                self.connection.close()
                return
            self._say(*(500, "already exists") if taken else (200, json.dumps({"submission_id": name})))

        def _say(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield jobs, server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class Home:
    """The parts of a platform that a retraining touches; `dashboard_port` is that of a `cluster`."""

    workspace: Path
    dashboard_port: int
    clock: ManualClock
    fence: str = ""

    @property
    def ledger(self) -> Ledger:
        ledger = Ledger.in_folder(self.workspace, self.clock)
        return ledger.fenced(self.fence) if self.fence else ledger

    @property
    def registry(self) -> Registry:
        return Registry(self.workspace / "registry", self.ledger, "")

    @property
    def services(self) -> ServicesConfig:
        return ServicesConfig(self.workspace, dashboard_port=self.dashboard_port)

    @property
    def platform(self) -> Platform:
        return cast(Platform, self)

    def version(self, folder: Path, weight: float = 1.0, *, promoted: bool = False) -> int:
        """Register a version; the first one is champion."""
        candidate = make_candidate(folder, weight, training_set=f"set-{weight}")
        pipeline = bundle.pipeline(Path(candidate.folder))
        version = self.registry.register(candidate, lineage_of(candidate, pipeline)).version
        if version == 1 or promoted:
            before = self.registry.champion("rides")
            expect = None if before is None else before.version
            self.registry.promote("rides", version, expect=expect, why="better", who="a test")
        return version

    def rides(self, policy: Retrain | None = None) -> Pipeline:
        """The pipeline of the champion, with a policy that asks for a training all the time."""
        pipeline = bundle.pipeline(Path(self.registry.get("rides", 1).folder))
        return changed(pipeline, retrain=policy or Retrain((NewRows(1),), new_rows=0))


def facts(at: int = AT, *, version: int = 1, new_rows: int = 9_000, failed: float | None = None) -> Situation:
    """What is known of the champion: enough has come to train on."""
    since, looked = at - 86_400_000_000, at - 1
    return Situation(
        pipeline="rides", version=version, at=at, since=since, looked=looked, new_rows=new_rows, failed=failed
    )
