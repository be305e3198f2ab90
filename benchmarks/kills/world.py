"""A small world with the decision loop of production in it, whose processes can be killed at any crash window.

Watcher, ledger, registry, decision, outbox, lease, fence, rollout and the trainer's steps are production's own, and so
are lease and start: only trainers that hang are given up after seconds instead of minutes. Made up are what replicas
counted, the challenger (a tiny model, made before), how a rollout's arms compare, who hears of alarms, how often
processes look (every 20 ms), and the cluster.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar, cast

from benchmarks.kills.deaths import act_for, note
from raypipe import failpoints
from raypipe.clock import SystemClock
from raypipe.contracts import bundle
from raypipe.contracts.arms import CHALLENGER
from raypipe.contracts.decisions import Verdict
from raypipe.contracts.progress import Progress, Silent
from raypipe.contracts.records import Candidate, Lineage, ModelVersion, Record, TrainingSet
from raypipe.errors import FencedError, KeyTakenError, RaypipeError
from raypipe.flows import Platform, beat, released, retrain, rollout
from raypipe.flows import challenge as challenging
from raypipe.flows import stage as stages
from raypipe.flows.challenge import Challenger, Lesson, challenge, fence
from raypipe.flows.decide import ask_for
from raypipe.flows.experiment import Experiment, Standing
from raypipe.flows.retrain import drive, job_name
from raypipe.flows.watching import telling
from raypipe.flows.watching.actor import Round
from raypipe.flows.watching.settings import Watching
from raypipe.flows.watching.state import Alarm
from raypipe.lake import Lake
from raypipe.ledger import Ledger
from raypipe.monitoring import Plan
from raypipe.registry import Registry
from raypipe.registry.releases import Arms
from raypipe.retraining.work import works
from raypipe.services import ServicesConfig
from raypipe.spec import Pipeline, changed
from raypipe.spec.retrain import Drift, Failing, Retrain, Rollout

NAME = "rides"
R = TypeVar("R", bound=Record)
#: Rows of a tick.
ROWS = 200
#: Whether traffic speaks against the challenger, and whether trainers hang; set before processes are made.
BAD, HANGS = False, False
#: Where trainers hang: of a lease, and of a job until it gives a sign, in microseconds. Nobody can tell a process that
#: hangs from one that is slow but by waiting; where one dies, these are production's (60 s and 180 s).
LEASE, START = 1_500_000, 2_500_000


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
        ledger = _ledger(self.workspace, os.getpid())
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
        return Watching(Plan(budget=1_000, rows=ROWS), alerts=(str(self.workspace / "heard"),))

    @property
    def platform(self) -> Platform:
        """What the flows are given."""
        return cast(Platform, self)

    @property
    def pipeline(self) -> Pipeline:
        """The definition that its versions were made by."""
        return _pipeline(self.registry.get(NAME, 1).folder)


@lru_cache(maxsize=4)
def _ledger(workspace: Path, _: int) -> Ledger:
    """One for each process: what a child inherits is its parent's."""
    return Ledger.in_folder(workspace, SystemClock())


@lru_cache(maxsize=4)
def _pipeline(folder: str) -> Pipeline:
    return bundle.pipeline(Path(folder))


@lru_cache(maxsize=4)
def _lake(workspace: Path) -> Lake:
    return Lake(workspace / "lake")


def in_child(work: Callable[[], None], workspace: Path, who: str, failpoint: str = "") -> int:
    """Do something in a process of its own, which acts at a failpoint; its pid.

    Args:
        work: what it does.
        workspace: where it leaves a note when it acts.
        who: it is.
        failpoint: and what it does there; empty: nothing.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        failpoints._visits.clear()
        os.environ.pop("RAYPIPE_FAILPOINT", None)
        if failpoint:
            os.environ["RAYPIPE_FAILPOINT"] = failpoint
            setattr(failpoints, "_act", act_for(workspace, who))  # noqa: B010  # a stand-in, as those below
        _make_believe()
        work()
    except BaseException:  # noqa: BLE001  # whatever it is, it must not go on as the parent
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _make_believe() -> None:
    """What stands in for traffic, Serve, the stages of a training, and receivers of alarms."""
    if HANGS:
        retrain.LEASE, retrain.START = LEASE, START
    for module, name, stand_in in (
        (rollout, "served", lambda *_: True),
        (rollout, "compare", _plenty),
        (rollout, "swap_where_served", _swapped),
        (released, "served", lambda *_: True),
        (released, "swap_where_served", _swapped),
        (retrain, "swap_where_served", _swapped),
        (telling, "_send", _heard),
        (challenging, "_data", lambda *_: ()),
        (challenging, "_lesson", _lesson),
        (challenging, "_fit", _fit),
        (challenging, "_enter", _enter),
        (stages.Stage, "_work", lambda stage, _, platform, progress: stage.work(platform, progress)),
        (stages, "reused", lambda *_: None),
    ):
        setattr(module, name, stand_in)


def _swapped(platform: Platform, version: ModelVersion, _: Progress) -> None:
    """The service has it: one line in a file that only grows."""
    note(platform.workspace / "swaps", str(version.version))


def _heard(receiver: str, alarm: Alarm) -> str:
    """A receiver, which is a file, keeps what it is told."""
    note(Path(receiver), alarm.key)
    return ""


def _plenty(_: Platform, __: str, arms: Arms) -> Experiment:
    faults = ("its error is larger",) if BAD else ()
    counts = {"units": 9, "predictions": 9, "labelled": 9}
    one = Standing(arm="", share=1.0, **counts, loss=0.1, against=None, p99_ms=1.0, failed=0.0, faults=faults)
    return Experiment(tuple(replace(one, arm=arm.name) for arm in arms.arms), spread_p=1.0)


def _lesson(platform: Platform, _: Progress, pipeline: Pipeline, **__: object) -> Lesson:
    folder, none = str(platform.workspace), dict[str, int]()
    rows = {"train": 9_000, "tune": 1_000, "holdout": 1_000}
    return Lesson(
        pipeline,
        TrainingSet(
            pipeline=NAME, definition="", as_of=0, snapshots=(), folder=folder, digest="set-2", features=(), rows=rows,
            positives=none, left_out=none,
        ),
    )  # fmt: skip


def _fit(platform: Platform, _: Progress, **__: object) -> Challenger:
    time.sleep(0.05)
    verdict = Verdict(gain=0.1, low=0.05, rows=5_000, won=True)
    return Challenger(candidate=_made(platform, 2, Candidate), verdict=verdict)


def _enter(platform: Platform, _: Progress, **__: object) -> ModelVersion:
    return platform.registry.register(_made(platform, 2, Candidate), _made(platform, 2, Lineage))


def _made(platform: Platform, number: int, kind: type[R]) -> R:
    """What was made before the rounds began."""
    return kind.from_json((platform.workspace / f"{kind.__name__.lower()}-{number}.json").read_text())


def policy(pipeline: Pipeline) -> Pipeline:
    """One that trains when inputs drift, has a rollout, and goes back when a new champion fails."""
    rollout = Rollout(shares=(0.5,), least=1, released=True)
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


def person(home: Home) -> None:
    """Ask for a training, as `raypipe retrain rides --why` does."""
    ask_for(home.platform, NAME, "a person wants it", "Ada", home.clock.now())


def release(home: Home) -> None:
    """Register a version, and let it answer for some, as `raypipe release` does."""
    made = _made(home.platform, 3, Candidate), _made(home.platform, 3, Lineage)
    version = home.registry.register(*made).version
    home.registry.release(
        NAME, version, role=CHALLENGER, share=0.2, where={}, why="a person wants it", who="Ada", expect=0
    )


def trainer(workspace: Path, port: int, number: int, attempt: int) -> None:
    """What the job does, with a challenger that was made before."""
    home, job = Home(workspace, port, fence(NAME, number, attempt)), job_name(NAME, number, attempt)
    # Who was replaced is refused, whether its successor has written the same row or not: that is what is hoped for.
    with suppress(FencedError, KeyTakenError), beat.beating(workspace, job, home.clock, 0.3):
        if challenge(home.platform, Silent(), NAME, number, attempt) is not None:
            with suppress(RaypipeError):
                drive(home.platform, home.pipeline)


def end(pid: int, with_signal: int = signal.SIGKILL) -> None:
    """Send a signal to a process of ours that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, with_signal)


assert sys.platform == "linux"
