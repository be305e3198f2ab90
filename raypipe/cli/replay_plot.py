"""Policies over time, drawn: what each lost, trained, spent and was alarmed by, below one another."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from raypipe.errors import WorkspaceError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from raypipe.flows.replay import Replayed

#: Formats that would hold when they were drawn, and under which name: the same replay gives the same file.
_DATES = {".svg": "Date", ".pdf": "CreationDate"}


def draw(results: "Sequence[Replayed]", file: Path, name: str) -> None:
    """Write what became of each policy as a picture; the same results give the same bytes.

    Raises:
        WorkspaceError: the file cannot be written, or its ending is that of no picture.
    """
    from matplotlib import rc_context

    figure = _drawn(results, name)
    dated = _DATES.get(file.suffix.lower())
    try:
        with rc_context({"svg.hashsalt": name}):
            figure.savefig(file, metadata={dated: None} if dated else None)
    except (OSError, ValueError) as error:
        raise WorkspaceError(f"cannot be written: {error}", where=str(file), cure="Use .png, .svg or .pdf") from None


def _drawn(results: "Sequence[Replayed]", name: str) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 9), layout="constrained")
    loss, trained, spent, alarms = figure.subplots(4, sharex=True, height_ratios=(4, 0.6 + 0.3 * len(results), 2, 2))
    figure.suptitle(f"{name}: policies over time")
    first = _at(results[0].weekly[0][0])
    last = max(_at(result.weekly[-1][0]) for result in results) + timedelta(days=7)
    for row, result in enumerate(results):
        colour = f"C{row}"
        label = f"{result.policy}: {result.loss:.4f}"
        loss.plot([_at(week) for week, _ in result.weekly], [mean for _, mean in result.weekly], colour, label=label)
        won, lost = ([_at(one.day) for one in result.trained if one.won is kind] for kind in (True, False))
        trained.plot(won, [row] * len(won), "o", color=colour)
        trained.plot(lost, [row] * len(lost), "o", color=colour, fillstyle="none")
        _add_up(spent, [(one.day, one.seconds) for one in result.trained], first, last, colour)
        _add_up(alarms, result.raised, first, last, colour)
    loss.set_ylabel("loss, by week")
    loss.legend()
    trained.set_ylabel("trainings\n(filled: took over)")
    trained.set_yticks(range(len(results)), [f"{one.policy}: {one.won} of {len(one.trained)}" for one in results])
    trained.set_ylim(len(results) - 0.5, -0.5)
    spent.set_ylabel("training so far, s")
    alarms.set_ylabel("alarms so far")
    alarms.tick_params(axis="x", rotation=30)
    return figure


def _add_up(axes: "Axes", amounts: Sequence[tuple[str, float]], first: datetime, last: datetime, colour: str) -> None:
    """A line that rises by each amount on its day, from the first to the last day."""
    import numpy as np

    sums = [0.0, *accumulate(amount for _, amount in amounts)]
    days = np.array([first, *(_at(day) for day, _ in amounts), last], "datetime64[s]")
    axes.plot(days, [*sums, sums[-1]], colour, drawstyle="steps-post")


def _at(day: str) -> datetime:
    return datetime.fromisoformat(day)
