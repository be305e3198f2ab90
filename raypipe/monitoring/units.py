"""Does a column come in another unit? Its values then look like those of the reference, turned from one into another.

Counts do not tell: what was multiplied by 1,000 lies above all cells, wherever it lies there.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from raypipe.stats.shift import Floats

#: Fewer values, or fewer different ones, may look like anything.
_LEAST, _DIFFERENT = 50, 10
#: From so far (Kolmogorov-Smirnov) a conversion must bring the values to so near, beyond what chance does.
_FAR, _NEAR = 0.15, 0.03
#: Two samples of the same values are farther from each other than this times the root of ``1/m + 1/n`` once in 1,000.
_CHANCE = 1.95
#: The spread of the middle half must be that of the conversion, up to this part.
_SPREAD = 0.15


class Conversion(NamedTuple):
    """From one unit into another: ``times`` and then ``plus``."""

    words: str
    times: float
    plus: float = 0.0

    @property
    def shown(self) -> str:
        """What was done to the values.

        >>> Conversion("inches to millimetres", 25.4).shown
        'times 25.4, as from inches to millimetres'
        """
        plus = f" {'plus' if self.plus > 0 else 'minus'} {abs(self.plus):g}" if self.plus else ""
        times = f"times {self.times:,g}" if self.times >= 1 else f"divided by {1 / self.times:,g}"
        return f"{times}{plus}, as from {self.words}"


def _both(one: str, other: str, times: float, plus: float = 0.0) -> tuple[Conversion, Conversion]:
    return (
        Conversion(f"{one} to {other}", times, plus),
        Conversion(f"{other} to {one}", 1 / times, -plus / times),
    )


CONVERSIONS = (
    *_both("kilometres", "metres", 1_000),
    *_both("shares", "per cent", 100),
    *_both("seconds", "microseconds", 1e6),
    *_both("centimetres", "millimetres", 10),
    *_both("minutes", "seconds", 60),
    *_both("hours", "seconds", 3_600),
    *_both("days", "hours", 24),
    *_both("inches", "millimetres", 25.4),
    *_both("inches", "centimetres", 2.54),
    *_both("metres", "feet", 1 / 0.3048),
    *_both("miles", "kilometres", 1.609344),
    *_both("kilograms", "pounds", 1 / 0.45359237),
    *_both("knots", "kilometres an hour", 1.852),
    *_both("metres a second", "kilometres an hour", 3.6),
    *_both("inches of mercury", "hectopascals", 33.8639),
    *_both("Celsius", "Fahrenheit", 1.8, 32.0),
    *_both("Celsius", "Kelvin", 1.0, 273.15),
)


def converted(before: NDArray[np.float32], after: NDArray[np.float32]) -> Conversion | None:
    """The conversion that makes values of before those of after, if they are far apart and one makes them alike.

    Args:
        before: values of one column, NaN where missing; shape (rows,).
        after: likewise, of other rows.

    >>> miles = np.random.default_rng(0).gamma(2.0, 100.0, 2_000).astype(np.float32)
    >>> converted(miles[:1_000], miles[1_000:] * 1.609).words
    'miles to kilometres'
    """
    old, new = (np.sort(side[np.isfinite(side)].astype(float)) for side in (before, after))
    if min(len(old), len(new)) < _LEAST or min(len(np.unique(old)), len(np.unique(new))) < _DIFFERENT:
        return None
    far = _distance(old, new)
    if far < _FAR or (_is_share(old) and _is_share(new)):
        return None
    near, found = min((_distance(old * one.times + one.plus, new), one) for one in CONVERSIONS)
    chance = _CHANCE * (1 / len(old) + 1 / len(new)) ** 0.5
    spread = _middle(new) / (_middle(old) * found.times or np.inf)
    return found if near <= min(_NEAR + chance, far / 3) and abs(spread - 1) <= _SPREAD else None


def _is_share(ordered: Floats) -> bool:
    """A share stays one: in another unit, per cent, it would leave 0 to 1."""
    return bool(ordered[0] >= 0 and ordered[-1] <= 1)


def _middle(ordered: Floats) -> float:
    return float(ordered[len(ordered) * 3 // 4] - ordered[len(ordered) // 4])


def _distance(one: Floats, other: Floats) -> float:
    """Kolmogorov-Smirnov of two sorted samples."""
    places = np.concatenate([one, other])
    shares = [np.searchsorted(side, places, side="right") / len(side) for side in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())
