"""How a table is laid out by a key: which of its files hold which keys, so that nothing needs to be sent around."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.types import IntegerType, LongType, PrimitiveType, StringType

from raypipe.lake import storage

#: Types of keys whose order is the same for Iceberg and Polars.
_ORDERED = (IntegerType, LongType, StringType)
#: Files that hold keys of all portions are read for each of them: together as many rows as so many tables, at most.
WORTH = 1.0


@dataclass(frozen=True)
class Portion:
    """All rows of some keys of a table; the portions of a table hold every row whose key is not null, once.

    Attributes:
        by: the column.
        after: keys are larger; None: there is no lower end.
        upto: keys are no larger; None: there is no upper end.
        paths: the files that hold them, and others in part.
        casts: types in which columns are given back.
    """

    by: str
    after: str | int | None
    upto: str | int | None
    paths: tuple[str, ...]
    casts: Mapping[str, pl.DataType]

    def holds(self, key: pl.Expr) -> pl.Expr:
        """True for keys that belong here."""
        inside = key.is_not_null()
        inside = inside if self.after is None else inside & (key > self.after)
        return inside if self.upto is None else inside & (key <= self.upto)

    def rows(self, columns: Sequence[str]) -> pl.LazyFrame:
        """Some columns of them, in the order in which they lie."""
        found = storage.scan(self.paths).filter(self.holds(pl.col(self.by))).select(columns)
        return found.with_columns(pl.col(name).cast(kind) for name, kind in self.casts.items() if name in columns)


def portions(
    table: Table, files: Sequence[DataFile], by: str, casts: Mapping[str, pl.DataType]
) -> list[Portion] | None:
    """The portions of a table by a key; None when it is not laid out by it, or too much came in since it was.

    Args:
        table: whose files they are.
        files: of one snapshot.
        by: the key's column.
        casts: types in which columns are given back.
    """
    field = table.schema().find_field(by)
    if by in casts or not isinstance(field.field_type, _ORDERED):
        return None
    bounds = {file.file_path: _bounds(file, field.field_id, field.field_type) for file in files}
    apart: list[tuple[str | int, str | int, DataFile]] = []
    strewn: list[DataFile] = []
    # Files that were laid out are the large ones; what came since lies across them.
    for file in sorted(files, key=lambda one: -one.record_count):
        found = bounds[file.file_path]
        if found is None or any(found[0] <= high and low <= found[1] for low, high, _ in apart):  # type: ignore[operator]  # one type
            strewn.append(file)
        else:
            apart.append((*found, file))
    total = sum(file.record_count for file in files)
    if len(apart) < 2 or sum(file.record_count for file in strewn) * len(apart) > WORTH * total:
        return None
    apart.sort(key=lambda one: one[0])
    ends = [None, *(high for _, high, _ in apart[:-1]), None]
    everywhere = sorted(file.file_path for file in strewn)
    return [
        Portion(by, ends[i], ends[i + 1], tuple(sorted([file.file_path, *everywhere])), casts)
        for i, (_, _, file) in enumerate(apart)
    ]


def _bounds(file: DataFile, field: int, kind: PrimitiveType) -> tuple[str | int, str | int] | None:
    low, high = (file.lower_bounds or {}).get(field), (file.upper_bounds or {}).get(field)
    if low is None or high is None:
        return None
    return from_bytes(kind, low), from_bytes(kind, high)
