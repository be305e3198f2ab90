"""One question about one entity, straight from its stored bytes: the kernel's answers to the bit, without arrays.

For a single row, making an array takes longer than the work on it. Here Python's own integers and doubles give the same
answers, and of what is stored only the few numbers are touched that the question needs.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import TypeAlias

from raypipe.features.layout import Layout, Rows
from raypipe.features.plan import Batch, GroupPlan, TrackPlan
from raypipe.features.state import Stored
from raypipe.stats import kernel, one

#: A feature's value: times and truth values are integers; None where there is nothing.
Value: TypeAlias = float | int | str | None
#: Longer ranges are left to NumPy, and what was found in them is remembered.
LONG = 48


class Look:
    """What one question sees of the tracks of one entity that have the same events.

    Attributes:
        stored: the entity.
        lot: which tracks these are.
        at: the place of the first time; row r of the matrix begins ``r * width`` places further.
        width: of the matrix.
        asked: when.
        end: where every window ends.
        latest: the place of the latest event; -1 when there is none.
        lows: where each window begins, by its row among the group's edges; 0 for windows of other tracks.
        sums: of what was added up before.
    """

    __slots__ = ("asked", "at", "end", "latest", "lot", "lows", "stored", "sums", "width")

    def __init__(self, stored: Stored, lot: int, asked: int, edges: Sequence[int], rows: Sequence[int]) -> None:
        times, at, width = stored.ints, stored.begins[lot], stored.widths[lot]
        self.stored, self.lot, self.asked, self.at, self.width = stored, lot, asked, at, width
        last = at + width - 1
        # Of the present one mostly asks: all that is stored has happened then, and most of it lies in a long window.
        end = last if width == 1 or times[last - 1] < edges[0] else bisect_left(times, edges[0], at, last)
        self.end = end - at
        self.latest = (end if end == last else bisect_left(times, edges[1], end, last)) - at - 1
        self.lows = lows = [0] * len(edges)
        if width > 1:
            first = times[at]
            for row in rows:
                if first < edges[row]:
                    lows[row] = bisect_left(times, edges[row], at, end) - at
        self.sums: dict[tuple[int, int], int] = {}

    def leave_off(self) -> bool:
        """See nothing behind the last event that was known when it was asked; whether all before it were known, too."""
        reached, all_known = self.stored.known(self.lot)
        many = bisect_right(reached, self.asked)
        self.end, self.latest = min(self.end, many), min(self.latest, many - 1)
        self.lows = [min(low, self.end) for low in self.lows]
        return self.latest < 0 or all_known[self.latest] <= self.asked

    def span(self, row: int, window: int) -> tuple[int, int]:
        """Where the values of a row in a window lie."""
        begin = self.at + row * self.width
        return begin + self.lows[window], begin + self.end


_Reader: TypeAlias = Callable[[Look], Value]


class Program:
    """How the features of a group are read from entities that are laid out alike.

    Args:
        plan: the compiled group.
        layout: of the entities.
    """

    def __init__(self, plan: GroupPlan, layout: Layout) -> None:
        self._edges = plan.edges_of_one
        lots, texts = list(layout.lots), [i for i, rows in enumerate(layout.tracks) if rows.text]
        made: dict[int, tuple[int, _Reader]] = {}
        for batch in plan.batches:
            rows = layout.tracks[batch.track]
            text = texts.index(batch.track) if rows.text else 0
            for feature, reader in zip(
                batch.features, _readers(batch, plan.tracks[batch.track], rows, text), strict=True
            ):
                made[feature] = lots.index(rows.lot), reader
        used: list[set[int]] = [set() for _ in lots]
        for batch in plan.batches:
            used[lots.index(layout.tracks[batch.track].lot)].update(batch.rows)
        self._lots = [(lot, sorted(rows)) for lot, rows in enumerate(used)]
        windowed = {feature for batch in plan.batches if batch.rows for feature in batch.features}
        self._many = len(made)
        self._windowed = [(i, *made[i]) for i in range(len(made)) if i in windowed]
        self._others = [(i, *made[i]) for i in range(len(made)) if i not in windowed]

    def __call__(self, stored: Stored, asked: int) -> list[Value] | None:
        """The features at a time, in the order declared; None: events before others that were known were not yet."""
        edges = self._edges(asked)
        looks = [Look(stored, lot, asked, edges, rows) for lot, rows in self._lots]
        if asked < stored.settled and not all(look.leave_off() for look in looks):
            return None
        # Until an event enters or leaves a window, all of them hold what they held.
        places = tuple([(look.end, *look.lows) for look in looks])
        if (found := stored.said.get(places)) is None:
            stored.said.clear()
            found = stored.said[places] = [None] * self._many
            for i, lot, reader in self._windowed:
                found[i] = reader(looks[lot])
        values = found.copy()
        for i, lot, reader in self._others:
            values[i] = reader(looks[lot])
        return values


def nobody(plan: GroupPlan) -> list[Value]:
    """The features of an entity without any history."""
    return [kernel.EMPTY.get(feature.op) for feature in plan.features]


def _readers(batch: Batch, shape: TrackPlan, rows: Rows, text: int) -> list[_Reader]:
    if batch.rows:
        return [_windowed(batch, shape, rows, text, window) for window in batch.rows]
    if batch.op == "last":
        return [_last(_kept(shape, rows, text), batch.max_age)]
    if batch.op == "tenure":
        return [_tenure(rows.first_times)]
    return [_since(batch.max_age) if batch.op == "since" else _decayed(batch, shape, rows)]


def _windowed(batch: Batch, shape: TrackPlan, rows: Rows, text: int, window: int) -> _Reader:
    numbers = rows.first + rows.running
    totals = _Sums(rows.first, rows.totals)
    match batch.op:
        case "count":
            return lambda look: look.end - look.lows[window]
        case "sum":
            return _with_infinities(rows, window, lambda look: one.total(totals(look, window), totals.limbs.unit))
        case "mean":
            return _with_infinities(rows, window, _mean(totals, window))
        case "std":
            return _deviation(totals, _Sums(rows.first + len(rows.totals), rows.squares), rows, window)
        case "first":
            kept = _kept(shape, rows, text)
            return lambda look: kept(look, low) if (low := look.lows[window]) < look.end else None
        case "last":
            kept = _kept(shape, rows, text)
            return lambda look: kept(look, look.end - 1) if look.lows[window] < look.end else None
        case "distinct":
            return _different(numbers + shape.numbers, window)
        case _:
            return _ordered(batch, numbers, window)


class _Sums:
    """The exact sum over a window from the rows of its running totals."""

    def __init__(self, first: int, places: Sequence[int]) -> None:
        self.limbs = one.Limbs(places)
        self._first, self._rows = first, range(first, first + len(places))

    def __call__(self, look: Look, window: int) -> int:
        found = look.sums.get((self._first, window))
        if found is None:
            ints = look.stored.ints
            spans = [look.span(row, window) for row in self._rows]
            found = self.limbs.joined([ints[end] - ints[low] for low, end in spans])
            look.sums[self._first, window] = found
        return found


def _mean(totals: _Sums, window: int) -> _Reader:
    def read(look: Look) -> Value:
        return one.mean(totals(look, window), totals.limbs.unit, look.end - look.lows[window])

    return read


def _deviation(totals: _Sums, squares: _Sums, rows: Rows, window: int) -> _Reader:
    deviation = one.Deviation(totals.limbs, squares.limbs)

    def read(look: Look) -> Value:
        if _signs(look, rows, window) != (False, False):
            return None
        return deviation(totals(look, window), squares(look, window), look.end - look.lows[window])

    return read


def _with_infinities(rows: Rows, window: int, finite: _Reader) -> _Reader:
    """Infinite, or nothing if both signs occur, where infinities are in the window; row 0 begins with the history."""
    if not rows.infinite:
        return finite

    def read(look: Look) -> Value:
        plus, minus = _signs(look, rows, window)
        return one.infinite(plus, minus) if plus or minus else finite(look)

    return read


def _signs(look: Look, rows: Rows, window: int) -> tuple[bool, bool]:
    """Whether positive and negative infinities are in a window."""
    if not rows.infinite:
        return False, False
    first, ints = rows.first + len(rows.totals) + len(rows.squares), look.stored.ints
    spans = (look.span(first, window), look.span(first + 1, window))
    plus, minus = (ints[end] > ints[low] for low, end in spans)
    return plus, minus


def _ordered(batch: Batch, row: int, window: int) -> _Reader:
    """The smallest, the largest, or that of a rank."""
    what, of_few = (batch.op, batch.rank), one.ordered(batch.op, batch.rank)

    def read(look: Look) -> Value:
        low, end = look.span(row, window)
        if end - low <= LONG:
            return of_few(look.stored.doubles[low:end].tolist()) if low < end else None
        memo, place = look.stored.memo, (what, low, end)
        if (found := memo.get(place)) is None:
            found = memo[place] = one.ordered_of_many(*what, look.stored.floats(low, end))
        return found

    return read


def _different(row: int, window: int) -> _Reader:
    few = one.few_hashes()

    def read(look: Look) -> Value:
        low, end = look.span(row, window)
        if end - low <= few:
            return one.different(look.stored.ints[low:end].tolist())
        memo, place = look.stored.memo, (("distinct", None), low, end)
        if (found := memo.get(place)) is None:
            found = memo[place] = one.different_of_many(look.stored.hashes(low, end))
        return found

    return read


def _kept(shape: TrackPlan, rows: Rows, text: int) -> Callable[[Look, int], Value]:
    """Gives the value of an event, by its place."""
    row = rows.first + rows.running + shape.numbers + shape.hashes
    if rows.text:

        def decoded(look: Look, place: int) -> str:
            at, ints = look.at + row * look.width + place, look.stored.ints
            begin = look.stored.texts[text]
            return look.stored.value[begin + ints[at] : begin + ints[at + 1]].decode()

        return decoded
    if shape.is_float:
        return lambda look, place: look.stored.doubles[look.at + row * look.width + place]
    return lambda look, place: look.stored.ints[look.at + row * look.width + place]


def _last(kept: Callable[[Look, int], Value], max_age: int | None) -> _Reader:
    def read(look: Look) -> Value:
        if look.latest < 0:
            return None
        old = max_age is not None and look.asked - look.stored.ints[look.at + look.latest] > max_age
        return None if old else kept(look, look.latest)

    return read


def _since(max_age: int | None) -> _Reader:
    def read(look: Look) -> Value:
        if look.latest < 0:
            return None
        return one.age(look.asked, look.stored.ints[look.at + look.latest], max_age)

    return read


def _tenure(row: int) -> _Reader:
    def read(look: Look) -> Value:
        if look.latest < 0:
            return None
        return one.age(look.asked, look.stored.ints[look.at + row * look.width + look.latest], None)

    return read


def _decayed(batch: Batch, shape: TrackPlan, rows: Rows) -> _Reader:
    begin = rows.fading + shape.half_lives.index(batch.half_life)
    counts = begin + (len(shape.half_lives) if shape.value is not None else 0)
    row = counts if batch.op == "decayed_count" else begin

    def read(look: Look) -> Value:
        if not look.end:
            return kernel.EMPTY.get(batch.op)
        doubles, last = look.stored.doubles, look.at + look.end - 1
        total = doubles[last + row * look.width]
        if batch.op == "decayed_mean":
            return one.faded_mean(total, doubles[last + counts * look.width])
        return one.faded(total, look.asked - look.stored.ints[last], batch.half_life)

    return read if batch.op == "decayed_count" else _with_infinities(rows, 0, read)
