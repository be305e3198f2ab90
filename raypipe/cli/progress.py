"""Long work made visible: live bars in a terminal, a line now and then in a log."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from time import monotonic
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from raypipe.contracts.progress import Progress, Step

#: A log gets at most one line about a step in this many seconds.
LOG_SECONDS = 5.0


class Watcher(Progress, Protocol):
    """Progress that also shows which stage of a run the steps belong to."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Show that a stage is under way until the context is left."""
        ...


@contextmanager
def watch(console: Console) -> Iterator[Watcher]:
    """Show progress on a console in the way that suits it."""
    if not console.is_terminal:
        yield LogProgress(console)
        return
    bars = Bars(
        SpinnerColumn(style="cyan", finished_text=" "),
        TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", max_width=24)),
        BarColumn(bar_width=20),
        Amount(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", style="dim", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        console=console,
        transient=True,
        expand=True,
    )
    with bars:
        yield RichProgress(bars)


class Amount(ProgressColumn):
    """How far a step is: ``3/5`` for things one can count, a percentage for many; nothing where no end is known."""

    def render(self, task: Task) -> Text:
        """A few characters, right-aligned so that the columns after it stand still."""
        return Text(_amount(task.completed, task.total).rjust(5), style="cyan")


def _amount(done: float, total: float | None) -> str:
    if not total:
        return ""
    return f"{done:.0f}/{total:.0f}" if total <= 99 and float(total).is_integer() else f"{min(1, done / total):.0%}"


class RichProgress:
    """A bar for each step, under the stage it belongs to.

    Args:
        bars: Rich's live display; it is started and stopped by whoever made it.
    """

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._depth = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A line of its own, its steps below it."""
        task = self._bars.add_task(Text(name, style="bold").markup, total=None, note="")
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            self._bars.remove_task(task)

    @contextmanager
    def step(self, name: str, total: float | None = None) -> Iterator[Step]:
        """A bar that disappears when the step is over: the stage's result line says what came of it."""
        task = self._bars.add_task("  " * self._depth + Text(name).markup, total=total, note="")
        try:
            yield _RichStep(self._bars, task)
        finally:
            self._bars.remove_task(task)


class _RichStep:
    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        self._bars.advance(self._task, amount)
        if note:
            self._bars.update(self._task, note=Text(" ".join(note.split())).markup)


class LogProgress:
    """Plain lines for pipes and job logs: no control characters, few of them.

    Args:
        console: where the lines go.
        seconds: the least time between two lines about one step.
        clock: a monotonic clock in seconds.
    """

    def __init__(self, console: Console, seconds: float = LOG_SECONDS, clock: Callable[[], float] = monotonic) -> None:
        self._console, self._seconds, self._clock = console, seconds, clock
        self._stage = ""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Names the stage in front of its steps."""
        self._stage = name
        try:
            yield
        finally:
            self._stage = ""

    @contextmanager
    def step(self, name: str, total: float | None = None) -> Iterator[Step]:
        """Says nothing about a step that is over quickly."""
        yield _LogStep(self._line, ": ".join(filter(None, (self._stage, name))), total, self._seconds, self._clock)

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)


class _LogStep:
    def __init__(
        self, write: Callable[[str], None], name: str, total: float | None, seconds: float, clock: Callable[[], float]
    ) -> None:
        self._write, self._name, self._total, self._seconds, self._clock = write, name, total, seconds, clock
        self._began = self._written = clock()
        self._done = 0.0

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        self._done += amount
        now = self._clock()
        if now - self._written < self._seconds:
            return
        self._written = now
        said = (_amount(self._done, self._total), " ".join(note.split()), f"{now - self._began:.0f} s")
        self._write(f"  {self._name}  " + "  ".join(filter(None, said)))
