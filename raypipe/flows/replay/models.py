"""The models of a replay: each stretch of time has one, fitted once for all policies, and each row one score by it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from raypipe.flows.replay.past import Past
from raypipe.spec import Pipeline
from raypipe.stats.shift import Floats
from raypipe.training.recipe import Fitted, Recipe, fit
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
    _scores: dict[Learned, Floats] = field(default_factory=dict)

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

    def scores(self, learned: Learned, rows: slice) -> Floats:
        """Its answers; each row is answered once."""
        known = self._scores.setdefault(learned, np.full(len(self.past.at), np.nan))
        if np.isnan(known[rows]).any():
            known[rows] = self.of(learned).score(self.encoded(learned, rows))
        found: Floats = known[rows].copy()
        return found

    def rows(self, learned: Learned) -> slice:
        """The rows that it learns from."""
        return slice(self.past.asked(0, learned.since).stop, self.past.before(learned.until))

    def _fit(self, learned: Learned) -> Fitted:
        return fit(self.recipe, self.pipeline, self.past.frame[self.rows(learned)])
