"""A model's drift as a page of its own: one picture, one table, no scripts."""

from html import escape
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from raypipe.cli.drift import outcome_rows
from raypipe.clock import to_second
from raypipe.errors import WorkspaceError

if TYPE_CHECKING:
    from raypipe.flows.watch import Watch

_SHOWN = 8


def write(found: "Watch", file: Path, name: str) -> None:
    """Write the page.

    Raises:
        WorkspaceError: the file cannot be written.
    """
    head = f"<!doctype html><meta charset=utf-8><title>{escape(name)}: drift</title><style>body{{font:16px sans-serif;"
    head += "max-width:60rem;margin:2rem auto}td,th{padding:.2rem .8rem;text-align:left}</style>"
    parts = [head, f"<h1>{escape(name)}: drift</h1>"]
    if found.ticks:
        newest = found.ticks[-1]
        parts.append(f"<p>{len(found.ticks)} ticks to {to_second(newest.at)}. {escape(found.diagnosis)}</p>")
        parts.append(_picture(found))
        rows = "".join(
            f"<tr><td>{escape(c.column)}<td>{c.stream}<td>{c.excess:.2f}<td>{c.distance:.3f}<td>{c.psi:.3f}"
            f"<td>{'open' if c.open_for is not None else ''}"
            for c in newest.columns
        )
        parts.append(f"<table><tr><th>column<th>what<th>excess<th>distance<th>PSI<th>alarm{rows}</table>")
    if found.outcomes:
        heads, *cells = outcome_rows(found.outcomes)
        lines = [f"<tr>{''.join(f'<th>{escape(head)}' for head in heads)}"]
        lines += [f"<tr>{''.join(f'<td>{escape(cell)}' for cell in row)}" for row in cells]
        parts.append(f"<h2>What became of its answers</h2><table>{''.join(lines)}</table>")
    try:
        file.write_text("\n".join(parts), encoding="utf-8")
    except OSError as error:
        raise WorkspaceError(f"cannot be written: {error.strerror}", where=str(file)) from None


def _picture(found: "Watch") -> str:
    """The excess of the columns that moved most, tick by tick; above the line is an alarm."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    for column in [one.column for one in found.ticks[-1].columns[:_SHOWN]]:
        line = [next(c.excess for c in tick.columns if c.column == column) for tick in found.ticks]
        axes.plot(range(1, len(line) + 1), line, label=column, marker="." if len(line) < 50 else None)
    axes.axhline(1.0, color="black", linewidth=1)
    axes.set_xlabel("tick")
    axes.set_ylabel("deviation, as a multiple of an alarm")
    axes.legend(fontsize="small")
    drawn = StringIO()
    figure.savefig(drawn, format="svg")
    return drawn.getvalue().partition("?>")[2] or drawn.getvalue()
