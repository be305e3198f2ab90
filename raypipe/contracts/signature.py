"""What a model takes: named columns in order, turned into one float32 matrix the same way in training and serving."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raypipe.contracts.records import Record


class Column(Record, frozen=True, kw_only=True):
    """One input. A number is itself, null is NaN. A category is its place in ``vocabulary`` plus one; else 0."""

    name: str
    vocabulary: tuple[str, ...] | None = None


class Signature(Record, frozen=True, kw_only=True):
    """The inputs of a model in order."""

    columns: tuple[Column, ...]

    @classmethod
    def fit(cls, frame: pl.DataFrame, features: tuple[str, ...]) -> "Signature":
        """Learn the vocabularies of text columns, most frequent first (ties by name)."""
        return cls(columns=tuple(Column(name=name, vocabulary=_vocabulary(frame[name])) for name in features))

    @property
    def categories(self) -> dict[int, int]:
        """For each category column its position and how many codes it has, 0 included."""
        return {i: len(c.vocabulary) + 1 for i, c in enumerate(self.columns) if c.vocabulary is not None}

    def encode(self, frame: pl.DataFrame) -> NDArray[np.float32]:
        """The matrix of shape (rows, columns), C-contiguous.

        >>> frame = pl.DataFrame({"carrier": ["UA", None, "??"], "delay": [1.5, None, 2.0]})
        >>> Signature.fit(frame.head(1), ("carrier", "delay")).encode(frame).tolist()
        [[1.0, 1.5], [0.0, nan], [0.0, 2.0]]
        """
        return np.ascontiguousarray(frame.select(self._exprs()).to_numpy(), dtype=np.float32)

    def unseen(self, frame: pl.DataFrame) -> dict[str, int]:
        """How many values of each category column are there but were never seen in training."""
        counts = {}
        for column in self.columns:
            if column.vocabulary is not None:
                values = frame[column.name].cast(pl.String)
                known = values.is_in(list(column.vocabulary)) | values.is_null()
                counts[column.name] = int((~known).sum())
        return counts

    def _exprs(self) -> list[pl.Expr]:
        return [_number(c.name) if c.vocabulary is None else _code(c.name, c.vocabulary) for c in self.columns]


def _vocabulary(values: pl.Series) -> tuple[str, ...] | None:
    if values.dtype.is_numeric() or values.dtype == pl.Boolean:
        return None
    counts = values.cast(pl.String).drop_nulls().value_counts(name="n")
    return tuple(counts.sort(["n", values.name], descending=[True, False])[values.name])


def _number(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Float32).fill_null(float("nan"))


def _code(name: str, vocabulary: tuple[str, ...]) -> pl.Expr:
    codes = pl.Series(range(1, len(vocabulary) + 1), dtype=pl.Float32)
    return pl.col(name).cast(pl.String).replace_strict(list(vocabulary), codes, default=0.0, return_dtype=pl.Float32)
