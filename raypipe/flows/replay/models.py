"""The models of a replay: each moment has one, fitted once for all policies, and each row one score by it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from raypipe.flows.replay.past import Past
from raypipe.spec import Pipeline
from raypipe.stats.shift import Floats
from raypipe.training.recipe import Fitted, Recipe, fit
from raypipe.training.trainer import Matrix


@dataclass
class Models:
    """Fits a pipeline's recipe on what was known at a moment.

    What is learned depends on the moment alone, not on the policy that asked for it: policies share their models.
    """

    pipeline: Pipeline
    past: Past
    recipe: Recipe
    _fitted: dict[int, Fitted] = field(default_factory=dict)
    _scores: dict[int, Floats] = field(default_factory=dict)

    def prepare(self, *moments: int) -> None:
        """Fit the models of several moments side by side."""
        wanted = [moment for moment in dict.fromkeys(moments) if moment not in self._fitted]
        # LightGBM lets go of the interpreter while it works; one thread each, as everywhere.
        with ThreadPoolExecutor(2) as pool:
            for moment, made in zip(wanted, pool.map(self._fit, wanted), strict=True):
                self._fitted[moment] = made

    def of(self, moment: int) -> Fitted:
        """The model that had learned from all labels settled by then."""
        self.prepare(moment)
        return self._fitted[moment]

    def encoded(self, moment: int, rows: slice) -> Matrix:
        """Rows as the model of that moment sees them."""
        return self.of(moment).signature.encode(self.past.frame[rows])

    def scores(self, moment: int, rows: slice) -> Floats:
        """Its answers; each row is answered once."""
        known = self._scores.setdefault(moment, np.full(len(self.past.at), np.nan))
        if np.isnan(known[rows]).any():
            known[rows] = self.of(moment).score(self.encoded(moment, rows))
        found: Floats = known[rows].copy()
        return found

    def rows(self, moment: int) -> int:
        """How many rows it learns from."""
        return self.past.before(moment)

    def _fit(self, moment: int) -> Fitted:
        return fit(self.recipe, self.pipeline, self.past.frame[: self.past.before(moment)])
