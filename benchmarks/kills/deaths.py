"""What is known of the deaths of a round: who came to which window, what became of it, and what went on first.

A process that acts at a window writes so before it does; whoever it is the child of writes how it ended. Only both
together are a death.
"""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from raypipe import failpoints
from raypipe.clock import SystemClock
from raypipe.ledger import Entry

STOPPED = "stopped"
#: What the loop writes that a role holds up: the first such row after its death ends the standstill. A trainer that is
#: at work needs no cluster, so what it writes is not counted for that one.
_SUBMITTED = ("retrain.leased", "retrain.submitted", "retrain.served", "retrain.given_up", "retrain.ended")
_DRIVEN = (*_SUBMITTED, "model.released", "model.promoted", "released.", "decision.done")
_GOES_ON = {"monitor": ("decision.", "watch."), "cluster": _DRIVEN}
_ANY = (*_DRIVEN, "retrain.", "model.", "stage.")


@dataclass(frozen=True)
class Death:
    """One process: ``who`` it was (of a trainer with its attempt, as in ``trainer-1``), where, and when (UTC)."""

    who: str
    window: str
    action: str
    pid: int
    at: int

    @property
    def role(self) -> str:
        """Without the attempt."""
        return self.who.partition("-")[0]


def act_for(workspace: Path, who: str) -> Callable[[str, str], None]:
    """What a process does at its failpoint: it leaves a note, then dies, hangs, or kills the cluster; once a round."""
    act = failpoints._act

    def noted(name: str, action: str) -> None:
        if any(death.window == name for death in seen(workspace)):
            return
        victim, pid = ("cluster", cluster_of(workspace)) if action == "cluster" else (who, os.getpid())
        note(workspace / "deaths", f"{victim} {name} {action} {pid} {SystemClock().now()}")
        if action == "cluster":
            os.kill(pid, signal.SIGKILL)
        else:
            act(name, action)

    return noted


def note(file: Path, line: str) -> None:
    """One line more in a file that only grows."""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def ended(workspace: Path, pid: int, how: int | str) -> None:
    """Note how a process ended: its exit code, the negative of a signal; or that it was seen to be stopped."""
    note(workspace / "exits", f"{pid} {how}")


def cluster_of(workspace: Path) -> int:
    """The process that is the cluster now."""
    return int((workspace / "cluster").read_text())


def seen(workspace: Path) -> Iterator[Death]:
    """Whoever came to its window, in order of time."""
    for who, window, action, pid, at in _lines(workspace / "deaths"):
        yield Death(who, window, action, int(pid), int(at))


def deaths(workspace: Path) -> list[Death]:
    """Those of them that did die, or hang, there."""
    how = {(int(pid), code) for pid, code in _lines(workspace / "exits")}
    killed = str(-signal.SIGKILL)
    return [one for one in seen(workspace) if (one.pid, STOPPED if one.action == "stop" else killed) in how]


def standstill(death: Death, rows: Iterable[Entry]) -> float | None:
    """Seconds from a SIGKILL to the first row by whoever goes on in its place; None: nothing came."""
    kinds = _GOES_ON.get(death.role, _ANY)
    first = next((row.at for row in rows if row.at > death.at and row.kind.startswith(kinds)), None)
    return None if first is None else (first - death.at) / 1e6


def _lines(file: Path) -> list[list[str]]:
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []
