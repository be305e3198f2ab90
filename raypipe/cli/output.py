"""Where words go: people read a console, programs read one JSON document on standard output."""

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.text import Text

from raypipe.errors import DefinitionError, GateError, RaypipeError, WorkspaceError
from raypipe.words import amount

#: Wider lines are hard to read; a log has no width of its own.
MAX_WIDTH = 100
LOG_WIDTH, UNBOUNDED = 120, 100_000

AsJson = Annotated[
    bool, typer.Option("--json", metavar="", help="Print one JSON document; words for people go to standard error.")
]


def console(*, stderr: bool = False) -> Console:
    """A console for people, as wide as their window but not wider than is good to read.

    In a pipe or a job's log it writes plain text without control characters.
    """
    file = sys.stderr if stderr else sys.stdout
    width = min(MAX_WIDTH, shutil.get_terminal_size().columns) if file.isatty() else LOG_WIDTH
    return Console(file=file, width=width, highlight=False, emoji=False, markup=False)


class Output:
    """What a command prints.

    Args:
        json: print results as JSON on standard output, and everything for people on standard error.
    """

    def __init__(self, json: bool) -> None:
        self.json = json
        self.console = console(stderr=json)

    def say(self, *lines: RenderableType) -> None:
        """Something for people. Nothing is cut to the width of a log, which has none."""
        for line in lines:
            if isinstance(line, str | Text):
                self.console.print(line, soft_wrap=not self.console.is_terminal)
            else:
                self._table(line)

    def _table(self, shown: RenderableType) -> None:
        """As wide as it needs: in a terminal up to its edge, elsewhere each row on one line, for who reads lines."""
        options = self.console.options.update(max_width=UNBOUNDED)
        needed = Measurement.get(self.console, options, shown).maximum
        most = shutil.get_terminal_size().columns if self.console.is_terminal else UNBOUNDED
        before, self.console.width = self.console.width, min(max(self.console.width, needed), most)
        self.console.print(shown)
        self.console.width = before

    def copyable(self, line: str) -> None:
        """A command to copy: however long, it is one line."""
        self.console.print(Text(line, no_wrap=True), soft_wrap=True)

    def result(self, value: object) -> None:
        """Something for programs; prints nothing when nobody asked for JSON."""
        if self.json:
            print_json(value)


def print_json(value: object) -> None:
    """One JSON document: indented in a terminal, on one line in a pipe. NaN, which JSON lacks, is null."""
    text = msgspec.json.encode(value)
    sys.stdout.write((msgspec.json.format(text) if sys.stdout.isatty() else text).decode() + "\n")
    sys.stdout.flush()


def save(file: Path, text: str) -> None:
    """Write a file that somebody asked for by name.

    Raises:
        WorkspaceError: it cannot be written.
    """
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise WorkspaceError(f"cannot be written: {error.strerror}", where=str(file)) from None


def tell_error(error: RaypipeError, *, json: bool) -> None:
    """Say what went wrong: as sentences on standard error, or as a document on standard output."""
    if json:
        print_json({"error": _as_json(error)})
    elif isinstance(error, DefinitionError):
        _write_error(error.faults)
        console(stderr=True).print(f"\n{amount(len(error.faults), 'fault')}; nothing was run.", style="bold")
    else:
        _write_error([error])


def _write_error(sentences: Iterable[object]) -> None:
    out = console(stderr=True)
    for sentence in sentences:
        out.print(Text.assemble(("error:", "bold red"), " ", str(sentence)), soft_wrap=not out.is_terminal)


def _as_json(error: RaypipeError) -> dict[str, object]:
    shown: dict[str, object] = {
        "kind": type(error).__name__,
        "what": error.what,
        "where": error.where,
        "cure": error.cure,
    }
    if isinstance(error, DefinitionError):
        shown["what"] = amount(len(error.faults), "fault")
        shown["faults"] = [{"what": f.what, "where": f.where, "cure": f.cure} for f in error.faults]
    if isinstance(error, GateError):
        shown["checks"] = error.checks
    return shown
