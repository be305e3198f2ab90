"""The smallest retraining of a model that answers numbers: one number that is added to all answers.

What it would have spared on later rows says how stale the model is, as `raypipe.stats.recalibrate` does for
probabilities: a lower bound on what training anew would gain.
"""

from collections.abc import Sequence

import numpy as np

from raypipe.stats.recalibrate import Summed
from raypipe.stats.shift import Floats

#: Strength of the belief that answers are right as they are, in rows.
_PRIOR = 200.0
#: Cells of the gap between truth and answer, of which so many make one unit; and the last one to either side.
_CELLS, _LAST = 16, 1_000_000


def summed(gap: Floats, unit: float) -> Summed:
    """Gaps between truth and answer in little room: what `fit` needs of rows that are not at hand any more.

    Args:
        gap: truth minus answer, shape (rows,).
        unit: what is usual for a gap; cells are a sixteenth of it.

    >>> summed(np.array([2.0, 2.0, -1.0]), unit=1.0)
    [(-16, 1, 0), (32, 2, 0)]
    """
    cells = np.clip(np.rint(gap / unit * _CELLS), -_LAST, _LAST).astype(int)
    values, rows = np.unique(cells, return_counts=True)
    return [(cell, count, 0) for cell, count in zip(values.tolist(), rows.tolist(), strict=True)]


def fit(parts: Sequence[Summed], unit: float, quantile: float | None = None) -> float:
    """What is to be added to answers so that they fit what came true; 0 without rows.

    Args:
        parts: of `summed`, by the same unit.
        unit: of the cells.
        quantile: that is answered; None: the mean.

    >>> round(fit([summed(np.full(1_800, 2.0), unit=1.0)], unit=1.0), 2)
    1.8
    >>> round(fit([summed(np.arange(9_801.0), unit=100.0)], unit=100.0, quantile=0.5))
    4802
    """
    cells = np.array([cell for part in parts for cell in part], dtype=float).reshape(-1, 3)
    if not len(cells):
        return 0.0
    cells = cells[cells[:, 0].argsort()]
    gap, rows = cells[:, 0] / _CELLS * unit, cells[:, 1]
    total = float(rows.sum())
    if quantile is None:
        middle = float(gap @ rows) / total
    else:
        middle = float(gap[np.searchsorted(np.cumsum(rows), quantile * total)])
    return middle * total / (total + _PRIOR)
