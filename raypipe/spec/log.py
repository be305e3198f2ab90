"""What a service keeps of the predictions that it answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from raypipe.spec.values import place

LogMode = Literal["fast", "strict"]


@dataclass(frozen=True)
class Log:
    """What is kept of every answered prediction, and when it is safe.

    Args:
        fields: the request fields that may be kept; None: all.
        features: the features that may be kept; None: all.
        hashed: of those, the ones that are kept as keyed hashes: the same value has the same hash, and whoever lacks
            the workspace's key cannot tell the value. Name each feature that gives such a field away, too.
        mode: ``fast``: an answered prediction outlives the process that answered it; a machine that loses its power
            may lose those of its last second. ``strict``: it is on the disk before the answer is sent.

    >>> Log(fields=["origin"], mode="strict").fields
    ('origin',)
    """

    fields: Sequence[str] | None = None
    features: Sequence[str] | None = None
    hashed: Sequence[str] = ()
    mode: LogMode = "fast"
    where: str = place()

    def __post_init__(self) -> None:
        for name in ("fields", "features", "hashed"):
            names = getattr(self, name)
            object.__setattr__(self, name, None if names is None else tuple(names))
