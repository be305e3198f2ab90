"""Processes that outlive the command that started them: started, recognised later, stopped to the last one.

A process is recognised by its number together with its start time, because numbers are used again. A tree is
recognised by its roots, by whoever descends from them, and by a mark in the environment that every child inherits: a
child whose parent died belongs to nobody's tree any more, and some children start sessions of their own.
"""

import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import psutil

MARK = "RAYPIPE_SERVICES_OF"
PAUSE = 0.05


class ProcessId(msgspec.Struct, frozen=True):
    """One process of this machine, for as long as it lives and not longer."""

    pid: int
    created: float

    @classmethod
    def of(cls, process: psutil.Process) -> "ProcessId":
        """The identity of a process."""
        return cls(process.pid, process.create_time())

    def find(self) -> psutil.Process | None:
        """The process, or None when it has ended, also when another one has its number now."""
        try:
            process = psutil.Process(self.pid)
            # The start time is told in whole clock ticks after the boot time, which moves a little with the clock.
            same = abs(process.create_time() - self.created) < 2.0
            return process if same and _lives(process) else None
        except psutil.Error:
            return None


def start(command: Sequence[str], environment: Mapping[str, str], log: Path) -> ProcessId:
    """Start a process in a session of its own, without input, its output added to a log file.

    Args:
        command: the program's path and its arguments.
        environment: all of its environment.
        log: the file; its folder exists.
    """
    output = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # Not subprocess: its object insists on being waited for, and this process is meant to be left alone.
    pid = os.posix_spawn(
        command[0],
        list(command),
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), output, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    return ProcessId.of(psutil.Process(pid))


def tree(known: Iterable[ProcessId], mark: str) -> list[psutil.Process]:
    """Every living process that is known, carries the mark, or descends from one that does; never this process."""
    found = {found.pid: found for identity in known if (found := identity.find())}
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                found[process.pid] = process
        except psutil.Error:  # ended meanwhile, or somebody else's
            continue
    for root in identities(found.values()):
        found |= {child.pid: child for child in children(root)}
    found.pop(os.getpid(), None)
    return [process for process in found.values() if _lives(process)]


def children(root: ProcessId) -> list[psutil.Process]:
    """A process and everything that descends from it; empty when it has ended."""
    process = root.find()
    try:
        return [process, *process.children(recursive=True)] if process else []
    except psutil.Error:
        return []


def roots(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those whose parent is not among them."""
    pids, found = {process.pid for process in processes}, []
    for process in processes:
        try:
            if process.ppid() not in pids:
                found.append(process)
        except psutil.Error:
            continue
    return found


def identities(processes: Iterable[psutil.Process]) -> tuple[ProcessId, ...]:
    """The identities of those that still live."""
    found = []
    for process in processes:
        try:
            found.append(ProcessId.of(process))
        except psutil.Error:
            continue
    return tuple(found)


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to each process that still lives."""
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.Error:
            continue


def wait(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until all have ended, and return those that have not."""
    end = time.monotonic() + seconds
    while left := [process for process in processes if _lives(process)]:
        if time.monotonic() > end:
            break
        time.sleep(PAUSE)
    return left


def _lives(process: psutil.Process) -> bool:
    """False also for a process that has ended and that nobody has asked for its result."""
    try:
        if process.status() != psutil.STATUS_ZOMBIE:
            return process.is_running()
        if process.ppid() == os.getpid():
            os.waitpid(process.pid, os.WNOHANG)
    except (psutil.Error, ChildProcessError):
        return False
    return False
