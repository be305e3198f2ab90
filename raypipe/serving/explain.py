"""Why a score is what it is: what each feature adds to the log odds, from a base up to the score.

Trees of LightGBM are told exactly, by TreeSHAP (Lundberg et al., 2020, doi:10.1038/s42256-019-0138-9), as LightGBM
computes it. For every other model Shapley values are sampled (Štrumbelj and Kononenko, 2014,
doi:10.1007/s10115-013-0679-x): features take their values one after the other, in random orders and their reverses,
starting from golden rows. The contributions of a row always add up to its score; with a model that adds its features up
they are exact too.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from raypipe.serving.model import Model

NATIVE = "model.txt"
#: From so many golden rows sampling starts; each in one random order and its reverse.
STARTS = 16
_EDGE = 1e-7

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What makes up one score.

    Attributes:
        method: ``tree-shap`` or ``sampled-shapley``.
        base: log odds before any feature is known.
        contributions: by feature, in log odds; with the base they add up to the log odds of the score.
    """

    method: str
    base: float
    contributions: dict[str, float]


class Explainer(Protocol):
    """Explains rows of a model's matrix."""

    def __call__(self, matrix: NDArray[np.float32]) -> list[Explanation]:
        """One explanation a row."""
        ...


def explainer(model: Model) -> Explainer:
    """The best way to explain a model; loads what it needs."""
    native = Path(model.served.folder) / NATIVE
    return _Trees(model, native) if model.card.algorithm == "lightgbm" and native.is_file() else _Sampled(model)


class _Trees:
    def __init__(self, model: Model, native: Path) -> None:
        import lightgbm

        self._names = _names(model)
        # The file belongs to the bundle, every byte of which was compared; it is text and runs nothing.
        self._booster = lightgbm.Booster(model_file=str(native))

    def __call__(self, matrix: NDArray[np.float32]) -> list[Explanation]:
        found = np.asarray(self._booster.predict(matrix, pred_contrib=True, num_threads=1))
        return [_explanation("tree-shap", self._names, row[:-1], row[-1]) for row in found]


class _Sampled:
    def __init__(self, model: Model) -> None:
        self._model, self._names = model, _names(model)
        rows = model.encode(model.golden)
        self._starts = rows[np.linspace(0, len(rows) - 1, min(STARTS, len(rows))).astype(int)]

    def __call__(self, matrix: NDArray[np.float32]) -> list[Explanation]:
        return [self._explain(row) for row in matrix]

    def _explain(self, row: NDArray[np.float32]) -> Explanation:
        count, rng = len(row), np.random.default_rng(0)
        orders = [order for _ in self._starts for one in (rng.permutation(count),) for order in (one, one[::-1])]
        starts = np.repeat(self._starts, 2, axis=0)
        # Path after path: a start, then one feature more of the row at each step.
        paths = np.repeat(starts[:, None, :], count + 1, axis=1)
        for path, order in zip(paths, orders, strict=True):
            for step, feature in enumerate(order, 1):
                path[step:, feature] = row[feature]
        odds = _log_odds(self._model.score(paths.reshape(-1, count))).reshape(len(paths), count + 1)
        added = np.zeros((len(paths), count))
        for place, (steps, order) in enumerate(zip(np.diff(odds, axis=1), orders, strict=True)):
            added[place, order] = steps
        return _explanation("sampled-shapley", self._names, added.mean(axis=0), odds[:, 0].mean())


def _names(model: Model) -> list[str]:
    return [column.name for column in model.signature.columns]


def _log_odds(scores: NDArray[np.float32]) -> Floats:
    sure = np.clip(scores.astype(np.float64), _EDGE, 1 - _EDGE)
    odds: Floats = np.log(sure / (1 - sure))
    return odds


def _explanation(method: str, names: list[str], added: Floats, base: float) -> Explanation:
    return Explanation(method, float(base), dict(zip(names, added.tolist(), strict=True)))
