"""A few of the rows that failed, as JSON: what tells them apart, and the columns that the check is about."""

import polars as pl

from raypipe.spec import Source, Stream

SHOWN = 5


def sample(source: Source, columns: tuple[str, ...], rows: pl.LazyFrame, fails: pl.Expr) -> tuple[str, ...]:
    """Up to five failing rows, first come first, one JSON object each."""
    identity = source.id if isinstance(source, Stream) else (source.key,)
    shown = list(dict.fromkeys((*identity, *columns)))
    found = rows.filter(fails).select(shown).head(SHOWN).collect()
    return tuple(found.write_ndjson().splitlines())
