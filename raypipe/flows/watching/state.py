"""What a watcher knows, in one file: how far it has read, what it has added up, and what it still has to do.

All of it is one content, written in one step, so that whoever goes on from the file has counted everything before it
once and nothing after it. What was read since is read again: segments are removed only when the file covers them.
"""

import os
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from raypipe.contracts.decisions import Situation
from raypipe.contracts.watching import DriftReport, PerformanceReport
from raypipe.failpoints import failpoint
from raypipe.monitoring.sums import Memory


class Part(msgspec.Struct):
    """What one version did in one arm since its last tick: answers, failures, computing seconds, latencies by cell."""

    rows: int = 0
    failed: int = 0
    cpu: float = 0.0
    latency: dict[int, int] = {}

    def add(self, rows: int, failed: int, cpu: float, latency: dict[int, int]) -> None:
        """Count more."""
        self.rows, self.failed, self.cpu = self.rows + rows, self.failed + failed, self.cpu + cpu
        for cell, count in latency.items():
            self.latency[cell] = self.latency.get(cell, 0) + count


class Alarm(msgspec.Struct, frozen=True):
    """Something that people should hear of: ``key`` names it in the ledger, whoever writes it down, however often."""

    key: str
    version: int
    at: int
    title: str
    text: str


class Tick(msgspec.Struct, frozen=True):
    """A closed tick: what it says, what each arm of the version did in it, and what has come true so far.

    Attributes:
        parts: by arm.
        outcome: None: nothing is known of labels.
        alarm: what people should hear; None: nothing.
    """

    report: DriftReport
    parts: dict[str, Part]
    outcome: PerformanceReport | None
    alarm: Alarm | None


class State(msgspec.Struct):
    """Everything.

    Attributes:
        positions: how far each segment is read.
        monitors: the state of each version's monitor.
        parts: by version and arm, written ``3 champion``.
        memories: what the outcomes of each version have come to.
        alarms: those that are still to be told, the oldest first.
        questions: situations with a diagnosis that are still to be decided on, the oldest first.
        last: the last tick of each version.
        asked: when the policy was asked last,
        looked: and up to when it has seen to its schedules.
        usual: latencies of each version as the champion, by cell; those of older ticks count half as much each time.
        answered: when each version was asked last, and the longest pause in that, microseconds.
        said: what the policy alerted to when it was asked last.
    """

    positions: dict[str, int] = {}
    monitors: dict[int, bytes] = {}
    parts: dict[str, Part] = {}
    memories: dict[int, Memory] = {}
    alarms: list[Alarm] = []
    questions: list[tuple[Situation, str]] = []
    last: dict[int, Tick] = {}
    asked: int = 0
    looked: int = 0
    usual: dict[int, dict[int, int]] = {}
    answered: dict[int, tuple[int, int]] = {}
    said: tuple[str, ...] = ()


def file_of(workspace: Path, name: str) -> Path:
    """Where the state of a pipeline's watcher is; beside it lies the lock that a watcher holds."""
    return workspace / "watch" / f"{name}.state"


def lock_of(path: Path) -> FileLock:
    """Whoever watches holds it, and the system takes it from a process that is gone."""
    return FileLock(path.with_suffix(".lock"))


def watched(workspace: Path, name: str) -> bool:
    """Whether somebody watches a pipeline now."""
    lock = lock_of(file_of(workspace, name))
    if not Path(lock.lock_file).exists():
        return False
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True


def read(path: Path) -> State:
    """The state as it was written last; a new one where there is none."""
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=State)
    except FileNotFoundError:
        return State()


def write(path: Path, state: State) -> None:
    """Put a state in place of the one before: whole and on the disk, or not at all.

    Raises:
        OSError: it cannot be written; the one before is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    with draft.open("wb") as file:
        file.write(msgspec.msgpack.encode(state))
        file.flush()
        os.fsync(file.fileno())
    failpoint("watch.before_state")
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    failpoint("watch.after_state")
