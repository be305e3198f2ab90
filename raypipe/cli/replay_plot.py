"""The loss of each policy over time, drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from raypipe.errors import WorkspaceError

if TYPE_CHECKING:
    from raypipe.flows.replay import Replayed


def draw(results: "Sequence[Replayed]", file: Path, name: str) -> None:
    """Write the weekly log loss of each policy as a picture.

    Raises:
        WorkspaceError: the file cannot be written, or its ending is that of no picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots()
    for result in results:
        label = f"{result.policy}: {result.loss:.4f}, {result.trainings} trainings"
        axes.plot([week for week, _ in result.weekly], [loss for _, loss in result.weekly], label=label)
    axes.set_title(f"{name}: log loss by week")
    axes.tick_params(axis="x", rotation=60)
    axes.legend()
    try:
        figure.savefig(file)
    except (OSError, ValueError) as error:
        raise WorkspaceError(f"cannot be written: {error}", where=str(file), cure="Use .png, .svg or .pdf") from None
