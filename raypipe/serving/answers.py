"""From scores to answers: a probability and a decision, a class with all probabilities, or a number."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raypipe.contracts.bundle import Card
from raypipe.contracts.target import Target, chosen

#: What is written down of an answer: a score, and what was decided: true or false, or the class.
Judged = tuple[float, bool | str | None]
Told = dict[str, object]
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}


class Answers:
    """Turns a model's scores into what callers are told.

    ======================== =======================================================================
    task                     a row's answer
    ======================== =======================================================================
    binary                   ``{"probability": 0.31, "label": true}``
    multiclass               ``{"label": "late", "probability": 0.6, "probabilities": {"late": 0.6, …}}``
    regression, quantile,    ``{"value": 12.5}``
    count
    ======================== =======================================================================

    Of classes the one of least expected cost is answered; without costs the most probable one.
    """

    def __init__(self, card: Card) -> None:
        self._target, self._threshold, self._costs = card.target, card.threshold, card.costs

    def judged(self, scores: NDArray[np.float32]) -> list[Judged]:
        """A score for each row, with what was decided; nothing is where a number is answered."""
        # Seven digits are all that a float32 holds.
        if self._target.task == "binary":
            return [(round(score, 7), score >= self._threshold) for score in scores.tolist()]
        if self._target.classes:
            places, names = chosen(scores, self._costs), self._target.classes
            each = zip(scores[np.arange(len(scores)), places].tolist(), places.tolist(), strict=True)
            return [(round(score, 7), names[place]) for score, place in each]
        return [(float(f"{score:.7g}"), None) for score in scores.tolist()]

    def told(self, scores: NDArray[np.float32]) -> Sequence[Told | None]:
        """What callers are told of each row beyond what is judged; None for a model of truths."""
        if self._target.task == "binary":
            return [None] * len(scores)
        if not self._target.classes:
            return [{"value": value} for value, _ in self.judged(scores)]
        names = self._target.classes
        found: list[Told] = []
        for row, k in zip(scores.tolist(), chosen(scores, self._costs).tolist(), strict=True):
            each = {name: round(p, 7) for name, p in zip(names, row, strict=True)}
            found.append({"label": names[k], "probability": each[names[k]], "probabilities": each})
        return found

    def columns(self, scores: NDArray[np.float32]) -> dict[str, pl.Series]:
        """The answers to many rows as columns; null where the score is NaN, for the row was not answered."""
        if self._target.numeric:
            return {"value": pl.Series(scores.astype(float), nan_to_null=True).round_sig_figs(7)}
        if not self._target.classes:
            probability = pl.Series(scores.astype(float), nan_to_null=True)
            return {"probability": probability.round(7), "label": probability >= self._threshold}
        places, names = chosen(scores, self._costs), pl.Series(self._target.classes)
        sure = pl.Series(scores[np.arange(len(scores)), places].astype(float), nan_to_null=True)
        category = names.gather(places).set(sure.is_null(), None)
        return {"probability": sure.round(7), "category": category}

    @property
    def target(self) -> Target:
        """What is predicted."""
        return self._target

    @property
    def schema(self) -> dict[str, object]:
        """The members of a row's answer, as JSON schema."""
        if self._target.task == "binary":
            return {"probability": _SHARE, "label": {"type": "boolean"}}
        if not self._target.classes:
            return {"value": {"type": "number"}}
        names = list(self._target.classes)
        each = {"type": "object", "properties": dict.fromkeys(names, _SHARE), "required": names}
        return {"label": {"enum": names}, "probability": _SHARE, "probabilities": each}
