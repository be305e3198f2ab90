"""Broken data looks like drift, and must not be learned from: the faults that can be told from counts alone.

Values beyond all that the reference had are none of them: a column that counts days leaves its range every day.
"""

import numpy as np

from raypipe.contracts.watched import Watched
from raypipe.stats.bins import ABOVE, CELLS, FIRST, MISSING, UNSEEN
from raypipe.stats.exact import Ints

#: So large a share of gaps or of unseen values, more than there was, is no change of the world.
_JUMP = 0.2
#: Fewer rows say nothing.
_LEAST = 50


def breaks(window: Ints, watched: Watched) -> tuple[str, ...]:
    """What looks broken in the newest tick, in words; the worst first.

    Args:
        window: counts of the tick, shape (columns, cells).
        watched: what it is compared with.
    """
    found: list[tuple[float, str]] = []
    rows, known = int(window[-1].sum()), int(watched.counts[-1].sum())
    if rows < _LEAST or not known:
        return ()
    now, before = window / rows, watched.counts / known
    for i, name in enumerate(watched.names):
        for cell, word in ((MISSING, "missing"), (UNSEEN, "never seen before")):
            share, usual = float(now[i, cell]), float(before[i, cell])
            if share - usual >= _JUMP:
                found.append((share - usual, f"{name}: {share:.0%} {word}, {usual:.0%} in the reference"))
        own, own_before = window[i, FIRST:ABOVE], watched.counts[i, FIRST:ABOVE]
        if own.sum() == rows and np.count_nonzero(own) == 1 and (own_before > 0).sum() > 1:
            share = float(own_before[int(own.argmax())] / own_before.sum())
            # A binary flag may well be the same all day; a column of many values may not.
            if share < 1 - _JUMP and (own_before > 0).sum() > CELLS // 20:
                found.append((1 - share, f"{name}: the same value in all {rows:,} rows"))
    return tuple(text for _, text in sorted(found, key=lambda item: -item[0]))
