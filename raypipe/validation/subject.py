"""What a gate judges: rows under a name, of columns with known types, and the checks that they must pass."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from raypipe.spec import Source, Stream
from raypipe.spec.checks import Check
from raypipe.spec.shape import in_lake


@dataclass(frozen=True)
class Subject:
    """A table of the lake, a training set, or what a candidate answers.

    Attributes:
        name: how reports call it.
        columns: their types; None where any will do.
        gate: the checks.
        id: the columns that tell rows apart.
        time: the column that says when a row was known; None: all are.
        happened: the column that says when what it tells of happened; None: nothing says so.
        grows: new rows join the old ones under ids of their own; otherwise every load is compared as a whole.
        where: it is declared.
    """

    name: str
    columns: Mapping[str, pl.DataType | None]
    gate: tuple[Check, ...]
    id: tuple[str, ...]
    time: str | None
    happened: str | None
    grows: bool
    where: str

    @classmethod
    def of(cls, source: Source) -> "Subject":
        """A table of the lake."""
        stream = isinstance(source, Stream)
        return cls(
            name=source.name,
            columns=in_lake(source),
            gate=source.gate,
            id=source.id if isinstance(source, Stream) else (source.key,),
            time="known_at" if stream else None,
            happened="event_time" if stream else None,
            grows=stream,
            where=source.where,
        )

    def known(self, rows: pl.LazyFrame, as_of: int | None) -> pl.LazyFrame:
        """The rows that are known by then, or that do not tell when; None: all of them."""
        waits = None if as_of is None else self.waits(as_of)
        return rows if waits is None else rows.filter(~waits)

    def waits(self, as_of: int) -> pl.Expr | None:
        """True for each row that is known later only, never null; None: no row tells when it is known."""
        if self.time is None:
            return None
        now = pl.lit(as_of, pl.Int64).cast(pl.Datetime("us", "UTC"))
        return (pl.col(self.time) > now).fill_null(value=False)
