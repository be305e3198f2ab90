"""Made-up histories: keys as common as Zipf's law has it, times in ninety days, questions of the same kind."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

START, SPAN = 1_700_000_000_000_000, 90 * 86_400_000_000
KEYS, EXPONENT = 100_000, 1.1
SLICE = 5_000_000
VIEWS, COLUMNS, VIEW_ROWS, WIDE_ROWS = 10, 100, 5_000, 17_000
_TIME = pa.timestamp("us", "UTC")


def windows(folder: Path, events: int, questions: int, late: tuple[float, int] | None = None) -> None:
    """Payments in the order of their time, and questions in no order.

    With ``late`` each says when it was published: a share of them so many microseconds after they happened, the rest at
    once.
    """
    folder.mkdir(parents=True)
    shares = 1 / np.arange(1, KEYS + 1) ** EXPONENT
    edges = np.cumsum(shares / shares.sum())
    random = np.random.default_rng(events)

    def table(many: int, begin: int, span: int, first: int) -> pa.Table:
        times = begin + np.sort(random.integers(0, span, many))
        amounts = np.round(random.gamma(2.0, 20.0, many), 2)
        return pa.table(
            {
                "id": np.arange(first, first + many),
                "key": np.searchsorted(edges, random.random(many)),
                "at": pa.array(times).cast(_TIME),
                "amount": amounts,
            }
        )

    slices = max(1, events // SLICE)
    writer = None
    for i in range(slices):
        part = table(events // slices, START + i * (SPAN // slices), SPAN // slices, i * (events // slices))
        if late is not None:
            share, lag = late
            lags = np.where(random.random(part.num_rows) < share, lag, 0)
            published = part["at"].cast(pa.int64()).to_numpy() + lags
            part = part.append_column("published", pa.array(published).cast(_TIME))
        writer = writer or pq.ParquetWriter(folder / "events.parquet", part.schema, compression="zstd")
        writer.write_table(part, row_group_size=1_000_000)
    if writer is not None:
        writer.close()
    asked = table(questions, START, SPAN, 0).take(pa.array(random.permutation(questions)))
    _write_questions(folder, asked["key"], asked["at"])


def itself(folder: Path, rows: int) -> None:
    """The shape of feast#2331: a table of readings, asked for at every key and time that it has itself."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(rows)
    times = START + random.permutation(rows).astype(np.int64) * (SPAN // rows)
    drivers = pa.array(random.integers(0, KEYS, rows))
    columns = {name: random.random(rows) for name in ("accepted", "converted", "trips", "rating")}
    table = pa.table({"id": np.arange(rows), "key": drivers, "at": pa.array(times).cast(_TIME), **columns})
    pq.write_table(table.sort_by("at"), folder / "view0.parquet")
    _write_questions(folder, drivers, table["at"])


def wide(folder: Path, views: int = VIEWS, questions: int = WIDE_ROWS) -> None:
    """The shape of feast#3003: ten views of a hundred columns each, 40 MB, and 17,000 questions by a text."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(3003)

    def some(many: int) -> tuple[pa.Array, pa.Array]:
        names = pa.array([f"customer-{i:04}" for i in random.integers(0, 1_000, many)])
        return names, pa.array(START + random.permutation(many).astype(np.int64) * (SPAN // many)).cast(_TIME)

    for view in range(views):
        names, times = some(VIEW_ROWS)
        values: NDArray[np.float64] = random.random((COLUMNS, VIEW_ROWS))
        columns = {f"v{view}_{i}": values[i] for i in range(COLUMNS)}
        table = pa.table({"id": np.arange(VIEW_ROWS), "key": names, "at": times, **columns})
        pq.write_table(table.sort_by("at"), folder / f"view{view}.parquet")
    _write_questions(folder, *some(questions))


def _write_questions(folder: Path, keys: pa.Array, times: pa.Array) -> None:
    rows = np.arange(len(keys))
    pq.write_table(pa.table({"row": rows, "key": keys, "at": times}), folder / "questions.parquet")
