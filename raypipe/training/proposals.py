"""What to try next: Optuna's proposals, made so that the same seed asks for the same trials whatever the timing.

Trials run side by side and end in any order. If each proposal drew on whatever had ended by then, two runs of one
search would differ. So trial ``n`` draws on the trials up to ``n - LAG`` and on no other: it waits for them, and what
came after them is not looked at. A search that was killed can then simply start again: it asks the same, and what was
answered before needs no worker to say so.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import optuna
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from raypipe.training.budget import Budget
from raypipe.training.outcome import Outcome, kept, kept_count, trial_folder
from raypipe.training.space import Space
from raypipe.training.trainer import Params
from raypipe.training.trial import Point

#: How far a proposal lags behind what is known. No more trials than this can run side by side.
LAG = 8
#: Proposals drawn at random before Optuna's model of the space takes over.
RANDOM = 10
#: The steps after which a trial is held against its peers, how many peers that takes, and which share of them goes on:
#: one in `REDUCTION`.
RUNGS, PEERS, REDUCTION = (3, 6), 3, 2


class Proposals(OptunaSearch):
    """Optuna's tree-structured Parzen estimator over a space whose first question is the algorithm.

    ``warm`` are points to try after the defaults; when the ``budget`` is used up there is no next point.
    """

    def __init__(
        self, space: Space, seed: int, lag: int = LAG, budget: Budget | None = None, warm: Sequence[Params] = ()
    ) -> None:
        first = [*space.first(), *warm]
        super().__init__(
            space=space.draw,
            metric="goodness",
            mode="max",
            points_to_evaluate=first,
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM),
        )
        self._lag, self._budget, self._least = lag, budget or Budget(), len(space.algorithms)
        self._asked: list[str] = []
        self._outcomes: dict[int, Outcome | None] = {}
        self._settled: list[Outcome | None] = []
        self.next: Point | None = None

    def answered(self, folder: Path, most: int) -> Iterator[tuple[Point, Outcome]]:
        """What this search was told when it ran before. ``next`` is the first point that it was not, if it asks one."""
        # What was tried before is told again, whatever it has cost.
        self._least = max(self._least, kept_count(folder))
        while len(self._asked) < most and (point := self._draw()) is not None:
            known = kept(trial_folder(folder, point.algorithm, point.params))
            if known is None:
                self.next = point
                return
            self._asked.append("")
            self._outcomes[point.number] = known
            yield point, known

    def suggest(self, trial_id: str) -> dict[str, object] | None:
        """The next point, or None while a trial that it draws on is under way."""
        if any(earlier not in self._outcomes for earlier in range(self._due())):
            return None
        point, self.next = self.next or self._draw(), None
        if point is None:
            return Searcher.FINISHED  # type: ignore[return-value]  # what Tune takes for "no more"
        self._asked.append(trial_id)
        return {"point": point}

    def _due(self) -> int:
        """How many trials the next point draws on."""
        return max(0, len(self._asked) - self._lag + 1)

    def _draw(self) -> Point | None:
        """The next point, when all that it draws on is known; None when the budget is used up."""
        number = len(self._asked)
        # Each algorithm is tried once whatever the budget is.
        if number >= self._least and self._budget.spent(filter(None, self._outcomes.values())):
            return None
        for earlier in range(len(self._settled), self._due()):
            self._settle(earlier, self._outcomes[earlier])
        drawn = super().suggest(str(number)) or {}
        algorithm = str(drawn["algorithm"])
        return Point(number, algorithm, drawn["params"], bars(self._settled, algorithm))

    def on_trial_result(self, trial_id: str, result: dict[str, object]) -> None:
        """Results count when a trial is over."""

    def on_trial_complete(self, trial_id: str, result: dict[str, object] | None = None, error: bool = False) -> None:
        """Keep what came of a trial, None when its worker died, until its turn comes."""
        known = None if error or not result else Outcome.from_json(str(result["outcome"]))
        self._outcomes[self._asked.index(trial_id)] = known

    def _settle(self, number: int, outcome: Outcome | None) -> None:
        self._settled.append(outcome)
        value = None if outcome is None else outcome.goodness
        super().on_trial_complete(str(number), None if value is None else {"goodness": value}, error=value is None)


def bars(settled: Sequence[Outcome | None], algorithm: str) -> dict[int, float]:
    """For each rung what a trial must reach to be among the better half of the algorithm's earlier trials there.

    This is asynchronous successive halving (L. Li et al., "A System for Massively Parallel Hyperparameter Tuning",
    MLSys 2020) in the form that stops trials, with a reduction factor of `REDUCTION`: each rung is so many times as far
    as the one before, and one in so many goes on. Peers are those that had settled when the trial was asked for, so its
    bars do not depend on who reaches a rung first. An algorithm is held against itself only: networks learn by epochs,
    trees by rounds.
    """
    peers = [dict(outcome.curve) for outcome in settled if outcome and outcome.trial.algorithm == algorithm]
    reached = {rung: [curve[rung] for curve in peers if rung in curve] for rung in RUNGS}
    share = 1 - 1 / REDUCTION
    return {rung: float(np.quantile(values, share)) for rung, values in reached.items() if len(values) >= PEERS}
