"""What became of a table from one snapshot to a later one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import polars as pl

from raypipe.contracts.records import Snapshot


@dataclass(frozen=True)
class Changes:
    """The rows of two snapshots, told apart by the files that they are in.

    A file that loses some rows is written anew: what is left of it is both among the lost and among the gained.

    Attributes:
        kept: rows in files that both have.
        gained: rows in files that only the later has.
        lost: rows in files that only the earlier has; None: there are none.
        anew: nothing is left of the earlier.
    """

    kept: pl.LazyFrame
    gained: pl.LazyFrame
    lost: pl.LazyFrame | None
    anew: bool


#: What changed between two snapshots of a table; None when the earlier is not known any more.
Since: TypeAlias = Callable[[Snapshot, Snapshot], Changes | None]
