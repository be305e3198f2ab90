"""The models of a replay: each stretch of time has one, fitted once for all policies, and each row one score by it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from raypipe.flows.replay.answers import Answered, Answers
from raypipe.flows.replay.past import Past
from raypipe.spec import Pipeline
from raypipe.training.recipe import Fitted, Recipe, fit
from raypipe.training.threshold import cost_matrix
from raypipe.training.trainer import Matrix


class Learned(NamedTuple):
    """What a model has learned from: what was asked since, and settled until; microseconds UTC."""

    until: int
    since: int = 0


@dataclass
class Models:
    """Fits a pipeline's recipe on what was known at a moment.

    What is learned depends on the stretch of time alone, not on the policy that asked for it: policies share their
    models.
    """

    pipeline: Pipeline
    past: Past
    recipe: Recipe
    _fitted: dict[Learned, Fitted] = field(default_factory=dict)
    _answers: dict[Learned, Answered] = field(default_factory=dict)

    def prepare(self, *learned: Learned) -> None:
        """Fit several models side by side."""
        wanted = [one for one in dict.fromkeys(learned) if one not in self._fitted]
        # LightGBM lets go of the interpreter while it works; one thread each, as everywhere.
        with ThreadPoolExecutor(2) as pool:
            for one, made in zip(wanted, pool.map(self._fit, wanted), strict=True):
                self._fitted[one] = made

    def of(self, learned: Learned) -> Fitted:
        """The model that had learned from these labels."""
        self.prepare(learned)
        return self._fitted[learned]

    def encoded(self, learned: Learned, rows: slice) -> Matrix:
        """Rows as that model sees them."""
        return self.of(learned).signature.encode(self.past.frame[rows])

    def answers(self, learned: Learned, rows: slice) -> Answers:
        """What that model answers; each row is answered once."""
        known = self._answers.get(learned)
        if known is None:
            costs = cost_matrix(self.pipeline.finish, self.past.target, self.pipeline.name)
            known = self._answers[learned] = Answered(self.past, costs)
        return known.of(rows, lambda: self.of(learned).score(self.encoded(learned, rows)))

    def rows(self, learned: Learned) -> slice:
        """The rows that it learns from."""
        return slice(self.past.asked(0, learned.since).stop, self.past.before(learned.until))

    def _fit(self, learned: Learned) -> Fitted:
        return fit(self.recipe, self.pipeline, self.past.frame[self.rows(learned)], self.past.target)
