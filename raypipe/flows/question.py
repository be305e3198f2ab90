"""A question that could be asked: what people and pages are shown as an example."""

from collections.abc import Sequence
from datetime import UTC, datetime

import polars as pl

from raypipe.contracts.records import Snapshot
from raypipe.flows.platform import Platform
from raypipe.spec import Pipeline, Stream


def question(platform: Platform, pipeline: Pipeline, snapshots: Sequence[Snapshot], as_of: int) -> dict[str, object]:
    """The first row of the asked stream after a moment (microseconds UTC), in the request's fields; empty: no rows.

    Where nothing came after that moment, the newest row, asked about at that moment: what is stored reaches no further.
    """
    ask, fields = pipeline.ask, list(pipeline.request.fields)
    for snapshot in snapshots:
        if snapshot.table == ask.stream.name:
            times = [ask.stream.time] if isinstance(ask.stream, Stream) else []
            rows = platform.lake.frame(snapshot, list(dict.fromkeys([*fields, *times]))).drop_nulls()
            if not times:
                return _first(rows.select(fields))
            later = rows.filter(pl.col(times).dt.epoch("us") > as_of).sort(times)
            if found := _first(later.select(fields)):
                return found
            newest = _first(rows.sort(times, descending=True).select(fields))
            now = {ask.moment: datetime.fromtimestamp(as_of / 1e6, UTC) + ask.lead}
            return newest | {name: moment for name, moment in now.items() if name in newest}
    return {}


def _first(rows: pl.LazyFrame) -> dict[str, object]:
    found = rows.head(1).collect()
    return found.to_dicts()[0] if found.height else {}
