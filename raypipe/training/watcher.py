"""What the search's own process does as trials start and end: MLflow, progress, and the list of outcomes."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import msgspec
from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from raypipe.contracts.progress import Step
from raypipe.contracts.records import Trial
from raypipe.failpoints import failpoint
from raypipe.training.choice import SPEED
from raypipe.training.limits import death
from raypipe.training.outcome import FAILED, FINISHED, STOPPED, Outcome, trial_folder
from raypipe.training.tracking import Tracking
from raypipe.training.trial import Plan, Point


class Watcher(tune.Callback):
    """Collects the outcomes of a search, and shows them as they come: a line for all, and one for each algorithm.

    MLflow is told beside it, in a thread: the next trial need not wait for that. What goes wrong there is raised when
    the next trial begins or ends, and at the latest by `finished`.

    Args:
        plan: of the search.
        tracking: keeps the trials.
        step: of all trials.
        line: opens the line of an algorithm.
    """

    def __init__(self, plan: Plan, tracking: Tracking, step: Step, line: Callable[[str], Step]) -> None:
        self._plan, self._tracking, self._step, self._line = plan, tracking, step, line
        self._lines: dict[str, Step] = {}
        self._teller = ThreadPoolExecutor(1, "mlflow")
        self._told: list[Future[None]] = []
        self._runs: dict[int, str] = {}
        self.outcomes: dict[int, Outcome] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Wait for what is being told, and tell no more."""
        self._teller.shutdown(cancel_futures=True)

    def finished(self) -> list[Outcome]:
        """All outcomes in order of number, with the runs that tell of them."""
        for told in self._told:
            told.result()
        return [_changed(self.outcomes[number], run_id=self._runs[number]) for number in sorted(self.outcomes)]

    def __reduce__(self) -> tuple[type[tune.Callback], tuple[()]]:
        # Tune writes its callbacks down for a restart of its own, which there is none of; open lines cannot be written.
        return tune.Callback, ()

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: object) -> None:
        """Open the trial's MLflow run."""
        self.start(trial.config["point"])

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: object) -> None:
        """Take the outcome that the trial reported."""
        self.take(trial.config["point"], Outcome.from_json(trial.last_result["outcome"]))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: object) -> None:
        """A trial's worker process died, and died again when it was given a new one."""
        point: Point = trial.config["point"]
        error = death(trial_folder(self._plan.folder, point.algorithm, point.params))
        lost = Trial(
            number=point.number,
            algorithm=point.algorithm,
            params=point.params,
            status=FAILED,
            metrics={},
            seconds=0.0,
            error=error,
        )
        self.take(point, Outcome(trial=lost, goodness=None))

    def start(self, point: Point) -> None:
        """Open the MLflow run of a trial."""
        self._tell(lambda: self._tracking.start(self._name(point), point.number))

    def take(self, point: Point, outcome: Outcome) -> None:
        """Log what came of a trial, and show it."""
        # Kept by an earlier search, it may have had another number there.
        outcome = _changed(outcome, number=point.number)
        self._tell(lambda: self._log(self._name(point), outcome))
        self.outcomes[point.number] = outcome
        self._step.advance(1, _note(outcome.trial, self._plan.metric))
        self._show(outcome.trial.algorithm)

    def _tell(self, what: Callable[[], None]) -> None:
        for told in self._told:
            if told.done():
                told.result()
        self._told = [told for told in self._told if not told.done()]
        self._told.append(self._teller.submit(what))

    def _log(self, name: str, outcome: Outcome) -> None:
        failpoint("training.before_log")
        self._runs[outcome.trial.number] = self._tracking.end(name, outcome)
        failpoint("training.after_trial")

    def _show(self, algorithm: str) -> None:
        """Bring an algorithm's line up to date: its best so far, how fast that answers, and what failed."""
        if algorithm not in self._lines:
            self._lines[algorithm] = self._line(algorithm)
        own = [outcome for outcome in self.outcomes.values() if outcome.trial.algorithm == algorithm]
        done = [outcome for outcome in own if outcome.trial.status == FINISHED and outcome.goodness is not None]
        said = []
        if done:
            best = max(done, key=lambda outcome: outcome.goodness or 0.0).trial
            metric = self._plan.metric
            said.append(
                f"best {metric} {best.metrics[metric]:.4f} at {best.metrics[SPEED]:.2g} ms (trial {best.number})"
            )
        counts = {status: sum(outcome.trial.status == status for outcome in own) for status in (STOPPED, FAILED)}
        said += [f"{count} {status}" for status, count in counts.items() if count]
        self._lines[algorithm].advance(1, ", ".join(said))

    def _name(self, point: Point) -> str:
        return trial_folder(self._plan.folder, point.algorithm, point.params).name


def _changed(outcome: Outcome, **changed: int | str) -> Outcome:
    return msgspec.structs.replace(outcome, trial=msgspec.structs.replace(outcome.trial, **changed))


def _note(trial: Trial, metric: str) -> str:
    value = trial.metrics.get(metric)
    return f"{trial.algorithm}: {trial.status if value is None else f'{metric} {value:.4f}'}"
