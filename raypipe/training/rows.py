"""Rows to learn from that are read a block at a time, on whichever node needs them: from files, or from Ray's store."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

import numpy as np
import polars as pl
import ray
from numpy.typing import NDArray
from ray import ObjectRef

from raypipe.contracts.signature import Signature
from raypipe.contracts.target import Target
from raypipe.training.trainer import Examples

LABEL = "label"
#: Rows that are read at once, at most.
BLOCK = 65_536


class Block(TypedDict):
    """Some rows of one file."""

    file: str
    start: int
    rows: int


@dataclass(frozen=True)
class Moments:
    """Of each column the share of gaps, the mean and the deviation, shape (columns,); and those of the label."""

    gaps: NDArray[np.float64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    label_mean: float
    label_deviation: float


class Source(ABC):
    """Rows in a settled order."""

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """How many rows each file has."""

    @abstractmethod
    def read(self, file: str, start: int, rows: int) -> Examples:
        """Some rows of a file."""

    def blocks(self, parts: int) -> list[Block]:
        """All rows, cut into blocks of which each of ``parts`` readers gets some."""
        sizes = self.sizes()
        size = min(BLOCK, max(1, -(-sum(sizes.values()) // (4 * parts))))
        return [
            Block(file=file, start=start, rows=min(size, rows - start))
            for file, rows in sizes.items()
            for start in range(0, rows, size)
        ]

    def moments(self) -> Moments:
        """What the columns are like, from one pass over the rows."""
        sums: list[NDArray[np.float64]] = []
        for block in self.blocks(1):
            found = self.read(**block)
            both = np.column_stack([found.x, found.y]).astype(np.float64)
            there = ~np.isnan(both)
            sums.append(np.stack([np.ones(both.shape[1]) * len(both), there.sum(axis=0), np.nansum(both, axis=0),
                                  np.nansum(both**2, axis=0)]))  # fmt: skip
        rows, known, total, squares = np.sum(sums, axis=0)
        mean = total / np.maximum(known, 1)
        deviation = np.sqrt(np.maximum(squares / np.maximum(known, 1) - mean**2, 0.0))
        return Moments(1 - known[:-1] / rows[:-1], mean[:-1], deviation[:-1], float(mean[-1]), float(deviation[-1]))


@dataclass(frozen=True)
class Filed(Source):
    """The rows of some Parquet files: more than any memory holds.

    Attributes:
        files: which every node sees under these paths.
        signature: how they become a matrix.
        target: how labels become numbers.
        weights: how much a row of each class counts; empty: all the same.
    """

    files: tuple[str, ...]
    signature: Signature
    target: Target
    weights: tuple[float, ...] = ()

    def also(self, *periods: str) -> "Filed":
        """With the rows of other periods, which lie beside these, after them."""
        beside = (str(Path(self.files[0]).with_name(f"{period}.parquet")) for period in periods)
        return replace(self, files=(*self.files, *beside))

    def sizes(self) -> dict[str, int]:
        """As the files' ends say."""
        return {file: pl.scan_parquet(file, glob=False).select(pl.len()).collect().item() for file in self.files}

    def read(self, file: str, start: int, rows: int) -> Examples:
        """Some rows of a file; of the others only row groups that they share are read."""
        names = [column.name for column in self.signature.columns]
        frame = pl.scan_parquet(file, glob=False).select(*names, LABEL).slice(start, rows).collect()
        y = self.target.encode(frame[LABEL])
        w = np.asarray(self.weights, dtype=np.float32)[y.astype(int)] if self.weights else None
        return Examples(self.signature.encode(frame), y, w)


@dataclass(frozen=True)
class Held(Source):
    """Rows that are in memory already, in Ray's object store."""

    examples: ObjectRef[Examples]
    rows: int

    @classmethod
    def of(cls, examples: Examples) -> "Held":
        """Put them there."""
        return cls(ray.put(examples), len(examples.y))

    def sizes(self) -> dict[str, int]:
        """All of them under one name."""
        return {"": self.rows}

    def read(self, file: str, start: int, rows: int) -> Examples:
        """Some of them, not copied."""
        return ray.get(self.examples).rows(start, start + rows)
