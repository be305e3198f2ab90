"""What new rows are compared with: how many there were before, and how the values of their columns were distributed.

A snapshot never changes, so what was found is kept in a folder beside the lake; the next gate reads a few kilobytes.
"""

import uuid
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from raypipe.contracts.records import Record
from raypipe.stats.arrays import Floats
from raypipe.stats.cuts import cuts
from raypipe.validation.parts import counted, tally
from raypipe.validation.subject import Subject


class Profile(Record, frozen=True, kw_only=True):
    """How the values of a column were distributed.

    Attributes:
        kind: of the column, as Polars calls it.
        many: how many values there were; a gap among numbers is none, elsewhere it is one.
        cuts: of numbers, where they are cut; None of others.
        below: of numbers, how many lie below each cut.
        tally: of others, how often each occurs, as text.
    """

    kind: str
    many: int
    cuts: tuple[float, ...] | None = None
    below: tuple[int, ...] = ()
    tally: tuple[tuple[str | None, int], ...] = ()


class Reference(Record, frozen=True, kw_only=True):
    """The rows of before.

    Attributes:
        rows: how many there were.
        columns: those that are compared, as far as they were there.
    """

    rows: int
    columns: dict[str, Profile]


def reference(
    subject: Subject, before: pl.LazyFrame | None, as_of: int | None, kept: Path | None = None
) -> Reference | None:
    """What checks compare with; None when there is nothing.

    Args:
        subject: whose checks compare.
        before: all rows that were published, known at ``as_of`` or later.
        as_of: rows known by then are meant, microseconds UTC; None: all.
        kept: a path that names a table's folder and the snapshot: what was found is kept there, and what was found of
            other snapshots goes; None: it is not kept.
    """
    compared = {name for check in subject.gate if check.kind == "drift" for name in check.columns}
    if before is None or not (compared or any(check.kind == "rows_like_before" for check in subject.gate)):
        return None
    file = None if kept is None else kept.with_name(f"{kept.name}-{_digest(compared)}.json")
    if file is not None and file.is_file():
        newest, found = msgspec.json.decode(file.read_bytes(), type=tuple[int | None, Reference])
        if newest is None or as_of is None or newest <= as_of:
            return found
    schema = before.collect_schema()
    rows = subject.known(before, as_of).select(pl.len(), *sorted(compared & set(schema))).collect(engine="streaming")
    columns = {name: profile(rows[name]) for name in rows.columns[1:]}
    found = Reference(rows=int(rows["len"][0]) if rows.height else 0, columns=columns)
    if file is not None:
        newest = (
            None if subject.time is None else before.select(pl.col(subject.time).max().dt.epoch("us")).collect().item()
        )
        if newest is None or as_of is None or newest <= as_of:  # a later moment sees the same rows
            _write(file, msgspec.json.encode((newest, found)))
    return found


def profile(values: pl.Series) -> Profile:
    """How a column's values are distributed."""
    kind, frame = str(values.dtype), values.to_frame()
    if not values.dtype.is_numeric():
        tallied = counted(frame.select(tally(pl.col(values.name).cast(pl.String)).of).to_series())
        return Profile(kind=kind, many=values.len(), tally=tuple(tallied.sort("value").iter_rows()))
    numbers = frame.select(present(values.name)).to_series().to_numpy()
    at = cuts(numbers) if len(numbers) else np.zeros(0)
    below = frame.select(below_cuts(values.name, at)).item().to_list()
    return Profile(kind=kind, many=len(numbers), cuts=tuple(at.tolist()), below=tuple(below))


def present(name: str) -> pl.Expr:
    """The numbers of a column that are there."""
    return pl.col(name).cast(pl.Float64).drop_nulls().drop_nans()


def below_cuts(name: str, at: Floats) -> pl.Expr:
    """How many numbers of a column lie below each cut, one list. Sorted, they are cut by as many look-ups."""
    at_each = present(name).sort().search_sorted(pl.lit(pl.Series(at, dtype=pl.Float64)), side="left")
    return at_each.cast(pl.Int64).implode()


def _digest(names: Iterable[str]) -> str:
    return sha256("\n".join(sorted(names)).encode()).hexdigest()[:12]


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    made = file.with_name(f".{uuid.uuid4().hex}")
    made.write_bytes(content)
    made.replace(file)
    snapshot = file.name.partition("-")[0]
    for other in file.parent.glob("*.json"):  # main has moved on from these
        if other.name.partition("-")[0] != snapshot:
            other.unlink(missing_ok=True)
