"""One stage of a run: worked on once for the same inputs, on the cluster, under a name that reads well there."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from time import perf_counter
from typing import Generic, TypeVar

from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Record
from raypipe.failpoints import failpoint
from raypipe.flows.platform import Platform
from raypipe.flows.remote import Work, on_cluster
from raypipe.flows.told import made, reused

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class StageResult:
    """What a stage came to: its record, in one line for people, and whether it had been done before."""

    stage: str
    line: str
    record: Record
    seconds: float
    reused: bool


@dataclass(frozen=True)
class Stage(Generic[R]):
    """A named piece of a pipeline's run.

    Attributes:
        name: as shown to people and on the dashboard.
        kind: the record it makes.
        work: makes it, given an open platform and somebody to tell the progress to.
        inputs: everything the record depends on; the same inputs are not worked on twice. None: work each time,
            because the work itself finds out what is already there.
        still_good: whether what a record points to is still there.
    """

    name: str
    kind: type[R]
    work: Work[R]
    inputs: tuple[str, ...] | None = None
    still_good: Callable[[R], bool] = lambda _: True

    def run(self, subject: str, platform: Platform, progress: Progress) -> tuple[R, float, bool]:
        """The record, the seconds it took, and whether it came from the ledger."""
        began = perf_counter()
        if self.inputs is None:
            return self._work(subject, platform, progress), perf_counter() - began, False
        # Another version of raypipe may work the same inputs out otherwise.
        key = f"stage:{subject}:{self.name}:{_digest((metadata.version('raypipe'), *self.inputs))}"
        done = platform.ledger.get(key)
        if done is not None and self.still_good(record := self.kind.from_json(done.body)):
            reused(subject, self.name)
            return record, perf_counter() - began, True
        record = self._work(subject, platform, progress)
        failpoint("stage.before_ledger")
        if done is None:
            platform.ledger.append(key, f"stage.{self.name}", subject, record.to_json())
        return record, perf_counter() - began, False

    def _work(self, subject: str, platform: Platform, progress: Progress) -> R:
        record = on_cluster(f"{subject}: {self.name}", self.work, platform, progress)
        made(subject, self.name, record)
        return record


def _digest(inputs: tuple[str, ...]) -> str:
    return sha256("\0".join(inputs).encode()).hexdigest()[:32]
