"""Files that cannot hold an id of one another, by the ranges that Parquet keeps of their columns: most are not read.

A new month of events has later times, or higher numbers, than all months before: what is asked of it does not grow with
the table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TypeAlias

import polars as pl

from raypipe.lake import storage

#: The smallest and the largest value of a column; None: unknown.
Range: TypeAlias = tuple[object, object] | None
#: Whose order in Parquet is that of Python, and which are equal when their bytes are.
_ORDERED = (int, str, bytes, datetime, date)


@dataclass(frozen=True)
class Extent:
    """What a file says of itself.

    Attributes:
        path: of the file.
        rows: how many it has.
        ranges: of each column of the id; empty: no row has a whole id.
        gaps: whether an id may have a gap.
    """

    path: str
    rows: int
    ranges: tuple[Range, ...]
    gaps: bool

    def may_share(self, other: "Extent") -> bool:
        """Whether an id may be in both: all its columns overlap."""
        pairs = list(zip(self.ranges, other.ranges, strict=False))
        return bool(pairs) and all(_overlap(one, another) for one, another in pairs)


def extent(path: str, id: Sequence[str]) -> Extent:
    """Read from the footer of a file."""
    footer = storage.footer(path)
    places = {footer.schema.column(i).path: i for i in range(footer.num_columns)}
    ranges: list[Range] = []
    gaps = empty = False
    for name in id:
        parts = [footer.row_group(group).column(places[name]) for group in range(footer.num_row_groups)]
        told = [part.statistics for part in parts]
        known = all(one is not None and one.has_null_count for one in told)
        missing = sum(one.null_count for one in told) if known else 0
        gaps = gaps or not known or missing > 0
        empty = empty or (known and missing == footer.num_rows)
        ends = [(one.min, one.max) for one in told if one is not None and one.has_min_max]
        whole = len(ends) == len(told) and all(isinstance(end, _ORDERED) for pair in ends for end in pair)
        ranges.append((min(low for low, _ in ends), max(high for _, high in ends)) if ends and whole else None)
    return Extent(path, footer.num_rows, () if empty else tuple(ranges), gaps)


def suspects(old: Sequence[Extent], new: Sequence[Extent], id: Sequence[str]) -> tuple[list[Extent], list[Extent]]:
    """The files of rows that are there, and of rows to come, among which an id may be twice."""
    near = [
        one
        for place, one in enumerate(new)
        if any(one.may_share(other) for other in (*old, *new[:place], *new[place + 1 :]))
        or not _rising(one, id)
    ]  # fmt: skip
    return [one for one in old if any(one.may_share(other) for other in near)], near


def _overlap(one: Range, another: Range) -> bool:
    if one is None or another is None or type(one[0]) is not type(another[0]):
        return True
    return bool(one[0] <= another[1] and another[0] <= one[1])  # type: ignore[operator]  # of one ordered type


def _rising(file: Extent, id: Sequence[str]) -> bool:
    """Whether each id of a file is larger than the one before, so that none is twice; of an id in one column alone."""
    if len(id) > 1 or file.gaps:
        return False
    rises = pl.col(id[0]) > pl.col(id[0]).shift()
    return bool(storage.scan([file.path]).select(rises.all()).collect().item())
