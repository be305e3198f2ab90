"""Broken data looks like drift, and must not be learned from: the faults that can be told from counts alone.

Values beyond all that the reference had are none of them: a column that counts days leaves its range every day. What
follows from the moment of asking alone may have any value, and the same one all day; only gaps are no moment.
"""

from collections.abc import Iterator

import numpy as np

from raypipe.contracts.watched import Watched
from raypipe.monitoring.usual import Usual
from raypipe.stats.arrays import Ints
from raypipe.stats.bins import ABOVE, CELLS, FIRST, MISSING, UNSEEN
from raypipe.stats.shift import Floats

#: So large a share of gaps or of unseen values, more than there was, is no change of the world.
_JUMP = 0.2
#: Fewer rows say nothing.
_LEAST = 50
#: Of a column with more different values than that they are never all the same; a flag may well be so all day.
_MANY = CELLS // 20
#: One of fewer values is not stuck if it has less than three, or was ever nearly so before.
_FEW, _NEARLY = 3, 0.9
_WORDS = ((MISSING, "missing"), (UNSEEN, "never seen before"))


def breaks(window: Ints, watched: Watched, usual: Usual) -> tuple[str, ...]:
    """What looks broken in the newest tick, in words; the worst first.

    Args:
        window: counts of the tick, shape (columns, cells).
        watched: what it is compared with.
        usual: what was seen before; what is seen now is added to it.
    """
    found: list[tuple[float, str]] = []
    rows, known = int(window[-1].sum()), int(watched.counts[-1].sum())
    if rows < _LEAST or not known:
        return ()
    now, before = window / rows, watched.counts / known
    for i, name in enumerate(watched.names):
        for cell, word in _WORDS[:1] if name in watched.clock else _WORDS:
            share, share_before = float(now[i, cell]), float(before[i, cell])
            if share - share_before >= _JUMP:
                found.append((share - share_before, f"{name}: {share:.0%} {word}, {share_before:.0%} in the reference"))
    stuck = {i: worse for i, worse in _stuck(now, before, usual) if watched.names[i] not in watched.clock}
    found += [(worse, f"{watched.names[i]}: the same value in all {rows:,} rows") for i, worse in stuck.items()]
    usual.see(window, set(stuck))
    return tuple(text for _, text in sorted(found, key=lambda item: -item[0]))


def _stuck(now: Floats, before: Floats, usual: Usual) -> Iterator[tuple[int, float]]:
    """Columns that have one value in all rows and should have several, with the share that others had of them.

    Args:
        now: shares of the tick, shape (columns, cells).
        before: of the reference.
        usual: a column that is the same for a while, and then another, is a calendar; one that was nearly so in a night
            may be so in another.
    """
    own, own_before = now[:, FIRST:ABOVE], before[:, FIRST:ABOVE]
    cells = own.argmax(axis=1)
    for i in np.flatnonzero(own.max(axis=1) == 1).tolist():
        cell, usually = int(cells[i]), own_before[i]
        others = 1 - float(usually[cell]) / (float(usually.sum()) or 1.0)
        if others <= _JUMP or _is_slow(i, cell, usual):
            continue
        few = int(np.count_nonzero(usually >= 0.01)) >= _FEW and usual.acquainted
        if np.count_nonzero(usually) > _MANY or (few and usual.largest[i] < _NEARLY):
            yield i, others


def _is_slow(i: int, cell: int, usual: Usual) -> bool:
    return i in usual.slow or (bool(usual.held) and usual.held[i] not in (-1, cell))
