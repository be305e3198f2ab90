"""A trainer may hang, and may end the process it works in: it is given so long, and what became of it is said."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import isinf
from pathlib import Path
from threading import Timer
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from raypipe.errors import TrainingError

T = TypeVar("T")
#: Who is served while trials run must not wait for them: they take the time that is left.
NICE = 15
_HUNG, _RUNNING = "hung", "running"
#: What Python's fault handler writes first when a signal ends the process.
_FATAL = "Fatal Python error: "
_TAIL = 16_384


@contextmanager
def watched(folder: Path, longest: float) -> Iterator[None]:
    """End this process when what it does takes too long: nothing else stops a loop in compiled code.

    The reason is written into ``folder`` first, where `hung` finds it; and, as long as the work goes on, which process
    does it, so that `death` can say where to look.
    """
    folder.mkdir(parents=True, exist_ok=True)
    running = folder / _RUNNING
    running.write_text(f"{os.getpid()}\n{_log()}", encoding="utf-8")
    timer = Timer(0 if isinf(longest) else longest, _end, (folder,))
    timer.daemon = True
    if not isinf(longest):
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
        running.unlink(missing_ok=True)


def hung(folder: Path) -> bool:
    """Whether work in this folder was ended because it took too long; told once."""
    note = folder / _HUNG
    if there := note.exists():
        note.unlink()
    return there


def death(folder: Path) -> str:
    """What is known of a process that ended in the midst of the work in this folder."""
    try:
        pid, log = (folder / _RUNNING).read_text(encoding="utf-8").split("\n", 1)
    except (OSError, ValueError):
        return "its process ended before it began: the machine was lost, or had no memory left"
    fatal = _fatal(Path(log)) if log else ""
    cause = fatal or "a crash in compiled code, an `os._exit`, or the system took it for its memory"
    return f"its process (pid {pid}) ended without a word: {cause}" + (f"; what it wrote: {log}" if log else "")


def apart(work: Callable[[], T], folder: Path, longest: float, holds: Mapping[str, float], where: str) -> T:
    """What ``work`` returns, done in a process of its own, which may hang and die.

    What waits for what: a Ray task that holds what a trial of its kind does. Who asked for it holds nothing meanwhile.

    Args:
        work: what is to be done; goes to the process as a pickle.
        folder: where notes are left; all nodes see it.
        longest: after so many seconds the process is ended.
        holds: cores and GPUs by ``CPU`` and ``GPU``.
        where: whose work it is, for errors.

    Raises:
        TrainingError: it took too long, or its process ended. What the work raises is raised as well.
    """
    task: Any = _work.options(num_cpus=holds["CPU"], num_gpus=holds["GPU"], name=f"{where}: last fits")
    hung(folder)
    try:
        done: T = ray.get(task.remote(work, folder, longest))
    except RayTaskError as error:
        raise error.cause from None
    except RayError:
        if hung(folder):
            what = f"its last fits were ended after {longest:g} s: it hangs there, or needs more than `trial_seconds`"
            raise TrainingError(
                what, where=where, cure="A trial with rows to tune on went well: try `tune=None`"
            ) from None
        raise TrainingError(f"in its last fits {death(folder)}", where=where) from None
    return done


@ray.remote(max_calls=1, max_retries=0)
def _work(work: Callable[[], T], folder: Path, longest: float) -> T:
    os.setpriority(os.PRIO_PROCESS, 0, NICE)
    with watched(folder, longest):
        return work()


def _end(folder: Path) -> None:
    (folder / _HUNG).write_text(str(os.getpid()), encoding="utf-8")
    os._exit(1)


def _log() -> str:
    """The file that this process writes its errors to, where the system tells."""
    try:
        path = str(Path("/proc/self/fd/2").readlink())
    except OSError:
        return ""
    return path if path.endswith(".err") else ""


def _fatal(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace")[-_TAIL:].splitlines()
    except OSError:
        return ""
    return next((line.removeprefix(_FATAL) for line in lines if line.startswith(_FATAL)), "")
