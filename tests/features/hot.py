"""One key with a long history, in a process of its own that tells its largest size: ``hot.py WAY EVENTS FOLDER``."""

import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from msgspec import structs

from raypipe.features import cut, events, spans
from raypipe.features.cut import Cut
from raypipe.features.plan import GroupPlan
from raypipe.features.reading import Tables
from raypipe.features.training_set import group_features
from raypipe.spec import agg, days, hours
from tests.features import payments
from tests.features.histories import DAY, START

#: Events a day, and as many as are worked on at once.
A_DAY, AT_ONCE = 20_000, 200_000


def write(many: int, path: Path) -> None:
    """The events, a piece of a day at a time."""
    random = np.random.default_rng(1)
    writer = None
    for first in range(0, many, A_DAY):
        day = START + first // A_DAY * DAY
        frame = pl.DataFrame(
            {
                "id": np.arange(first, first + A_DAY).astype(str),
                "user": ["hot"] * A_DAY,
                "amount": random.normal(0, 100, A_DAY),
                "at": pl.Series(day + random.integers(0, DAY, A_DAY)).cast(payments.TIME),
            }
        )
        table = pl.concat([payments.frame_of([]), frame], how="diagonal").to_arrow()
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def made(many: int, path: Path) -> None:
    """Make features of them."""
    empty = payments.tables_of(timedelta(0), payments.frame_of([]))
    snapshots = {name: structs.replace(one, rows=many) for name, one in empty.snapshots.items()}
    tables = Tables(empty.pipeline, snapshots, lambda _: pl.scan_parquet(path), AT_ONCE, scratch=path.parent)
    asked = payments.asked_frame([("hot", 1, START + i * DAY // 4) for i in range(4 * many // A_DAY)])
    found = group_features(plan(), tables, asked, START + many // A_DAY * DAY)
    if found[2][-1] < (many // A_DAY - 1) * 86_400:
        raise AssertionError(found[2][-1])


def stored(many: int, path: Path) -> None:
    """Make the state that is stored of them, as a load does, and an update that cannot merge."""
    end = START + many // A_DAY * DAY
    found = Cut(events.events(plan(), pl.scan_parquet(path), end), path.parent)
    if len(list(spans.states(0, plan(), found.part(), end))) != 1:
        raise AssertionError


def plan() -> GroupPlan:
    return payments.plan(
        payments.payments(timedelta(0)).by("user").features(
            sum_1h=agg.sum("amount", hours(1)), mean_1d=agg.mean("amount", days(1)), tenure=agg.tenure()
        )
    )  # fmt: skip


def largest() -> float:
    """The most memory that this process ever had, in megabytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    way, count, folder = {"made": made, "stored": stored}[sys.argv[1]], int(sys.argv[2]), Path(sys.argv[3])
    write(count, folder / "hot.parquet")
    spans.AT_ONCE, cut.ROWS_A_FILE = AT_ONCE, AT_ONCE // 2
    way(count, folder / "hot.parquet")
    print(largest())
