"""Questions about stored entities that are asked before all that is stored was known: answered as over history."""

from collections.abc import Mapping, Sequence

import numpy as np

from raypipe.features import late, state
from raypipe.features.layout import head_of
from raypipe.features.plan import GroupPlan
from raypipe.stats.arrays import Ints
from raypipe.stats.blocks import Block, Shared
from raypipe.stats.stored import events as stored_events
from raypipe.stats.tracks import Answer, Track, together


def answers(
    plan: GroupPlan, stored: Mapping[bytes, bytes], column: Sequence[bytes | None], asked: Ints
) -> list[Answer]:
    """The features of a group whose events become known in another order than they happen.

    Args:
        plan: the compiled group.
        stored: what is stored of each entity.
        column: for each question the key of its entity.
        asked: when each is asked.
    """
    heads: dict[bytes, list[bytes]] = {}
    for key in stored:
        heads.setdefault(head_of(stored[key]), []).append(key)
    parts = []
    for head, alike in heads.items():
        tracks = tracks_of(plan, state.blocks_of(plan, head, [stored[key] for key in alike]))
        places = {key: place for place, key in enumerate(alike)}
        numbers = np.array([-1 if key is None else places.get(key, -1) for key in column], np.int64)
        here = np.flatnonzero(numbers >= 0)
        parts.append((here, late.as_then(plan, tracks, numbers[here], asked[here])))
    return [together([(here, found[i]) for here, found in parts]) for i in range(len(plan.features))]


def tracks_of(plan: GroupPlan, blocks: Sequence[Block]) -> list[Track]:
    """Stored events as the kernel has them from history."""
    shared = Shared()
    return [stored_events(shape, block, shared) for shape, block in zip(plan.tracks, blocks, strict=True)]
