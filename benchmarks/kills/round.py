"""One case in one workspace: its processes, who is started anew when it dies, and what went wrong in the end."""

import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.kills import world
from benchmarks.kills.check import faults
from benchmarks.kills.cluster import cluster
from benchmarks.kills.deaths import STOPPED, ended
from benchmarks.kills.traffic import Traffic
from benchmarks.kills.windows import BACKING_OFF, RELEASED, Case
from benchmarks.kills.world import NAME, Home, end, in_child, monitor, person, release, submitter

SECONDS = 120.0


class Round:
    """One case.

    Args:
        case: who is killed where.
        workspace: a copy of the template.
    """

    def __init__(self, case: Case, workspace: Path) -> None:
        self.case, self.home = case, Home(workspace, free_port())
        self.pids: dict[str, int] = {}
        self.traffic = Traffic(self.home, drifts=case.passes != "person")

    def run(self) -> list[str]:
        """What went wrong."""
        world.BAD, world.HANGS = self.case.window in BACKING_OFF, self.case.action == "stop"
        late = time.monotonic() + SECONDS
        try:
            self._begin()
            while {"submitter", "monitor"} & set(self.pids):
                if time.monotonic() > late:
                    return ["it did not come to an end"]
                self.traffic.go()
                if self.traffic.over:
                    (self.home.workspace / "over").touch()
                self._look()
                time.sleep(0.01)
        finally:
            self._clean()
        return list(faults(self.home.workspace, self.case, self.traffic.rows))

    def _begin(self) -> None:
        if self.case.window in RELEASED and wait(in_child(lambda: release(self.home), self.home.workspace, "person")):
            raise RuntimeError("nothing was released")
        for role in ("cluster", "monitor", "submitter"):
            self._start(role, self._failpoint(role))
        if self.case.passes == "person":
            self._start("person", self.case.failpoint)

    def _failpoint(self, role: str) -> str:
        """What a process of a role does at its first start; a cluster hands it on to its first trainer."""
        if role == "cluster":
            if self.case.window == "retrain.after_next_lease":
                return "challenge.after_start=kill"
            # Trainers drive when they are done, and may come to the window of a submitter first.
            return self.case.failpoint if self.case.passes in ("trainer", "submitter") else ""
        return self.case.failpoint if self.case.passes == role else ""

    def _start(self, role: str, failpoint: str = "") -> None:
        home = self.home
        work = {
            "cluster": lambda: cluster(home.workspace, home.port, failpoint),
            "monitor": lambda: monitor(home),
            "submitter": lambda: submitter(home),
            "person": lambda: person(home),
        }[role]
        self.pids[role] = in_child(work, home.workspace, role, "" if role == "cluster" else failpoint)
        if role == "cluster":
            (home.workspace / "cluster").write_text(str(self.pids[role]))

    def _look(self) -> None:
        for role, process in list(self.pids.items()):
            if (code := _ended(process)) is None:
                continue
            del self.pids[role]
            ended(self.home.workspace, process, code)
            # A person who was interrupted has asked.
            if code != 0 and role != "person":
                self._start(role)
        self._wake()

    def _trainers(self) -> list[int]:
        file = self.home.workspace / "trainers"
        return [int(line.split()[1]) for line in file.read_text().splitlines()] if file.exists() else []

    def _wake(self) -> None:
        """Let a trainer that hangs go on, once another one is at work in its place, or all is over."""
        steps = (f"retrain/{NAME}/1/{step}" for step in ("started/2", "ended"))
        if self.case.action != "stop" or all(self.home.ledger.get(step) is None for step in steps):
            return
        for pid in self._trainers():
            with suppress(psutil.NoSuchProcess):
                if psutil.Process(pid).status() == psutil.STATUS_STOPPED:
                    ended(self.home.workspace, pid, STOPPED)
                    end(pid, signal.SIGCONT)

    def _clean(self) -> None:
        for pid in [*self._trainers(), *self.pids.values()]:
            end(pid)
        for pid in self.pids.values():
            wait(pid)


def wait(pid: int) -> int:
    """The exit code of a child, when it has ended."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _ended(pid: int) -> int | None:
    done, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
