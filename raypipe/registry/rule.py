"""When a new version takes over."""

import math


def should_promote(new: float, champion: float | None, higher_is_better: bool, margin: float = 0.0) -> bool:
    """True when a new version's metric is at least as good as the champion's, by ``margin``.

    Args:
        new: the new version's metric; one that is not a number never wins.
        champion: the champion's metric; None when there is no champion. One that is not a number always loses.
        higher_is_better: whether more of the metric is better, as of AUC, or less, as of log loss.
        margin: how much better the new version must be, in the metric's unit.

    >>> should_promote(0.75, 0.74, higher_is_better=True)
    True
    >>> should_promote(0.75, 0.74, higher_is_better=True, margin=0.02)
    False
    >>> should_promote(0.45, 0.47, higher_is_better=False), should_promote(0.45, None, higher_is_better=False)
    (True, True)
    """
    if math.isnan(new):
        return False
    if champion is None or math.isnan(champion):
        return True
    return new >= champion + margin if higher_is_better else new <= champion - margin
