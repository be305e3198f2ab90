"""A small world with the decision loop of production in it, whose processes can be killed at any crash window.

Watcher, ledger, registry, decision, outbox, lease, fence, rollout and the trainer's protocol are production's own.
Made up are what replicas counted, what the challenger is (a tiny model), how a rollout's arms compare, and the
cluster's Jobs API: one process, which takes each job once and forgets all when it is killed, while what it had started
lives on as an orphan.
"""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import cast

from raypipe import failpoints
from raypipe.clock import SystemClock
from raypipe.contracts import bundle
from raypipe.contracts.decisions import Verdict
from raypipe.contracts.progress import Progress, Silent
from raypipe.contracts.records import Candidate, Lineage, ModelVersion
from raypipe.errors import FencedError, RaypipeError
from raypipe.flows import Platform, beat, retrain, rollout
from raypipe.flows.challenge import challenge, fence
from raypipe.flows.experiment import Experiment, Standing
from raypipe.flows.retrain import drive, job_name
from raypipe.flows.watching.actor import Round
from raypipe.flows.watching.settings import Watching
from raypipe.lake import Lake
from raypipe.ledger import Ledger
from raypipe.monitoring import Plan
from raypipe.registry import Registry
from raypipe.registry.releases import Arms
from raypipe.retraining.work import Work, works
from raypipe.services import ServicesConfig
from raypipe.spec import Pipeline, changed
from raypipe.spec.retrain import Drift, Failing, Retrain, Rollout

NAME = "rides"
#: Rows of a tick.
ROWS = 200
#: Whether traffic speaks against the challenger; set before processes are made.
BAD = False
#: Of a lease, and of a job until it gives a sign, in microseconds: seconds instead of minutes.
LEASE, START = 1_500_000, 4_000_000


@dataclass(frozen=True)
class Home:
    """The parts of a platform that the loop touches."""

    workspace: Path
    port: int
    fence: str = ""
    clock: SystemClock = SystemClock()  # noqa: RUF009  # it has no state

    @property
    def ledger(self) -> Ledger:
        """The history, behind the fence of a lease where there is one."""
        ledger = Ledger.in_folder(self.workspace, self.clock)
        return ledger.fenced(self.fence) if self.fence else ledger

    @property
    def registry(self) -> Registry:
        """The models; nobody mirrors them."""
        return Registry(self.workspace / "registry", self.ledger, "")

    @property
    def services(self) -> ServicesConfig:
        """Where the Jobs API is."""
        return ServicesConfig(self.workspace, dashboard_port=self.port)

    @property
    def lake(self) -> Lake:
        """Where the logs are, in which nothing is."""
        return _lake(self.workspace)

    @property
    def watching(self) -> Watching:
        """A tick is so many rows."""
        return Watching(Plan(budget=1_000, rows=ROWS))

    @property
    def platform(self) -> Platform:
        """What the flows are given."""
        return cast(Platform, self)

    @property
    def pipeline(self) -> Pipeline:
        """The definition that its versions were made by."""
        return bundle.pipeline(Path(self.registry.get(NAME, 1).folder))


@cache
def _lake(workspace: Path) -> Lake:
    return Lake(workspace / "lake")


def in_child(work: Callable[[], None], failpoint: str = "") -> int:
    """Do something in a process of its own, which acts at a failpoint; its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        failpoints._visits.clear()
        os.environ.pop("RAYPIPE_FAILPOINT", None)
        if failpoint:
            os.environ["RAYPIPE_FAILPOINT"] = failpoint
        _make_believe()
        work()
    except BaseException:  # noqa: BLE001  # whatever it is, it must not go on as the parent
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _make_believe() -> None:
    """What stands in for traffic, Serve and minutes of waiting."""
    retrain.LEASE, retrain.START, beat.EVERY = LEASE, START, 0.3
    for module, name, stand_in in (
        (rollout, "served", lambda *_: True),
        (rollout, "compare", _plenty),
        (rollout, "swap_where_served", _swapped),
        (retrain, "swap_where_served", _swapped),
    ):
        setattr(module, name, stand_in)


def _swapped(platform: Platform, version: ModelVersion, _: Progress) -> None:
    """The service has it: one line in a file that only grows."""
    _note(platform.workspace / "swaps", str(version.version))


def _plenty(_: Platform, __: str, arms: Arms) -> Experiment:
    faults = ("its error is larger",) if BAD else ()
    counts = {"units": 9, "predictions": 9, "labelled": 9}
    one = Standing(arm="", share=1.0, **counts, loss=0.1, against=None, p99_ms=1.0, failed=0.0, faults=faults)
    return Experiment(tuple(replace(one, arm=arm.name) for arm in arms.arms), spread_p=1.0)


def _note(file: Path, line: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def policy(pipeline: Pipeline) -> Pipeline:
    """One that trains when inputs drift, has a rollout, and goes back when a new champion fails."""
    rollout = Rollout(shares=(0.5,), least=1)
    return changed(pipeline, retrain=Retrain((Drift(0.3),), new_rows=0, rollout=rollout, roll_back=(Failing(0.3),)))


def monitor(home: Home) -> None:
    """Watch, as an actor does that comes back, until the round is over."""
    round_ = Round(home.platform, NAME)
    while not (home.workspace / "over").exists():
        with suppress(RaypipeError):
            round_.go()
        time.sleep(0.02)
    round_.close()


def ended(home: Home) -> bool:
    """Whether a training came to its end."""
    found = works(home.ledger, NAME)
    return bool(found) and found[-1].ended is not None


def submitter(home: Home) -> None:
    """Drive until the round is over and what was decided is done."""
    while True:
        over = (home.workspace / "over").exists()
        with suppress(RaypipeError):
            drive(home.platform, home.pipeline)
        # Over first, then owed: whatever was decided before is seen.
        kinds = [row.kind for row in home.ledger.entries(subject=NAME)]
        if over and kinds.count("decision.rollback") == kinds.count("decision.done"):
            return
        time.sleep(0.02)


def trainer(workspace: Path, port: int, number: int, attempt: int) -> None:
    """What the job does, with a challenger that was made before."""
    home = Home(workspace, port, fence(NAME, number, attempt))
    # Who was replaced while it slept is refused: that is what is hoped for.
    with suppress(FencedError), beat.beating(workspace, job_name(NAME, number, attempt), home.clock, 0.3):
        if challenge(home.platform, Silent(), NAME, number, attempt, _made) is not None:
            with suppress(RaypipeError):
                drive(home.platform, home.pipeline)


def _made(platform: Platform, _: Progress, __: Work) -> tuple[Verdict, ModelVersion]:
    candidate = Candidate.from_json((platform.workspace / "candidate.json").read_text())
    lineage = Lineage.from_json((platform.workspace / "lineage.json").read_text())
    time.sleep(0.05)
    return Verdict(gain=0.1, low=0.05, rows=5_000, won=True), platform.registry.register(candidate, lineage)


def cluster(workspace: Path, port: int, failpoint: str) -> None:
    """The Jobs API: each name once, in memory. The first trainer acts at the failpoint."""
    jobs: dict[str, int] = {}
    states: dict[str, str] = {}

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/api/jobs/")
            _reap(jobs, states)
            found = states.get(name)
            self._say(*((404, "no such job") if found is None else (200, json.dumps({"status": found}))))

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path.endswith("/stop"):
                self._say(200, "{}")
                return
            name = json.loads(text)["submission_id"]
            if name in states:
                self._say(500, "there is one of this name")
                return
            _note(workspace / "jobs", name)
            number, attempt = map(int, name.rsplit("-", 2)[1:])
            states[name] = "RUNNING"

            def work() -> None:
                server.socket.close()
                trainer(workspace, port, number, attempt)

            jobs[name] = in_child(work, failpoint if attempt == 1 else "")
            _note(workspace / "trainers", f"{name} {jobs[name]}")
            self._say(200, json.dumps({"submission_id": name}))

        def _say(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(HTTPServer):
        allow_reuse_address = True

    server = Server(("127.0.0.1", port), Api)
    server.serve_forever()


def _reap(jobs: dict[str, int], states: dict[str, str]) -> None:
    for name, pid in list(jobs.items()):
        with suppress(ChildProcessError):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                states[name] = "SUCCEEDED" if status == 0 else "FAILED"
                del jobs[name]


def end(pid: int, with_signal: int = signal.SIGKILL) -> None:
    """Send a signal to a process of ours that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, with_signal)


assert sys.platform == "linux"
