"""What the kernel has to know of features: in which forms they need a value, and what is asked of it."""

from collections.abc import Sequence
from typing import Protocol


class Forms(Protocol):
    """The forms in which the features of one value need it."""

    @property
    def valued(self) -> bool:
        """There is a value; else all that counts is that an event happened."""
        ...

    @property
    def totals(self) -> bool:
        """Running totals, for sums and means."""
        ...

    @property
    def squares(self) -> bool:
        """Running totals of squares, for deviations."""
        ...

    @property
    def numbers(self) -> bool:
        """The values as doubles, for what is put in order."""
        ...

    @property
    def hashes(self) -> bool:
        """Hashes of the values, for telling them apart."""
        ...

    @property
    def kept(self) -> bool:
        """The values as they are, for first and last."""
        ...

    @property
    def is_text(self) -> bool:
        """The values as they are are texts."""
        ...

    @property
    def is_float(self) -> bool:
        """The values as they are are doubles; what is neither text nor double is a 64-bit integer."""
        ...

    @property
    def half_lives(self) -> Sequence[int]:
        """Each needs a running decayed sum; microseconds."""
        ...

    @property
    def firsts(self) -> bool:
        """The time of the key's first event, for tenure."""
        ...


class Asked(Protocol):
    """One aggregate of one value, over one or several windows."""

    @property
    def op(self) -> str:
        """Which, by the names in `raypipe.stats.kernel`."""
        ...

    @property
    def rows(self) -> Sequence[int]:
        """For each window the row of its beginning among the edges; none for aggregates without a window."""
        ...

    @property
    def rank(self) -> float | None:
        """Of a percentile."""
        ...

    @property
    def max_age(self) -> int | None:
        """Older events are not the latest any more; microseconds."""
        ...

    @property
    def half_life(self) -> int:
        """In microseconds; 0 when nothing decays."""
        ...
