"""A model's drift as a page of its own: pictures, tables, no scripts."""

from collections.abc import Iterable
from html import escape
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from raypipe.cli.drift import HEADS, MEANING, UNLABELLED, outcome_rows, row_of, unlabelled
from raypipe.cli.output import save
from raypipe.clock import to_second
from raypipe.words import as_html

if TYPE_CHECKING:
    from raypipe.flows.watch import Watch

#: Columns that are drawn; and up to how many ticks each has a dot.
_SHOWN, _DOTTED = 8, 50


def write(found: "Watch", file: Path, name: str, waiting: str = "") -> None:
    """Write the page.

    Args:
        found: what it shows.
        file: where it is written.
        name: of the version.
        waiting: what it says while there is no tick to show.

    Raises:
        WorkspaceError: the file cannot be written.
    """
    head = f"<!doctype html><meta charset=utf-8><title>{escape(name)}: drift</title><style>body{{font:16px sans-serif;"
    head += "max-width:60rem;margin:2rem auto}td,th{padding:.2rem .8rem;text-align:left}</style>"
    parts = [head, f"<h1>{escape(name)}: drift</h1>"]
    if found.ticks:
        newest = found.ticks[-1]
        parts.append(f"<p>{len(found.ticks)} ticks to {to_second(newest.at)}. {as_html(found.diagnosis)}</p>")
        parts.append(_picture(found))
        parts.append(_table(HEADS, (row_of(column) for column in newest.columns)))
        parts.append(f"<p>{as_html(MEANING)}</p>")
    elif waiting:
        parts.append(f"<p>{as_html(waiting)}</p>")
    if found.outcomes:
        heads, *rows = outcome_rows(found.outcomes)
        parts.append("<h2>What became of its answers</h2>")
        parts.append(_table(heads, rows))
    if found.unknown is not None:
        parts.append(f"<p>{as_html(found.unknown.words)}</p>")
    if unlabelled(found.outcomes):
        parts.append(f"<p>{as_html(UNLABELLED)}</p>")
    save(file, "\n".join(parts))


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [f"<tr>{''.join(f'<th>{escape(head)}' for head in heads)}"]
    lines += [f"<tr>{''.join(f'<td>{escape(cell)}' for cell in row)}" for row in rows]
    return f"<table>{''.join(lines)}</table>"


def _picture(found: "Watch") -> str:
    """Tick by tick, of the columns that moved most: how sure, where an alarm is above the line, and how far.

    Below them how much was asked, with a cross where something looks broken.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 9), layout="constrained")
    sure, far, asked = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 1))
    places = range(1, len(found.ticks) + 1)
    marker = "." if len(found.ticks) < _DOTTED else None
    # What follows the clock would lie above all others, and is no alarm.
    for column in [one.column for one in found.ticks[-1].columns if not one.clock][:_SHOWN]:
        line = [next(c for c in tick.columns if c.column == column) for tick in found.ticks]
        sure.plot(places, [one.excess for one in line], label=column, marker=marker)
        far.plot(places, [one.distance for one in line], marker=marker)
    sure.axhline(1.0, color="black", linewidth=1)
    sure.set_ylabel("deviation, as a multiple of an alarm")
    sure.legend(fontsize="small")
    far.set_ylabel("distance, 0 to 1")
    asked.bar(places, [tick.rows for tick in found.ticks], color="lightgrey")
    broken = [place for place, tick in zip(places, found.ticks, strict=True) if tick.breaks]
    asked.plot(broken, [0] * len(broken), "x", color="red", clip_on=False)
    asked.set_ylabel("predictions")
    asked.set_xlabel("tick")
    drawn = StringIO()
    figure.savefig(drawn, format="svg")
    return drawn.getvalue().partition("?>")[2] or drawn.getvalue()
