"""How far event time has come in a log, partition by partition, and which rows come behind it."""

from collections.abc import Mapping

import polars as pl

from raypipe.contracts.streaming import Messages
from raypipe.lake.ingest import AHEAD
from raypipe.spec import Stream, micros
from raypipe.spec.shape import LATE

_PARTITION, _TIME, _ARRIVED, _STAMP = "__partition", "__time", "__arrived", "__stamp"


def mark_late(
    source: Stream, rows: pl.DataFrame, places: list[int], messages: Messages, newest: Mapping[str, int]
) -> pl.DataFrame:
    """Mark the rows that come later than the stream allows; they are known from when they came.

    A row is late when the newest event before it in its partition, this batch and those before, is newer by more than
    ``late_by``. That depends on the log alone, not on where batches end. An event that lies more than an hour ahead of
    its arrival, or of its sender's stamp where that is earlier, moves nothing. When a row came is never the sender's
    word: a stamp of long ago would let it be seen before it was there.

    Args:
        source: says how late a row may come.
        rows: all columns of the lake.
        places: for each row, which message it was.
        messages: the batch.
        newest: by partition, the newest event time that came before, microseconds UTC.

    Returns:
        The rows with the columns ``__partition`` and ``__time`` (null where it tells nothing).
    """
    rows = rows.with_columns(
        pl.Series(_PARTITION, [messages.partitions[place] for place in places], pl.String),
        pl.Series(_ARRIVED, [messages.times[place] for place in places], pl.Int64),
        pl.Series(_STAMP, [messages.stamps[place] or messages.times[place] for place in places], pl.Int64),
    )
    time = pl.col("event_time").dt.epoch("us")
    rows = rows.with_columns(pl.when(time <= pl.min_horizontal(_ARRIVED, _STAMP) + AHEAD).then(time).alias(_TIME))
    if source.late_by is not None and rows.height:
        before = pl.col(_PARTITION).replace_strict(dict(newest), default=None, return_dtype=pl.Int64)
        seen = pl.col(_TIME).cum_max().forward_fill().shift().over(_PARTITION)
        behind = (time < pl.max_horizontal(before, seen) - micros(source.late_by)).fill_null(value=False)
        arrived = pl.col(_ARRIVED).cast(pl.Datetime("us", "UTC"))
        rows = rows.with_columns(behind.alias(LATE)).with_columns(
            pl.when(LATE).then(pl.max_horizontal("known_at", arrived)).otherwise("known_at").alias("known_at")
        )
    return rows.drop(_ARRIVED, _STAMP)


def newest_after(newest: Mapping[str, int], rows: pl.DataFrame) -> dict[str, int]:
    """The newest event time of each partition, with these rows."""
    found = rows.group_by(_PARTITION).agg(pl.col(_TIME).max()).drop_nulls().rows()
    return dict(newest) | {name: max(time, newest.get(name, time)) for name, time in found}
