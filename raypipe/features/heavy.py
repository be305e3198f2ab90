"""Keys with more events than a worker should hold: found in one pass, and answered one after another in spans of time.

A repartition brings all events of a key to one place, and those of a heavy key grow with the history. So they leave the
cluster, block by block, for files beside the questions, of which a span of time is in memory at once.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeAlias

import polars as pl
import pyarrow as pa

from raypipe.features import cut, events
from raypipe.features.gathered import pieces
from raypipe.features.plan import GroupPlan
from raypipe.features.spans import answer
from raypipe.stats.tracks import Answer

if TYPE_CHECKING:
    from ray.data import Dataset

#: A key with so many events is heavy; one with half as many may be taken for it.
HEAVY = 10_000_000
#: The events of a block that a question can see.
Seen: TypeAlias = Callable[[pa.Table], pl.DataFrame]
_NUMBER = "__heavy"


def heavy_keys(rows: "Dataset", seen: Seen, many: int, nobody: pl.DataFrame) -> pl.DataFrame:
    """The keys that have at least `HEAVY` events, and maybe some that have half as many.

    Each block tells the keys that are common in it. What is not told of a key is less than its share of every block,
    together less than half of `HEAVY`; so sums of what is told miss no heavy key, and name few others.

    Args:
        rows: the stream.
        seen: makes events of a block.
        many: how many rows the stream has.
        nobody: no key.
    """
    if many < HEAVY:
        return nobody
    names, share, half = nobody.columns, HEAVY / 2 / many, HEAVY / 2

    def common(block: pa.Table) -> pa.Table:
        counts = seen(block).group_by(names).len().filter(pl.col("len") >= share * block.num_rows)
        return counts.to_arrow(compat_level=pl.CompatLevel.oldest())

    told = rows.map_batches(common, batch_format="pyarrow", zero_copy_batch=True)
    whole = pl.concat([nobody.group_by(names).len(), *pieces(told)])
    summed = whole.group_by(names).agg(pl.col("len").cast(pl.Int64).sum())
    return summed.filter(pl.col("len") >= half).select(names).sort(names)


def heavy_answers(
    plan: GroupPlan, rows: "Dataset", seen: Seen, heavy: pl.DataFrame, questions: pl.DataFrame, scratch: Path | None
) -> Iterator[tuple[pl.DataFrame, list[Answer]]]:
    """For each heavy key the questions about it, and what the kernel says to them.

    Args:
        plan: the compiled group.
        rows: the stream.
        seen: makes events of a block.
        heavy: the keys.
        questions: about any keys, with the time when each is asked.
        scratch: where the events lie meanwhile.
    """
    if not heavy.height:
        return
    names, numbered = heavy.columns, heavy.with_row_index(_NUMBER)

    def theirs(block: pa.Table) -> pa.Table:
        return seen(block).join(numbered, on=names).to_arrow(compat_level=pl.CompatLevel.oldest())

    found = rows.map_batches(theirs, batch_format="pyarrow", zero_copy_batch=True)
    with TemporaryDirectory(dir=scratch, prefix=".events-") as folder:
        for i, piece in enumerate(pieces(found, cut.ROWS_A_FILE)):
            piece.write_ipc(Path(folder, f"{i}.ipc"))
        by_key = cut.Cut(pl.scan_ipc(Path(folder, "*.ipc")), scratch, pl.col(_NUMBER))
    asked = questions.join(numbered, on=names, maintain_order="left")
    for mine in asked.partition_by(_NUMBER, maintain_order=True):
        theirs_alone = by_key.part(mine[_NUMBER][0]).drop(_NUMBER)
        yield mine, answer(plan, theirs_alone, mine.select(names), mine[events.TIME].to_numpy())
