"""The trials that no other beats in quality and speed at once, and a picture of them all."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from raypipe.spec import Search
from raypipe.training.choice import SPEED
from raypipe.training.outcome import FINISHED, Outcome

#: The best of the front; the picture has them all.
SHOWN = 3
COLOURS = {"lightgbm": "#0e7490", "network": "#b45309", "linear": "#7c3aed"}


def finished(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The trials that were judged to their end."""
    return [outcome for outcome in outcomes if outcome.trial.status == FINISHED and outcome.goodness is not None]


def front(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The finished trials that no other is at least as good and as fast as, fastest first; the Pareto front.

    Of equal ones the first counts.
    """
    found: list[Outcome] = []
    for outcome in sorted(
        finished(outcomes), key=lambda o: (o.trial.metrics[SPEED], -(o.goodness or 0.0), o.trial.number)
    ):
        if not found or (outcome.goodness or 0.0) > (found[-1].goodness or 0.0):
            found.append(outcome)
    return found


def sentence(outcomes: Sequence[Outcome], search: Search) -> str:
    """The front in one sentence.

    Nothing is on it before a trial has finished.
    """
    on = [
        f"{o.trial.algorithm} (trial {o.trial.number}) {o.trial.metrics[search.metric]:.4f}"
        f" at {o.trial.metrics[SPEED]:.2g} ms"
        for o in front(outcomes)
    ]
    faster = f", and {len(on) - SHOWN} faster" if len(on) > SHOWN else ""
    return f"on the front of quality and speed: {', '.join(on[-SHOWN:])}{faster}"


def draw(outcomes: Sequence[Outcome], search: Search, winner: Outcome, file: Path) -> None:
    """A picture of quality against the time of one row: the trials, the front, the winner, and the limit."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    trials = [outcome.trial for outcome in finished(outcomes)]
    for algorithm in dict.fromkeys(trial.algorithm for trial in trials):
        own = [trial for trial in trials if trial.algorithm == algorithm]
        x, y = [t.metrics[SPEED] for t in own], [t.metrics[search.metric] for t in own]
        axes.scatter(x, y, s=28, color=COLOURS.get(algorithm), label=algorithm)
    best = [outcome.trial for outcome in front(outcomes)]
    axes.step([t.metrics[SPEED] for t in best], [t.metrics[search.metric] for t in best], where="post", color="#94a3b8")
    at = winner.trial.metrics
    axes.scatter([at[SPEED]], [at[search.metric]], s=140, facecolors="none", edgecolors="#be185d", label="chosen")
    if search.p99_ms is not None:
        axes.axvline(search.p99_ms, color="#64748b", linestyle=":", label=f"limit {search.p99_ms:g} ms")
    axes.set_xscale("log")
    axes.set_xlabel("p99 of one row, ms")
    axes.set_ylabel(f"{search.metric} on the tuning period")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(file, dpi=120)
