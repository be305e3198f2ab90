"""What a replica counts of its answers, in frames of a segment: whole numbers that add up, whoever adds them when.

A frame holds one version's answers of about a second. Frames are read once, by position, so a reader that keeps its
positions together with what it added loses none and counts none twice.
"""

import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from raypipe.contracts.segment import frames
from raypipe.stats.arrays import Ints
from raypipe.stats.bins import CELLS

#: The folder of such segments beside those of the logs, as ``{NAME}/{pipeline}/*.seg``.
NAME = "counts"
#: Latencies fall into cells that are this much wider than the one before: a percentile is off by 1 % at most.
_WIDER = 1.02


class Counted(msgspec.Struct, frozen=True, array_like=True):
    """Some answers of one version in one part.

    Attributes:
        version, digest: the model.
        arm: the part that it played.
        at: when they were counted, microseconds UTC.
        rows: how many answers there are; 0: only failures are told.
        cells: their values, by the binning of the version's `Watched`; packed by `pack`, empty without a reference.
        latency: answers by the cell of their latency, see `latency_cell`.
        cpu: seconds of computing that they took, everything that the process does shared among its answers.
        failed: rows that could not be answered.
    """

    version: int
    digest: str
    arm: str
    at: int
    rows: int
    cells: bytes
    latency: dict[int, int]
    cpu: float
    failed: int = 0


def pack(counts: Ints) -> bytes:
    """Counts as bytes: only the cells that are not empty.

    >>> table = np.zeros((2, CELLS), np.int64)
    >>> table[1, 7] = 3
    >>> bool((unpack(pack(table), 2) == table).all())
    True
    """
    places = np.flatnonzero(counts).astype(np.uint32)
    values = counts.ravel()[places].astype(np.uint32)
    return zlib.compress(np.concatenate([places, values]).tobytes(), 1)


def unpack(cells: bytes, columns: int) -> Ints:
    """The counts again, of shape (columns, `CELLS`).

    Raises:
        ValueError: they are not of so many columns.
    """
    counts = np.zeros(columns * CELLS, np.int64)
    if not cells:
        return counts.reshape(columns, CELLS)
    places, values = np.frombuffer(zlib.decompress(cells), np.uint32).reshape(2, -1)
    if len(places) and int(places.max()) >= len(counts):
        raise ValueError(f"counts of more than {columns} columns")
    counts[places] = values
    return counts.reshape(columns, CELLS)


def latency_cells(seconds: NDArray[np.float64]) -> dict[int, int]:
    """How many latencies lie in each cell; what is below a microsecond counts as one.

    >>> round(latency_of(latency_cells(np.array([0.004] * 99 + [0.2])), 0.99), 3)
    0.004
    """
    cells = np.floor(np.log(np.maximum(seconds * 1e6, 1.0)) / np.log(_WIDER)).astype(int)
    found, counts = np.unique(cells, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def latency_of(cells: Mapping[int, int], share: float) -> float:
    """The seconds within which this share was answered; 0 without any."""
    if not cells:
        return 0.0
    places = sorted(cells)
    reached = np.cumsum([cells[place] for place in places])
    place = places[int(np.searchsorted(reached, share * reached[-1] - 1e-9))]
    return float(_WIDER ** (place + 0.5)) / 1e6


def encode(counted: Counted) -> bytes:
    """The content of a frame."""
    return msgspec.msgpack.encode(counted)


def read(path: Path, position: int) -> Iterator[tuple[Counted, int]]:
    """What a segment holds from a position on, each with where it ends; what another release wrote is passed over."""
    decode = msgspec.msgpack.Decoder(Counted).decode
    for _, content, end in frames(path, position):
        with suppress(msgspec.MsgspecError):
            yield decode(content), end
