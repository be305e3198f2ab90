"""A question that could be asked: what people and pages are shown as an example."""

from collections.abc import Sequence

import polars as pl

from raypipe.contracts.records import Snapshot
from raypipe.flows.platform import Platform
from raypipe.spec import Pipeline


def question(platform: Platform, pipeline: Pipeline, snapshots: Sequence[Snapshot], as_of: int) -> dict[str, object]:
    """The first row of the asked stream after a moment (microseconds UTC), in the request's fields; empty: no rows."""
    stream, fields = pipeline.ask.stream, list(pipeline.request.fields)
    for snapshot in snapshots:
        if snapshot.table == stream.name:
            rows = platform.lake.frame(snapshot, list(dict.fromkeys([*fields, stream.time]))).drop_nulls()
            later = pl.col(stream.time).dt.epoch("us") > as_of
            found = rows.sort(later.not_(), stream.time).head(1).select(fields).collect()
            return found.to_dicts()[0] if found.height else {}
    return {}
