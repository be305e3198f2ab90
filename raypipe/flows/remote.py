"""Run a piece of a flow as one named Ray task, with its progress shown where the flow was started.

What waits for what: the driver waits for the task, the task for the work it starts. The task takes no CPU slot, so the
trials and Ray Data tasks that the work starts always find one.
"""

import os
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeAlias, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from raypipe.contracts.progress import Progress, Silent, Step
from raypipe.errors import RaypipeError, ServiceError
from raypipe.flows.platform import Platform
from raypipe.flows.told import stage_told
from raypipe.observe import carried, flush, span, taken_up

T = TypeVar("T")
Work: TypeAlias = Callable[[Platform, Progress], T]

#: Progress that comes faster than this (seconds) is added up: each message is an object in Ray's store.
MESSAGE_SECONDS = 0.1


@dataclass(frozen=True)
class Opened:
    """A step was opened."""

    step: int
    name: str
    total: float | None


@dataclass(frozen=True)
class Advanced:
    """A step moved on."""

    step: int
    amount: float
    note: str


@dataclass(frozen=True)
class Closed:
    """A step is over."""

    step: int


@dataclass(frozen=True)
class Done(Generic[T]):
    """The work is over, with its result or its error."""

    result: T | None = None
    error: Exception | None = None


Message: TypeAlias = Opened | Advanced | Closed | Done[T]


def on_cluster(name: str, work: Work[T], platform: Platform, progress: Progress) -> T:
    """Do ``work`` in a Ray task called ``name`` and return its result.

    Args:
        name: as the dashboard shows it: the pipeline, a colon, the stage.
        work: what is to be done, given the platform as opened in the task.
        platform: as opened here.
        progress: is told how it goes.

    Raises:
        RaypipeError: as raised by the work, without the stack of the other process.
        ServiceError: the cluster, or the process that worked, is gone.
    """
    task: Any = ray.remote(_task).options(name=name, num_cpus=0, max_retries=0, num_returns="streaming")
    pipeline, _, stage = name.partition(": ")
    try:
        with stage_told(pipeline, stage):
            references = task.remote(work, platform.reopen, carried())
            messages: Iterator[Message[T]] = (ray.get(reference) for reference in references)
            return _show(messages, progress)
    except RayTaskError:
        raise
    except RayError as error:
        # Ray's own troubles, not the work's: a worker that died, memory that ran out, a cluster that was stopped.
        reason = str(error).strip().partition("\n")[0].partition(". ")[0]
        cure = "`raypipe status` says what is up; the same command goes on from there"
        raise ServiceError(f"the cluster lost it ({type(error).__name__}: {reason})", where=name, cure=cure) from None


def _task(work: Work[T], reopen: Callable[[], Platform], about: dict[str, str]) -> Generator[Message[T], None, None]:
    messages: SimpleQueue[Message[T]] = SimpleQueue()
    Thread(target=_work, args=(work, reopen, about, messages), name="work", daemon=True).start()
    while not isinstance(message := messages.get(), Done):
        yield message
    yield message


def _work(
    work: Work[T], reopen: Callable[[], Platform], about: dict[str, str], messages: "SimpleQueue[Message[T]]"
) -> None:
    done = _done(work, reopen, about, messages.put)
    flush()  # before anybody knows: a worker that has nothing to do may be ended any moment
    messages.put(done)


def _done(
    work: Work[T], reopen: Callable[[], Platform], about: dict[str, str], send: Callable[[Message[T]], None]
) -> Done[T]:
    try:
        platform = reopen()
        with taken_up(about), span("task"):
            return Done(result=work(platform, _Reporter(send)))
    except RaypipeError as error:
        return Done(error=error)
    except Exception as error:  # noqa: BLE001  # it is raised again where the flow was started
        return Done(error=_portable(error))


def _portable(error: Exception) -> Exception:
    """An error with its trace as text: traces and many third-party errors do not cross processes."""
    return RuntimeError("".join(traceback.format_exception(error)))


def _show(messages: Iterator[Message[T]], progress: Progress) -> T:
    steps: dict[int, Step] = {}
    contexts: dict[int, ExitStack] = {}
    with ExitStack() as all_steps:
        for message in messages:
            match message:
                case Opened(step, name, total):
                    contexts[step] = all_steps.enter_context(ExitStack())
                    steps[step] = contexts[step].enter_context(progress.step(name, total))
                case Advanced(step, amount, note):
                    steps[step].advance(amount, note)
                case Closed(step):
                    contexts[step].close()
                case Done(result, error):
                    if error is not None:
                        raise error
                    return result  # type: ignore[return-value]  # no error: the result is there
    raise RuntimeError(f"the task ended without a word (pid {os.getpid()})")


class _Reporter:
    """Progress that is told to the process which started the flow."""

    def __init__(self, send: Callable[[Message[T]], None]) -> None:
        self._send = send
        self._numbers = count()

    def __reduce__(self) -> tuple[type[Silent], tuple[()]]:
        # Libraries pickle whatever their callbacks hold; there is nobody to tell in another process.
        return Silent, ()

    def step(self, name: str, total: float | None = None) -> AbstractContextManager[Step]:
        return self._step(next(self._numbers), name, total)

    @contextmanager
    def _step(self, number: int, name: str, total: float | None) -> Iterator[Step]:
        self._send(Opened(number, name, total))
        step = _ReportedStep(number, self._send)
        try:
            yield step
        finally:
            step.flush()
            self._send(Closed(number))


class _ReportedStep:
    def __init__(self, number: int, send: Callable[[Message[T]], None]) -> None:
        self._number, self._send = number, send
        self._amount, self._note, self._sent = 0.0, "", 0.0

    def __reduce__(self) -> tuple[type[Silent], tuple[()]]:
        return Silent, ()

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        self._amount += amount
        self._note = note or self._note
        if time.monotonic() - self._sent >= MESSAGE_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._amount or self._note:
            self._send(Advanced(self._number, self._amount, self._note))
        self._amount, self._sent = 0.0, time.monotonic()
