"""`make bench-kills`: SIGKILL whoever decides, submits, trains, and the cluster's memory, at every crash window.

Each round is a workspace of its own: a watcher takes in what replicas counted and has a policy decide on each tick; one
asks for a training; the challenger goes through shadow and shares, takes over, fails, and is rolled back. Somebody is
killed on the way, or stopped and let go on when it was replaced. ``QUICK=1`` runs each case once.
"""

import itertools
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.kills import world
from benchmarks.kills.check import faults
from benchmarks.kills.traffic import Traffic, lay_out
from benchmarks.kills.world import NAME, Home, cluster, end, in_child, monitor, submitter
from benchmarks.report import QUICK, Aim, Row, versions, write
from raypipe.contracts import bundle, counts
from raypipe.contracts.bins import Reference
from raypipe.contracts.watched import Watched
from raypipe.spec import to_json

ROUNDS = 500
SECONDS, RUNNING_AGAIN = 120.0, 10.0
WINDOWS = {
    "monitor": (
        "decide.after_decision",
        "decide.after_begun",
        "watch.before_state",
        "watch.after_state",
        "watch.after_removal",
        "watch.alarm_before_sending",
    ),
    "submitter": (
        "retrain.after_lease",
        "retrain.after_submit",
        "retrain.after_submitted",
        "retrain.after_next_lease",
        "rollout.after_release",
        "rollout.after_served",
        "rollout.after_given_up",
        "rollout.after_back_off",
        "rollout.after_promotion",
        "rollout.after_swap",
        "registry.after_promotion",
        "retrain.before_end",
        "retrain.after_end",
        "retrain.after_rollback",
    ),
    "trainer": (
        "challenge.before_start",
        "challenge.after_start",
        "registry.before_rename",
        "registry.after_copy",
        "registry.after_ledger",
        "registry.after_mlflow",
        "challenge.before_trained",
        "challenge.after_trained",
    ),
}
#: Windows that are passed only when the challenger backs off.
BACKING_OFF = ("rollout.after_given_up", "rollout.after_back_off")


@dataclass(frozen=True)
class Case:
    """Who is killed where: ``window`` of a role, or the cluster after so many seconds."""

    role: str
    window: str = ""
    action: str = "kill"
    after: float = 0.0

    @property
    def name(self) -> str:
        """As the table says."""
        return f"{self.role}: {self.window or 'at any time'}{' (stopped)' if self.action == 'stop' else ''}"


def cases() -> Iterator[Case]:
    """Every crash window of every role; trainers are also stopped there; the cluster at many times."""
    for role, windows in WINDOWS.items():
        yield from (Case(role, window) for window in windows)
    yield from (Case("trainer", window, "stop") for window in WINDOWS["trainer"])
    yield from (Case("cluster", after=0.05 * step) for step in range(8))


def template(folder: Path) -> None:
    """A workspace with a champion, and a challenger that waits to be registered."""
    # Not at the top: it works with Polars, whose threads do not survive the making of children.
    import numpy as np

    from tests.contracts.bundles import SIGNATURE
    from tests.flows.watched import asked, scored
    from tests.registry.making import lineage_of, make_candidate

    home, rng = Home(folder / "home", 0), np.random.default_rng(0)
    reference = Reference.of(rows := asked(rng, 20_000), SIGNATURE, scored(rows).astype(np.float32))
    watched = Watched.of(reference)
    for number, weight in ((1, 1.0), (2, 2.0)):
        made = make_candidate(folder / f"made-{number}", weight, training_set=f"set-{number}")
        files = Path(made.folder)
        (files / bundle.BINS).write_text(reference.to_json())
        (files / bundle.PIPELINE).write_text(to_json(world.policy(bundle.pipeline(files))))
        bundle.seal(files)
        lineage = lineage_of(made, bundle.pipeline(Path(made.folder)))
        if number == 1:
            home.registry.register(made, lineage)
            home.registry.promote(NAME, 1, expect=None, why="the first", who="a test")
        else:
            (folder / "home" / "candidate.json").write_text(made.to_json())
            (folder / "home" / "lineage.json").write_text(lineage.to_json())
    ticks = {name: asked(rng, world.ROWS, by) for name, by in (("calm", 0.0), ("moved", 3.0))}
    cells = {name: watched.count(SIGNATURE, rows, scored(rows).astype(np.float32)) for name, rows in ticks.items()}
    lay_out(folder / "home", {name: counts.pack(one) for name, one in cells.items()})


class Round:
    """One case in one workspace."""

    def __init__(self, case: Case, workspace: Path, port: int) -> None:
        self.case, self.home = case, Home(workspace, port)
        self.began, self.killed = time.monotonic(), 0
        self.waited, self._since, self._rows = 0.0, 0.0, 0
        self.pids: dict[str, int] = {}
        self.traffic = Traffic(self.home)

    def run(self) -> list[str]:
        """What went wrong."""
        world.BAD = self.case.window in BACKING_OFF
        for role in ("cluster", "monitor", "submitter"):
            self._start(role, self._failpoint(role))
        try:
            while "submitter" in self.pids:
                if time.monotonic() - self.began > SECONDS:
                    return ["it did not come to an end", *self._faults()]
                self.traffic.go()
                if self.traffic.over:
                    (self.home.workspace / "over").touch()
                self._look()
                time.sleep(0.01)
        finally:
            self._clean()
        return self._faults()

    def _faults(self) -> list[str]:
        return list(faults(self.home.workspace, self.traffic.rows, bad=world.BAD))

    def _failpoint(self, role: str) -> str:
        """What a process of a role does at its first start; a cluster hands it on to its first trainer."""
        if role == "cluster" and self.case.window == "retrain.after_next_lease":
            return "challenge.after_start=kill"
        wanted = "trainer" if role == "cluster" else role
        return f"{self.case.window}={self.case.action}" if self.case.role == wanted else ""

    def _start(self, role: str, failpoint: str = "") -> None:
        home = self.home
        if role == "cluster":
            self.pids[role] = in_child(lambda: cluster(home.workspace, home.port, failpoint))
        else:
            work = monitor if role == "monitor" else submitter
            self.pids[role] = in_child(lambda: work(home), failpoint)

    def _look(self) -> None:
        self._kill_cluster()
        for role, process in list(self.pids.items()):
            found = _ended(process)
            if found is None:
                continue
            del self.pids[role]
            if found != 0:
                self._died()
                self._start(role)
        self._wake()
        if self._since and self._newest() > self._rows:
            self.waited, self._since = max(self.waited, time.monotonic() - self._since), 0.0

    def _died(self) -> None:
        self.killed += 1
        self._since, self._rows = time.monotonic(), self._newest()

    def _newest(self) -> int:
        return len(self.home.ledger.entries(subject=NAME))

    def _kill_cluster(self) -> None:
        if self.case.role == "cluster" and not self.killed and time.monotonic() - self.began > 0.1 + self.case.after:
            end(self.pids["cluster"])

    def _trainers(self) -> list[int]:
        file = self.home.workspace / "trainers"
        return [int(line.split()[1]) for line in file.read_text().splitlines()] if file.exists() else []

    def _wake(self) -> None:
        """Let a trainer that was stopped go on, once another one has its lease and is at work."""
        if self.case.action != "stop" or self.home.ledger.get(f"retrain/{NAME}/1/started/2") is None:
            return
        for pid in self._trainers():
            if psutil.pid_exists(pid) and psutil.Process(pid).status() == psutil.STATUS_STOPPED:
                self.killed += 1
                end(pid, signal.SIGCONT)

    def _clean(self) -> None:
        for pid in [*self._trainers(), *self.pids.values()]:
            end(pid)
        for pid in self.pids.values():
            _ended(pid, wait=True)


def _ended(pid: int, *, wait: bool = False) -> int | None:
    try:
        done, status = os.waitpid(pid, 0 if wait else os.WNOHANG)
    except ChildProcessError:
        return 0
    return os.waitstatus_to_exitcode(status) if done else None


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def play(wanted: list[Case]) -> tuple[list[Row], list[str], float]:
    """Play the cases; a row for each kind, what went wrong, and the longest standstill in seconds."""
    found: dict[str, list[tuple[int, float, list[str]]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        if _ended(in_child(lambda: template(Path(folder))), wait=True):
            raise RuntimeError("the workspace was not made")
        for number, case in enumerate(wanted):
            workspace = Path(folder) / f"round-{number}"
            shutil.copytree(Path(folder) / "home", workspace)
            played = Round(case, workspace, free_port())
            wrong = played.run()
            found.setdefault(case.name, []).append((played.killed, played.waited, wrong))
            for one in wrong:
                print(f"{case.name}: {one} ({workspace})", file=sys.stderr)
            shutil.rmtree(workspace, ignore_errors=not wrong)
    rows = [
        Row(
            "raypipe",
            name,
            {
                "rounds": len(results),
                "restarts": sum(restarts for restarts, _, _ in results),
                "faults": sum(bool(wrong) for _, _, wrong in results),
                "standstill_s": max(waited for _, waited, _ in results),
            },
        )
        for name, results in found.items()
    ]
    wrong = [f"{name}: {one}" for name, results in found.items() for _, _, faults in results for one in faults]
    return rows, wrong, max(waited for results in found.values() for _, waited, _ in results)


def main() -> int:
    every = list(cases())
    wanted = every if QUICK else list(itertools.islice(itertools.cycle(every), ROUNDS))
    rows, wrong, waited = play(wanted)
    aims = [
        Aim("lost or doubled decisions, jobs, promotions", len(wrong), "0", not wrong),
        Aim("running again, s", waited, f"at most {RUNNING_AGAIN:g}", waited <= RUNNING_AGAIN),
        Aim("rounds", len(wanted), f"{ROUNDS}", len(wanted) >= ROUNDS),
    ]
    notes = (
        "The Jobs API is a stand-in that keeps each name once in memory, as Ray's does, and forgets all when it is "
        "killed; what it had started lives on. Restarts are those of whoever decides, submits and keeps the jobs, and "
        "of trainers that were stopped; one that was killed is followed by another attempt. A standstill is the time "
        "from a death to the next row of the ledger."
    )
    write("kills", rows, aims, versions("sqlalchemy"), notes)
    return 0 if all(aim.met for aim in aims) or QUICK else 1


if __name__ == "__main__":
    sys.exit(main())
