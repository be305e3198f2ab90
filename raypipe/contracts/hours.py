"""A model's reference by the hour: what its columns looked like at which time, to tell a season from drift."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raypipe.contracts.signature import Signature
from raypipe.contracts.watched import Watched
from raypipe.stats.arrays import Ints
from raypipe.stats.bins import CELLS
from raypipe.stats.seasonal import DAY, HOUR, LEAST_DAYS

#: The newest days are enough to know a season, and little to keep.
MOST_DAYS = 42
_SCHEMA = pl.Schema({"hour": pl.Datetime("us", "UTC"), "column": pl.String(), "cell": pl.UInt16(), "rows": pl.UInt32()})


@dataclass(frozen=True)
class Hourly:
    """Counts of a reference by the hour; hours in which nothing was asked are left out.

    Attributes:
        at: when each hour began, microseconds UTC, rising; shape (hours,).
        counts: in the cells of a `Watched`, shape (hours, columns, cells).
    """

    at: Ints
    counts: NDArray[np.float32]

    @classmethod
    def of(
        cls, frame: pl.DataFrame, at: Ints, signature: Signature, answers: NDArray[np.float32], watched: Watched
    ) -> "Hourly | None":
        """Count feature rows with their answers; None: they span too few days to show a season.

        Args:
            frame: feature rows.
            at: when each was asked, microseconds UTC.
            signature: how rows are encoded.
            answers: as `raypipe.contracts.bins.answers` gives them, shape (rows,).
            watched: whose cells are counted into.
        """
        hours = at // HOUR
        if not len(at) or len(np.unique(at // DAY)) < LEAST_DAYS:
            return None
        order = np.argsort(hours, kind="stable")
        order = order[hours[order] > hours[order[-1]] - MOST_DAYS * 24]
        kept, begins = np.unique(hours[order], return_index=True)
        counts = np.zeros((len(kept), *watched.counts.shape), np.float32)
        for i, (first, last) in enumerate(zip(begins, [*begins[1:], len(order)], strict=True)):
            rows = order[first:last]
            counts[i] = watched.count(signature, frame[rows], answers[rows])
        return cls(kept * HOUR, counts)

    def write(self, path: Path, watched: Watched) -> None:
        """Keep the cells that are not empty, as a table of ``hour``, ``column``, ``cell`` and ``rows``."""
        hour, column, cell = np.nonzero(self.counts)
        names = pl.Series(watched.names, dtype=pl.String)
        columns = {
            "hour": self.at[hour],
            "column": names.gather(column),
            "cell": cell,
            "rows": self.counts[hour, column, cell],
        }
        pl.DataFrame(columns).cast(_SCHEMA).write_parquet(path)

    @classmethod
    def read(cls, path: Path, watched: Watched) -> "Hourly":
        """As it was written, in the columns of ``watched``, which may be fewer.

        Raises:
            ValueError: the file is none of these.
        """
        table = pl.read_parquet(path, glob=False).filter(pl.col("column").is_in(watched.names))
        if table.schema != _SCHEMA or (table["cell"] >= CELLS).any():
            raise ValueError("holds no counts by the hour")
        hours, places = np.unique(table["hour"].to_physical().to_numpy(), return_inverse=True)
        names = pl.Enum(watched.names)
        counts = np.zeros((len(hours), *watched.counts.shape), np.float32)
        counts[places, table["column"].cast(names).to_physical().to_numpy(), table["cell"].to_numpy()] = table["rows"]
        return cls(hours.astype(np.int64), counts)
