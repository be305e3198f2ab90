"""Long work made visible: live bars in a terminal, a line now and then in a log."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Timer
from time import monotonic
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from raypipe.contracts.progress import Progress, Step

#: A log gets at most one line about a step in this many seconds; one that says nothing new, in so many times as many.
LOG_SECONDS, SAME = 5.0, 6


class Watcher(Progress, Protocol):
    """Progress that also shows which stage of a run the steps belong to."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Show that a stage is under way until the context is left."""
        ...


def watch(console: Console) -> Watcher:
    """Show progress on a console in the way that suits it."""
    return RichProgress(console) if console.is_terminal else LogProgress(console)


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
    """A bar for each step, under the stage it belongs to; nothing stays on the screen when all are over.

    All that is open at a time counts its seconds from where the first of it began: they rise alike.

    Nothing else may be printed while a stage or a step is open: Rich's drawing thread and a print can overtake each
    other, which leaves torn lines.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Bars | None = None
        self._stages = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A line of its own, its steps below it."""
        with self._line(name, None):
            self._stages += 1
            try:
                yield
            finally:
                self._stages -= 1

    @contextmanager
    def step(self, name: str, total: float | None = None) -> Iterator[Step]:
        """A bar that disappears when the step is over: the stage's result line says what came of it."""
        with self._line("  " * self._stages + name, total) as (bars, task):
            yield _RichStep(bars, task)

    @contextmanager
    def _line(self, name: str, total: float | None) -> Iterator[tuple[Bars, TaskID]]:
        bars = self._bars or self._draw()
        first = next(iter(bars.tasks), None)
        task = bars.add_task(escape(name), total=total, note="")
        if first is not None:
            bars.tasks[-1].start_time = first.start_time
        try:
            yield bars, task
        finally:
            bars.remove_task(task)
            if not bars.task_ids:
                bars.stop()
                self._bars = None

    def _draw(self) -> Bars:
        """Begin to draw. A display that was stopped would move the cursor by its old height: each is used once."""
        one_line = Column(no_wrap=True, overflow="ellipsis", min_width=20, max_width=20)
        rest = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        self._bars = Bars(
            SpinnerColumn(style="cyan"),
            TextColumn("{task.description}", table_column=one_line),
            BarColumn(bar_width=20),
            Amount(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", style="dim", table_column=rest),
            console=self._console,
            transient=True,
            expand=True,
        )
        self._bars.start()
        return self._bars


class _RichStep:
    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        self._bars.advance(self._task, amount)
        if note:
            self._bars.update(self._task, note=escape(" ".join(note.split())))


class LogProgress:
    """Plain lines for pipes and job logs: no control characters, few of them.

    The seconds on them count from where the stage began, or the first of the steps that are open: they never fall.

    Args:
        console: where the lines go.
        seconds: the least time between two lines about one step.
        clock: a monotonic clock in seconds.
    """

    def __init__(self, console: Console, seconds: float = LOG_SECONDS, clock: Callable[[], float] = monotonic) -> None:
        self._console, self._seconds, self._clock = console, seconds, clock
        self._stage, self._open, self._began = "", 0, 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Names the stage in front of its steps."""
        self._stage = name
        try:
            with self._since():
                yield
        finally:
            self._stage = ""

    @contextmanager
    def step(self, name: str, total: float | None = None) -> Iterator[Step]:
        """Says nothing about a step that is over quickly; one that has nothing to tell yet is named once."""
        shown = name if name.startswith(self._stage) else f"{self._stage}: {name}"
        begun = Timer(self._seconds, self._line, (f"  {shown} …",))
        begun.daemon = True
        begun.start()
        try:
            with self._since() as began:
                yield _LogStep(self._line, shown, total, self._seconds, self._clock, began, begun.cancel)
        finally:
            begun.cancel()

    @contextmanager
    def _since(self) -> Iterator[float]:
        """When the first of what is open began."""
        if not self._open:
            self._began = self._clock()
        self._open += 1
        try:
            yield self._began
        finally:
            self._open -= 1

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)


class _LogStep:
    def __init__(
        self,
        write: Callable[[str], None],
        name: str,
        total: float | None,
        seconds: float,
        clock: Callable[[], float],
        began: float,
        spoke: Callable[[], None],
    ) -> None:
        self._write, self._name, self._total, self._seconds, self._clock = write, name, total, seconds, clock
        self._began, self._written = began, clock()
        self._done, self._spoke, self._said = 0.0, spoke, ""

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        self._done += amount
        now = self._clock()
        said = "  ".join(filter(None, (_amount(self._done, self._total), " ".join(note.split()))))
        if now - self._written < self._seconds * (SAME if said and said == self._said else 1):
            return
        self._written, self._said = now, said
        self._spoke()
        self._write("  ".join(filter(None, (f"  {self._name}", said, f"{now - self._began:.0f} s"))))
