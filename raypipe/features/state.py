"""The stored state of one entity in one group: the rows of its tracks behind one another, ready to be read.

Everything is in 8-byte slots: the version; the length of the layout, and the layout; for each lot of tracks that have
the same events the number of its events; then for each lot its times, when each was known if that is another order, and
the rows of its tracks, each one slot longer than events; last the bytes of texts, padded.

`layout.py` says what the layout is, `packing.py` writes the values.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.features.layout import SLOT, Layout, Rows, begins_of, parsed, require_version, spots_of, stretches
from raypipe.features.plan import GroupPlan
from raypipe.stats import kernel
from raypipe.stats.arrays import Floats, Hashes, Ints
from raypipe.stats.blocks import NEVER, Block, Slots
from raypipe.stats.tracks import Track


@dataclass(frozen=True, slots=True)
class Stored:
    """The state of one entity, as read.

    Attributes:
        layout: what it holds.
        value: all of it; ``ints`` and ``doubles`` are its slots as the one and as the other.
        begins: for each lot the slot in which its matrix begins, whose first row is the times.
        widths: how many events and one each has.
        texts: for each track with texts the byte in which they begin.
        settled: from when on all of it was known.
        memo: what was said before of long ranges: by what, from which slot, to which.
        order: what `known` said of each lot.
        said: what was last said of all windows, by where they began and ended.
    """

    layout: Layout
    value: bytes
    ints: "memoryview[int]"
    doubles: "memoryview[float]"
    begins: tuple[int, ...]
    widths: tuple[int, ...]
    texts: tuple[int, ...]
    settled: int
    memo: dict[tuple[tuple[str, float | None], int, int], float] = field(default_factory=dict)
    order: dict[int, tuple["memoryview[int]", "memoryview[int]"]] = field(default_factory=dict)
    said: dict[tuple[tuple[int, ...], ...], list[float | int | str | None]] = field(default_factory=dict)

    def floats(self, low: int, end: int) -> Floats:
        """Some slots as doubles."""
        return np.frombuffer(self.value, np.float64, end - low, SLOT * low)

    def hashes(self, low: int, end: int) -> Hashes:
        """Some slots as hashes."""
        return np.frombuffer(self.value, np.uint64, end - low, SLOT * low)

    def known(self, lot: int) -> tuple["memoryview[int]", "memoryview[int]"]:
        """From when on each event or a later one was known, and from when on it and all before it were."""
        if lot not in self.order:
            begin, width = self.begins[lot], self.widths[lot]
            rows = np.frombuffer(self.value, np.int64, 2 * width, SLOT * begin).reshape(2, width)[:, :-1].max(axis=0)
            first = np.minimum.accumulate(rows[::-1])[::-1].copy()
            self.order[lot] = first.data, np.maximum.accumulate(rows).data
        return self.order[lot]


def read(plan: GroupPlan, value: bytes, known: dict[bytes, Layout]) -> Stored:
    """One stored value.

    Args:
        plan: the compiled group.
        value: what `pack` gave.
        known: the layouts of this group that were met before; new ones are put there.

    Raises:
        FeatureError: it was written by another version.
    """
    require_version(value)
    ints = memoryview(value).cast("q")
    at = 2 + ints[1]
    head = value[: SLOT * at]
    layout = known.get(head) or known.setdefault(head, parsed(plan, head))
    widths = tuple(size + 1 for size in ints[at : at + len(layout.lots)])
    at += len(widths)
    begins: list[int] = []
    for width, height in zip(widths, layout.lots.values(), strict=True):
        begins.append(at)
        at += width * height
    texts: list[int] = []
    for lot, row in layout.begins_of_texts:
        texts.append(SLOT * at)
        at += -(-ints[begins[lot] + (row + 1) * widths[lot] - 1] // SLOT)
    # The last slot of the second row tells it, of events that are known in another order than they happen.
    lasts = (ints[begin + 2 * width - 1] for begin, width in zip(begins, widths, strict=True)) if plan.late else ()
    settled = max(lasts, default=NEVER)
    return Stored(layout, value, ints, memoryview(value).cast("d"), tuple(begins), widths, tuple(texts), settled)


@dataclass(frozen=True)
class Matrices:
    """Entities that are laid out alike, side by side.

    Attributes:
        rows: for each lot its matrix.
        starts: for each lot the slots in which the entities begin, and where the last one ends.
        texts: for each track with texts their bytes, and how many of them each entity has; None for other tracks.
    """

    rows: dict[int, Ints]
    starts: dict[int, Ints]
    texts: list[tuple[NDArray[np.uint8], Ints] | None]


def matrices_of(layout: Layout, values: Sequence[bytes]) -> Matrices:
    """The values of some entities with this layout, in their order; no entity is looked at by itself."""
    whole = np.frombuffer(b"".join(values), np.int64)
    ends = np.cumsum([len(value) // SLOT for value in values])
    at = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) + len(layout.head) // SLOT
    sizes = [whole[at + i] + 1 for i in range(len(layout.lots))]
    at = at + len(sizes)
    found = Matrices({}, {}, [])
    for (lot, height), widths in zip(layout.lots.items(), sizes, strict=True):
        found.rows[lot], found.starts[lot] = _rows_in(whole, at, widths, height), begins_of(widths)
        at = at + widths * height
    for rows in layout.tracks:
        if not rows.text:
            found.texts.append(None)
            continue
        lengths = found.rows[rows.lot][rows.begins_of_texts][found.starts[rows.lot][1:] - 1]
        found.texts.append((stretches(whole.view(np.uint8), at * SLOT, lengths), lengths))
        at = at + -(-lengths // SLOT)
    return found


def blocks_of(plan: GroupPlan, head: bytes, values: Sequence[bytes]) -> list[Block]:
    """The tracks of entities whose values begin alike, in their order.

    Args:
        plan: the compiled group.
        head: what every value begins with.
        values: what `pack` gave.

    Raises:
        FeatureError: they were written by another version.
    """
    require_version(head)
    layout = parsed(plan, head)
    whole = matrices_of(layout, values)
    slots = {
        lot: Slots(whole.starts[lot], matrix[0], matrix[1] if plan.late else None) for lot, matrix in whole.rows.items()
    }
    found = []
    for rows, texts in zip(layout.tracks, whole.texts, strict=True):
        matrix, mine = whole.rows[rows.lot], slots[rows.lot]
        said = None if texts is None else _texts(matrix[rows.begins_of_texts], mine, *texts)
        found.append(track_block(rows, matrix, mine, said))
    return found


def _rows_in(whole: Ints, begins: Ints, widths: Ints, height: int) -> Ints:
    """Matrices side by side, each of which lies row by row from its beginning on."""
    spots, step = spots_of(begins, widths), np.repeat(widths, widths)
    found = np.empty((height, len(spots)), np.int64)
    for row in found:
        np.take(whole, spots, out=row)
        spots += step
    return found


def track_block(rows: Rows, matrix: Ints, slots: Slots, texts: pa.LargeStringArray | None = None) -> Block:
    """One track out of the matrix of its lot."""
    a = rows.first
    b = a + rows.running
    c = rows.fading
    d = c + len(rows.half_lives)
    return Block(
        slots=slots,
        totals=rows.totals,
        squares=rows.squares,
        infinite=rows.infinite,
        running=matrix[a:b],
        plain=matrix[b : b + rows.plain],
        fading=matrix[c:d].view(np.float64),
        weighed=matrix[d : rows.first_times].view(np.float64),
        half_lives=rows.half_lives,
        firsts=matrix[rows.first_times : rows.end],
        texts=texts,
    )


def _texts(begins: Ints, slots: Slots, data: NDArray[np.uint8], lengths: Ints) -> pa.LargeStringArray:
    bases = begins_of(lengths)
    offsets = np.append(begins + np.repeat(bases[:-1], np.diff(slots.starts)), bases[-1])
    return pa.Array.from_buffers(
        pa.large_string(), len(begins), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))]
    )


def nobody(plan: GroupPlan) -> list[Track]:
    """The tracks of no entity at all."""
    return [kernel.nobody(shape) for shape in plan.tracks]
