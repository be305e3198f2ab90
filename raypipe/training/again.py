"""The model that a search found, fitted again from what is known of it; nothing is searched."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from raypipe.contracts.records import TrainingSet, Trial
from raypipe.spec import Pipeline
from raypipe.training.outcome import FINISHED, Outcome
from raypipe.training.search import prepare
from raypipe.training.trainer import Params

if TYPE_CHECKING:
    from raypipe.training.finish import Sealed


def refit(
    pipeline: Pipeline,
    training_set: TrainingSet,
    algorithm: str,
    params: Params,
    tuned: Mapping[str, float],
    folder: Path,
) -> dict[str, float]:
    """Fit on train and tune, judge on the holdout, and write the bundle into ``folder``, as the end of a search does.

    Args:
        pipeline: the definition; its search names the metric and the seed.
        training_set: what to learn from.
        algorithm: of the trial that was chosen.
        params: of that trial, with what early stopping settled.
        tuned: its metrics on the tuning period, by plain names. They are copied into the bundle: the model that had
            them was fitted on other rows.
        folder: of the bundle; made, and replaced if it is there.

    Returns:
        The metrics. The same arguments give the same, but for the speeds.

    Raises:
        TrainingError: the data cannot teach anything, or the trainer fails.
    """
    return rehearse(pipeline, training_set, algorithm, params, tuned, folder).metrics


def rehearse(
    pipeline: Pipeline,
    training_set: TrainingSet,
    algorithm: str,
    params: Params,
    tuned: Mapping[str, float],
    folder: Path,
) -> "Sealed":
    """As `refit`; also what the model that was judged answered on the holdout."""
    # Not at the top: the workers of a search import this module too, and judge nothing.
    from raypipe.training.finish import conclude

    trial = Trial(number=0, algorithm=algorithm, params=params, status=FINISHED, metrics=dict(tuned), seconds=0.0)
    winner = Outcome(trial=trial, goodness=None)
    data = prepare(pipeline, training_set)
    return conclude(winner, data, pipeline, training_set, folder.parent, folder)
