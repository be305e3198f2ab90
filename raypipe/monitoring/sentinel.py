"""Has a column a value that stands for none, such as -999? It takes a large share, and was hardly there before.

Counts do not tell: a value below all cells may be any, and a column that counts days leaves its range every day.
"""

import numpy as np
from numpy.typing import NDArray

from raypipe.stats.distances import kolmogorov_smirnov

#: Fewer values, or fewer different ones, may look like anything.
_LEAST, _DIFFERENT = 50, 10
#: So large a share is no chance, where it was less than that.
_SHARE, _HARDLY = 0.2, 0.01
#: The other values must be as they were, up to so much (Kolmogorov-Smirnov) beyond what chance does once in 1,000.
_NEAR, _CHANCE = 0.03, 1.95


def sentinel(before: NDArray[np.float32], after: NDArray[np.float32]) -> float | None:
    """The value that stands for none, if there is one: all others are as before, or it is far from all there was.

    Args:
        before: values of one number, NaN where missing; shape (rows,).
        after: likewise, of other rows.

    >>> values = np.random.default_rng(0).normal(size=2_000).astype(np.float32)
    >>> sentinel(values[:1_000], np.where(np.arange(1_000) % 3 == 0, -999, values[1_000:]).astype(np.float32))
    -999.0
    """
    old, new = (np.sort(side[np.isfinite(side)].astype(float)) for side in (before, after))
    if min(len(old), len(new)) < _LEAST or len(np.unique(old)) < _DIFFERENT:
        return None
    values, often = np.unique(new, return_counts=True)
    value, share = float(values[often.argmax()]), float(often.max()) / len(new)
    if share < _SHARE or np.mean(old == value) >= _HARDLY:
        return None
    width, rest = old[-1] - old[0], new[new != value]
    far = not old[0] - width <= value <= old[-1] + width
    alike = (
        len(rest) >= _LEAST and kolmogorov_smirnov(old, rest) <= _NEAR + _CHANCE * (1 / len(old) + 1 / len(rest)) ** 0.5
    )
    return value if far or alike else None
