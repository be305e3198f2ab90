"""What both drivers read: the rows of every stream, once, with the columns that are used."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import polars as pl

from raypipe.contracts.records import Snapshot
from raypipe.errors import FeatureError
from raypipe.features import events
from raypipe.features.plan import plans
from raypipe.spec import Pipeline, Stream

#: Gives the rows of a snapshot.
Read: TypeAlias = Callable[[Snapshot], pl.LazyFrame]


def require(pipeline: Pipeline, snapshots: Mapping[str, Snapshot]) -> None:
    """Raises FeatureError when a snapshot that the pipeline reads is not given."""
    for source in pipeline.sources:
        if source.name not in snapshots:
            raise FeatureError(f"there is no snapshot of `{source.name}`", where=pipeline.name, cure="Ingest it first")


def streams(
    pipeline: Pipeline, snapshots: Mapping[str, Snapshot], read: Read, asked: tuple[str, ...] = ()
) -> dict[str, pl.DataFrame]:
    """The rows of each stream that is aggregated, and with ``asked`` columns of the one that is asked about."""
    wanted: dict[Stream, dict[str, None]] = {}
    ordered: set[Stream] = set()
    if asked:
        wanted[pipeline.ask.stream] = dict.fromkeys(asked)
        ordered.add(pipeline.ask.stream)
    for plan in plans(pipeline):
        stream = plan.group.moment.stream
        wanted.setdefault(stream, {}).update(dict.fromkeys(plan.columns))
        ordered |= {stream} if plan.ordered else set()
    return {
        stream.name: events.rows(stream, read(snapshots[stream.name]), list(columns), ordered=stream in ordered)
        for stream, columns in wanted.items()
    }
