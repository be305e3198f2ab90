"""Progress as it is seen: live bars in a terminal, a few plain lines in a log."""

import io
import re
from collections.abc import Callable
from threading import Event
from time import sleep

import pytest
from rich.console import Console

from raypipe.cli.progress import LogProgress, watch

CONTROL = re.compile(r"\x1b|\r")


def terminal(width: int = 80) -> tuple[Console, io.StringIO]:
    screen = io.StringIO()
    return Console(file=screen, force_terminal=True, width=width, color_system=None, legacy_windows=False), screen


def frames(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def visible(text: str) -> list[str]:
    """What a terminal shows in the end: the few controls that Rich uses, played."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if token == "\r":
            column = 0
        elif token == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif token == "\x1b[2K":
            lines[row] = ""
        elif re.fullmatch(r"\x1b\[\d*A", token):
            row -= int(token[2:-1] or 1)
        elif not token.startswith("\x1b"):
            lines[row] = lines[row][:column].ljust(column) + token + lines[row][column + len(token) :]
            column += len(token)
    return [line.rstrip() for line in lines if line.strip()]


class Seconds:
    """A monotonic clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_terminal_shows_stage_step_amount_and_note() -> None:
    console, screen = terminal()
    progress = watch(console)
    with progress.stage("ingest"), progress.step("flights", total=4) as step:
        step.advance(1, "reading")
        step.advance(2, "January [13]\non")
        progress._bars.refresh()  # what the display's own thread does ten times a second
    shown = frames(screen.getvalue())
    assert "ingest" in shown
    line = next(line for line in shown.splitlines() if "January" in line)
    assert re.search(r"^.   flights +━+.* +3/4 +0:00:0\d +January \[13\] on", line), line
    assert len(line.rstrip()) <= 80


@pytest.mark.parametrize(
    ("done", "total", "shown"),
    [(3, 5, "3/5"), (50, 200, "25%"), (0.25, 0.5, "50%"), (300, 200, "100%"), (7, None, "")],
)
def test_how_far_it_is(done: float, total: float | None, shown: str) -> None:
    from raypipe.cli.progress import _amount

    assert _amount(done, total) == shown


def test_a_terminal_is_clean_when_all_is_over() -> None:
    console, screen = terminal()
    progress = watch(console)
    for name in ("ingest", "gate"):
        with progress.stage(name), progress.step("flights", total=1) as step:
            step.advance()
        assert progress._bars is None
        console.print(f"✓ {name}")
    assert visible(screen.getvalue()) == ["✓ ingest", "✓ gate"]


def test_a_failed_step_leaves_nothing_behind() -> None:
    console, screen = terminal()
    progress = watch(console)
    with pytest.raises(ZeroDivisionError), progress.stage("ingest"), progress.step("flights"):
        raise ZeroDivisionError
    assert progress._bars is None
    assert visible(screen.getvalue()) == []
    assert screen.getvalue().rindex("\x1b[?25h") > screen.getvalue().rindex("\x1b[?25l")  # the cursor is back


def test_steps_may_overlap() -> None:
    progress = watch(terminal()[0])
    with progress.step("a", 2) as a, progress.step("b", 2) as b:
        b.advance(2)
        a.advance(1)
        assert [task.completed for task in progress._bars.tasks] == [1, 2]


@pytest.fixture
def log() -> tuple[LogProgress, Seconds, Callable[[], list[str]]]:
    file, seconds = io.StringIO(), Seconds()
    progress = LogProgress(Console(file=file, width=40), seconds=5, clock=seconds)
    return progress, seconds, lambda: file.getvalue().splitlines()


def test_a_log_gets_a_line_now_and_then(log) -> None:
    progress, seconds, lines = log
    with progress.stage("train"), progress.step("trials", total=12) as step:
        for number in range(12):
            seconds.now += 2
            step.advance(1, f"trial {number}: lightgbm\n[auc]")
    assert lines() == [
        "  train: trials  3/12  trial 2: lightgbm [auc]  6 s",
        "  train: trials  6/12  trial 5: lightgbm [auc]  12 s",
        "  train: trials  9/12  trial 8: lightgbm [auc]  18 s",
        "  train: trials  12/12  trial 11: lightgbm [auc]  24 s",
    ]


class Lines(io.StringIO):
    """A log that tells when something was written."""

    def __init__(self) -> None:
        super().__init__()
        self.came = Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        if text.endswith("\n"):
            self.came.set()
        return written


def test_a_step_that_has_nothing_to_tell_is_named_once() -> None:
    file = Lines()
    progress = LogProgress(Console(file=file), seconds=0.01)
    with progress.stage("train"), progress.step("refit"):
        assert file.came.wait(30)
        sleep(0.05)
    assert file.getvalue() == "  train: refit …\n"


def test_seconds_of_a_stage_never_fall(log) -> None:
    progress, seconds, lines = log
    with progress.stage("train"), progress.step("trials", total=4) as step:
        seconds.now += 20
        step.advance(1, "one")
        with progress.step("lightgbm") as line:
            seconds.now += 6
            line.advance(1, "best")
        with progress.step("network") as line:
            seconds.now += 6
            line.advance(1, "best")
    assert [line.split()[-2] for line in lines()] == ["20", "26", "32"]
    with progress.stage("register"), progress.step("copy") as step:
        seconds.now += 7
        step.advance(1, "on")
    assert lines()[-1].endswith(" 7 s")


def test_bars_that_are_open_together_rise_alike() -> None:
    progress = watch(terminal()[0])
    with progress.step("trials", 2), progress.step("lightgbm", 2):
        assert len({task.start_time for task in progress._bars.tasks}) == 1


def test_a_log_hears_nothing_of_quick_steps(log) -> None:
    progress, seconds, lines = log
    for _ in range(100):
        with progress.step("quick") as step:
            seconds.now += 1
            step.advance()
    assert lines() == []


def test_a_log_has_no_control_characters() -> None:
    file = io.StringIO()
    progress = watch(Console(file=file))
    assert isinstance(progress, LogProgress)
    with progress.stage("ingest"), progress.step("flights", 3) as step:
        step.advance()
    assert not CONTROL.search(file.getvalue())
