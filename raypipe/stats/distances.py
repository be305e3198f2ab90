"""How far apart two samples are: 0 for the same distribution, 1 for two that share nothing."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def kolmogorov_smirnov(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The largest gap between the shares of two samples that lie at or below any one value.

    Args:
        a: shape (n,), no NaN, at least one value.
        b: shape (m,), likewise.

    Raises:
        ValueError: a sample is empty.

    >>> kolmogorov_smirnov(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    0.5
    """
    if not len(a) or not len(b):
        raise ValueError("a sample is empty")
    a, b = np.sort(a), np.sort(b)
    at = np.concatenate((a, b))
    gaps = np.searchsorted(a, at, side="right") / len(a) - np.searchsorted(b, at, side="right") / len(b)
    return float(np.abs(gaps).max())


def total_variation(a: Mapping[str | None, int], b: Mapping[str | None, int]) -> float:
    """The share of one sample that would have to move to other categories to become the other.

    Args:
        a: how often each category occurs.
        b: likewise.

    Raises:
        ValueError: a sample is empty.

    >>> total_variation({"x": 1, "y": 1}, {"x": 3, "z": 1})
    0.5
    """
    n, m = sum(a.values()), sum(b.values())
    if not n or not m:
        raise ValueError("a sample is empty")
    return sum(abs(a.get(name, 0) / n - b.get(name, 0) / m) for name in a.keys() | b.keys()) / 2
