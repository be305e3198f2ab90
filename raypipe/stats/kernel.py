"""The kernel: how every aggregate begins, grows, merges and is read. Training and serving both come here.

`init` makes a `tracks.Track` of the events of many keys, `update` takes some of them into a state (a `blocks.Block`),
`merge` makes one state of two, in whatever order the events came, and `finalize` reads an aggregate of what questions
see. Nothing is rounded before it is read, so that the four can be put together in any way and give the same bits; but
for decayed sums, which are rounded as they are added, and for the order of events of the same time, which is that in
which they are given.

====================  =======================  =======================  ============================================
aggregate             init                     update, merge            finalize
====================  =======================  =======================  ============================================
count                 one each                 in order of time         `windows.count`
sum, mean, std        `exact`, `squares`       running totals add up    `exact.rounded`, `means`, `deviations`
min, max, percentile  the values               in order of time         `ranges.smallest`, `kth`, `percentile.place`
approximate distinct  `distinct.of`            in order of time         `distinct.counts`
first, last           times and values         in order of time         `windows.first`, `latest.last`
since, tenure         times                    the earlier first time   `latest.since`, `latest.tenure`
decayed               the values, ones         `decay.faded`, added     `latest.decayed`
====================  =======================  =======================  ============================================

Three more forms of the same answers: `tiles` (many events added up before they are sent), `runs` (histories in which
events are missing) and `one` (one range in plain numbers). What a state no longer needs, `trim` takes off.
"""

import numpy as np

from raypipe.stats import decay, distinct, windows
from raypipe.stats import latest as without_window
from raypipe.stats.arrays import Floats, Ints, Values
from raypipe.stats.blocks import Block, Shared, block, merged
from raypipe.stats.exact import exact, squares
from raypipe.stats.forms import Asked, Forms
from raypipe.stats.tracks import Answer, Track, View, there

#: What an empty history says of these; of all others, nothing.
EMPTY: dict[str, float | int] = {"count": 0, "distinct": 0, "sum": 0.0, "decayed_sum": 0.0, "decayed_count": 0.0}


def init(
    forms: Forms, starts: Ints, times: Ints, doubles: Floats | None, kept: Values | None, known: Ints | None = None
) -> Track:
    """The events of many keys, as aggregates are computed from them.

    Args:
        forms: in which the value is needed.
        starts: shape (keys + 1,); the events of key i lie in ``[starts[i], starts[i + 1])``.
        times: of the events that have the value, sorted by key, then time; microseconds.
        doubles: the values, if they are numbers; no NaN.
        kept: the values as doubles, 64-bit integers or texts, where ``forms`` has them hashed or kept.
        known: when each event was known; None: in the order in which they happen.
    """
    finite, infinite = doubles, None
    if doubles is not None and np.isinf(doubles).any():
        finite = np.where(np.isinf(doubles), 0.0, doubles)
        signs = np.stack([doubles == np.inf, doubles == -np.inf])
        infinite = np.concatenate([np.zeros((2, 1), np.int64), np.cumsum(signs, axis=1)], axis=1)
    fading, weighed = {}, None
    if forms.half_lives:
        weighed = decay.scaled(np.stack([*([] if finite is None else [finite]), np.ones(len(times))]))
        fading = {h: decay.running(weighed, times, starts, h) for h in forms.half_lives}
    return Track(
        starts=starts,
        times=times,
        totals=exact(there(finite)).running() if forms.totals else None,
        squares=squares(there(finite)).running() if forms.squares else None,
        infinite=infinite,
        numbers=doubles if forms.numbers else None,
        hashes=distinct.of(there(kept)) if forms.hashes else None,
        kept=kept if forms.kept else None,
        decayed={h: rows[0] for h, rows in fading.items() if finite is not None},
        decayed_counts={h: rows[-1] for h, rows in fading.items()},
        firsts=np.repeat(np.append(times, 0)[starts[:-1]], np.diff(starts)) if forms.firsts else None,
        weighed=None if weighed is None else dict.fromkeys(forms.half_lives, weighed),
        known=known,
    )


def nobody(forms: Forms) -> Track:
    """The track of no key at all."""
    none, nothing = np.zeros(0, np.int64), np.zeros(0)
    kept = np.zeros(0, object) if forms.is_text else nothing if forms.is_float else none
    return init(forms, np.zeros(1, np.int64), none, nothing if forms.valued else None, kept)


def update(state: Block | None, forms: Forms, track: Track, lows: Ints, highs: Ints, shared: Shared) -> Block:
    """A state with more events in it.

    Args:
        state: of some entities; None: nothing is known of them yet.
        forms: in which the value is needed.
        track: the events of all keys.
        lows: for each of the entities the place of its first new event.
        highs: the place behind its last.
        shared: of all tracks of the group.
    """
    new = block(forms, track, lows, highs, shared)
    return new if state is None else merge(state, new, shared)


def merge(old: Block, new: Block, shared: Shared) -> Block:
    """One state of two of the same entities; events of the same time in the order of the two."""
    return merged(old, new, shared)


def finalize(asked: Asked, track: Track, view: View) -> list[Answer]:
    """One aggregate for each question: through each of its windows, or once where it has none."""
    many = len(asked.rows)
    if not many:
        return [without_window.latest(asked, track, view)]
    if many == 1:
        return [windows.windowed(asked.op, asked.rank, track, view.lows[asked.rows[0]], view.end)]
    low, high = np.concatenate([view.lows[row] for row in asked.rows]), np.concatenate([view.end] * many)
    whole = windows.windowed(asked.op, asked.rank, track, low, high)
    size = len(view.end)
    cuts = [slice(i * size, (i + 1) * size) for i in range(many)]
    return [Answer(whole.values[cut], None if whole.missing is None else whole.missing[cut]) for cut in cuts]


def unsigned(values: Floats) -> Floats:
    """The same with one zero: which of two zeros is the smaller is told one way by NumPy, another by Python."""
    positive: Floats = values + 0.0
    return positive
