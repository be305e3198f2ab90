"""A stage is worked on once for the same inputs, on the cluster, with its progress and errors brought back."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from raypipe.clock import ManualClock
from raypipe.contracts.progress import Progress, Silent, Step
from raypipe.contracts.records import SourceFile
from raypipe.errors import GateError, ServiceError
from raypipe.flows import Platform
from raypipe.flows.remote import on_cluster
from raypipe.flows.stage import Stage
from raypipe.ledger import Ledger

pytestmark = pytest.mark.usefixtures("ray_local")


@dataclass(frozen=True)
class SmallPlatform:
    """The two parts of a platform that a stage itself touches."""

    ledger: Ledger
    reopen: Callable[[], str]


class Notes:
    """A watcher that writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[object, ...]] = []

    @contextmanager
    def step(self, name: str, total: float | None = None) -> Iterator[Step]:
        self.lines.append(("open", name, total))
        yield self
        self.lines.append(("close", name))

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        self.lines.append(("advance", amount, note))


def platform(folder: Path) -> Platform:
    return cast(Platform, SmallPlatform(Ledger.in_folder(folder, ManualClock(1)), partial(str, "reopened")))


def count_calls(folder: Path, place: object, progress: Progress) -> SourceFile:
    with (folder / "calls").open("a") as calls:
        calls.write("x")
    return SourceFile(path=str(place), digest="d", rows=len((folder / "calls").read_text()))


def report(_: object, progress: Progress) -> None:
    with progress.step("outer", 2) as step:
        step.advance(1, "half")
        step.advance(1, "whole")


def refuse(_: object, progress: Progress) -> None:
    raise GateError("3 of 10 rows", where="flights", cure="Repair them")


def break_down(_: object, progress: Progress) -> None:
    raise ZeroDivisionError("by design")


def die(_: object, progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_work_is_done_in_another_process_on_a_platform_of_its_own(tmp_path: Path) -> None:
    work = partial(count_calls, tmp_path)
    record, _, reused = Stage("try", SourceFile, work).run("toy", platform(tmp_path), Silent())
    assert (record.path, record.rows, reused) == ("reopened", 1, False)


def test_the_same_inputs_are_worked_on_once(tmp_path: Path) -> None:
    work, place = partial(count_calls, tmp_path), platform(tmp_path)
    results = [Stage("try", SourceFile, work, ("a", "b")).run("toy", place, Silent()) for _ in range(2)]
    assert [(record.rows, reused) for record, _, reused in results] == [(1, False), (1, True)]


@pytest.mark.parametrize("inputs", [("a", "c"), ("ab",), ("a", "b", "")])
def test_other_inputs_are_other_work(tmp_path: Path, inputs: tuple[str, ...]) -> None:
    work, place = partial(count_calls, tmp_path), platform(tmp_path)
    Stage("try", SourceFile, work, ("a", "b")).run("toy", place, Silent())
    record, _, reused = Stage("try", SourceFile, work, inputs).run("toy", place, Silent())
    assert (record.rows, reused) == (2, False)


def test_a_record_whose_files_are_gone_is_made_again(tmp_path: Path) -> None:
    work, place = partial(count_calls, tmp_path), platform(tmp_path)
    stage = Stage("try", SourceFile, work, ("a",), still_good=lambda record: Path(record.path).exists())
    assert [stage.run("toy", place, Silent())[2] for _ in range(2)] == [False, False]


def test_progress_comes_back_in_order_and_complete(tmp_path: Path) -> None:
    notes = Notes()
    on_cluster("toy: report", report, platform(tmp_path), notes)
    assert notes.lines[0] == ("open", "outer", 2)
    assert notes.lines[-1] == ("close", "outer")
    told = [line for line in notes.lines if line[0] == "advance"]
    assert sum(cast(float, line[1]) for line in told) == 2
    assert told[-1][2] == "whole"


def test_an_error_comes_back_as_itself(tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"^flights: 3 of 10 rows\. Repair them\.$"):
        on_cluster("toy: refuse", refuse, platform(tmp_path), Silent())


def test_a_bug_comes_back_with_its_trace(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="break_down"):
        on_cluster("toy: break", break_down, platform(tmp_path), Silent())


def test_a_process_that_dies_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        ServiceError, match=r"toy: the cluster lost it \(WorkerCrashedError: .* the same command goes on"
    ):
        on_cluster("toy", die, platform(tmp_path), Silent())
