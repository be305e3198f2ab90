"""What checks ask of rows, in parts: what blocks of rows answer adds up to what the whole table would.

A check is a part of each block, a way to merge parts, and a verdict on what comes of them. Blocks may be the files of a
table, read where the cluster takes them in, or the morsels of one scan: the answers are the same bits. What no block
can say alone (whether a value is unique) has no way to merge, and is asked of all rows in one scan. What a block is
compared with (keys of another table, where the values of before are cut) goes into the expression itself.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from typing import Literal, TypeAlias

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

Merge: TypeAlias = Literal["sum", "max", "add", "values", "tally"]
#: One row: by a part's name, what it came to.
State: TypeAlias = pl.DataFrame


@dataclass(frozen=True)
class Part:
    """One value that a check asks of rows.

    Attributes:
        of: an aggregate.
        merge: how the values of blocks become that of all rows; None: only all rows at once can say.
    """

    of: pl.Expr
    merge: Merge | None = "sum"

    @cached_property
    def name(self) -> str:
        """The same for the same question, in any process."""
        try:
            return sha256(self.of.meta.serialize()).hexdigest()[:16]
        except PolarsError:  # a function that cannot be written down: nobody else may know the answer
            return f"here {id(self.of)}"


#: By what it is for, a part of what a check asks.
Asked: TypeAlias = Mapping[str, Part]


def state(rows: pl.LazyFrame, parts: Iterable[Part]) -> State:
    """What all parts come to; see `states`."""
    return states((rows,), list(parts), ())[0]


def states(frames: Sequence[pl.LazyFrame], parts: Sequence[Part], of_last: Sequence[Part]) -> tuple[State, State]:
    """What parts come to, in one pass over rows: by blocks on all cores, beside what only all rows at once can say.

    Args:
        frames: the rows, one frame after the other.
        parts: what is asked of all of them.
        of_last: what is asked of those of the last frame alone; all of it can be merged.

    Returns:
        The answers of all rows, and those of the last frame's.

    Raises:
        PolarsError: a part does not fit its column.
    """
    mergeable = [part for part in parts if part.merge is not None]
    looks = [_Look(mergeable) for _ in frames[:-1]] + [_Look([*mergeable, *of_last])]
    passes = [look.over(rows) for look, rows in zip(looks, frames, strict=True)]
    if alone := _named(part for part in parts if part.merge is None):
        whole = frames[0] if len(frames) == 1 else pl.concat(frames)
        passes.append(whole.select(alone))
    # Polars reads what they have in common once.
    answers = pl.collect_all(passes, engine="streaming")
    found = [look.states() for look in looks]
    every = merged([one for some in found for one in some], mergeable)
    if alone:
        every = pl.concat([every, answers[-1]], how="horizontal")
    return every, merged(found[-1], of_last)


class _Look:
    """Asks each block of one pass, in whatever order they come."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._asked = _named(parts)
        self._found: list[State] = []
        self._fault: PolarsError | None = None
        self._empty = pl.DataFrame()

    def over(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """A pass that gives no row."""
        if not self._asked:
            return rows.clear()
        names = sorted({name for one in self._asked for name in one.meta.root_names()})
        needed = rows.select(names or rows.collect_schema().names()[:1])  # of no column no row is counted
        self._empty = needed.collect_schema().to_frame()
        return needed.map_batches(self._look, streamable=True, predicate_pushdown=False, projection_pushdown=False)

    def states(self) -> list[State]:
        """What blocks said, of at least one."""
        if self._fault is not None:
            raise self._fault
        return self._found or [self._empty.select(self._asked)]

    def _look(self, block: pl.DataFrame) -> pl.DataFrame:
        try:
            self._found.append(block.select(self._asked))
        except PolarsError as fault:  # on its way through the engine it would become another
            self._fault = fault
        return self._empty


def _named(parts: Iterable[Part]) -> list[pl.Expr]:
    return list({part.name: part.of.alias(part.name) for part in parts}.values())


@dataclass(frozen=True)
class Ask:
    """What is asked of a block wherever it is; the answer travels as bytes.

    Attributes:
        parts: those that can be merged.
        known: gives the rows of a block that are judged.
    """

    parts: tuple[Part, ...]
    known: Callable[[pl.LazyFrame], pl.LazyFrame]

    @property
    def columns(self) -> list[str]:
        """Those that it reads."""
        return sorted({name for part in self.parts for name in part.of.meta.root_names()})

    def __call__(self, block: pl.DataFrame) -> bytes:
        """What the parts come to."""
        answer = BytesIO()
        self.known(block.lazy()).select(_named(self.parts)).collect().write_ipc(answer)
        return answer.getvalue()


#: What blocks say of a question, in any order.
Blocks: TypeAlias = Callable[[Sequence[str], Ask], Sequence[bytes]]


def asked_of_blocks(blocks: Blocks, ask: Ask, time: str | None) -> State:
    """What the parts come to over blocks that are all over the cluster; ``time`` is read as well, if there is one."""
    columns = sorted({*ask.columns, *([time] if time else [])})
    return merged([pl.read_ipc(BytesIO(answer)) for answer in blocks(columns, ask)], ask.parts)


def merged(states: Sequence[State], parts: Iterable[Part]) -> State:
    """What the parts come to over all blocks together.

    Args:
        states: of at least one block; each knows all parts.
        parts: those that can be merged.
    """
    if len(states) == 1:
        return states[0]
    found = {part.name: part.merge for part in parts if part.merge is not None}
    columns = (pl.concat([one[name] for one in states], rechunk=True) for name in found)
    return pl.DataFrame([_MERGES[how](one) for how, one in zip(found.values(), columns, strict=True)])


def tally(values: pl.Expr) -> Part:
    """How often each value occurs, null too."""
    return Part(values.alias("value").value_counts(name="count").implode(), "tally")


def counted(value: pl.Series) -> pl.DataFrame:
    """A tally as a frame of ``value`` and ``count``."""
    return value.explode().struct.unnest()


def _tally(blocks: pl.Series) -> pl.Series:
    filled = blocks.filter(blocks.list.len() > 0)
    if filled.is_empty():
        return blocks.head(1)
    rows = counted(filled).group_by("value").agg(pl.col("count").sum())
    return rows.select(pl.struct("value", "count").implode().alias(blocks.name)).to_series()


def _add(blocks: pl.Series) -> pl.Series:
    total = np.sum([one.to_numpy() for one in blocks], axis=0, dtype=np.int64)
    return pl.Series(blocks.name, [total.tolist()], dtype=pl.List(pl.Int64))


def _values(blocks: pl.Series) -> pl.Series:
    return blocks.explode(empty_as_null=False).unique().implode().alias(blocks.name)


_MERGES: dict[Merge, Callable[[pl.Series], pl.Series]] = {
    "sum": lambda blocks: pl.Series(blocks.name, [blocks.sum()], dtype=blocks.dtype),
    "max": lambda blocks: pl.Series(blocks.name, [blocks.max()], dtype=blocks.dtype),
    "add": _add,
    "values": _values,
    "tally": _tally,
}
