"""A question that could be asked: what people and pages are shown as an example."""

from collections.abc import Sequence

import polars as pl

from raypipe.contracts.records import Snapshot
from raypipe.flows.platform import Platform
from raypipe.spec import Pipeline, Stream


def question(platform: Platform, pipeline: Pipeline, snapshots: Sequence[Snapshot], as_of: int) -> dict[str, object]:
    """The first row of the asked stream after a moment (microseconds UTC), in the request's fields; empty: no rows."""
    stream, fields = pipeline.ask.stream, list(pipeline.request.fields)
    for snapshot in snapshots:
        if snapshot.table == stream.name:
            times = [stream.time] if isinstance(stream, Stream) else []
            rows = platform.lake.frame(snapshot, list(dict.fromkeys([*fields, *times]))).drop_nulls()
            if times:
                rows = rows.sort((pl.col(times).dt.epoch("us") > as_of).not_(), *times)
            found = rows.head(1).select(fields).collect()
            return found.to_dicts()[0] if found.height else {}
    return {}
