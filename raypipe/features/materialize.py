"""From the lake to the online store: the state of every entity, as known at one moment, in one step."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from raypipe.contracts.progress import Progress, Step
from raypipe.contracts.records import Materialized, Snapshot
from raypipe.contracts.stores import OnlineStore
from raypipe.errors import FeatureError
from raypipe.failpoints import failpoint
from raypipe.features import events, frames, keys, state
from raypipe.features.blocks import Block, Shared, block, cut
from raypipe.features.late import oldest
from raypipe.features.plan import GroupPlan, plans
from raypipe.features.reading import Read, Tables
from raypipe.features.tracks import Track
from raypipe.spec import Pipeline, TableFeatures, days, fingerprint, micros
from raypipe.stats.exact import Ints

#: How long before the watermark a question may be asked and still be answered as history would.
EXACT_FOR = micros(days(1))
#: So many events are in memory in every form at a time.
AT_ONCE = 1_000_000


def definition(pipeline: Pipeline) -> str:
    """The fingerprint of all that stored state depends on: who changes it asks for a state of its own."""
    return fingerprint((pipeline.ask, pipeline.inputs))


def name(pipeline: Pipeline) -> str:
    """What the state of this version of a pipeline's features is called in a store."""
    return f"{pipeline.name}/{definition(pipeline)}"


def materialize(
    pipeline: Pipeline,
    snapshots: Mapping[str, Snapshot],
    read: Read,
    store: OnlineStore,
    as_of: int,
    progress: Progress,
) -> Materialized:
    """Store the features of every entity as known at a moment, for `OnlineFeatures`.

    The state is written beside the one in use and takes its place in one step; readers see the one or the other. The
    same snapshots and moment again are no work.

    Args:
        pipeline: the definition.
        snapshots: by table name, everything it reads.
        read: gives the rows of a snapshot.
        store: where to.
        as_of: nothing known later is used; microseconds UTC.
        progress: told of each feature group.

    Raises:
        FeatureError: a snapshot is missing, the data does not fit the definition, or another run got ahead.
    """
    tables = Tables(pipeline, snapshots, read)
    used = tuple(snapshots[source.name] for source in pipeline.sources)
    with store.read(name(pipeline)) as reading:
        current = None if reading is None else Materialized.from_json(reading.head)
    if current is not None and (current.snapshots, current.watermark) == (used, as_of):
        return current
    with progress.step("materialize", total=len(pipeline.inputs)) as step:
        tally = _Tally()
        generation = store.load(name(pipeline), tally.watch(_states(tables, as_of, step)))
    record = Materialized(
        pipeline=pipeline.name,
        definition=definition(pipeline),
        snapshots=used,
        watermark=as_of,
        oldest=oldest(tables, as_of, EXACT_FOR),
        generation=generation,
        entities=tally.entities,
        bytes=tally.bytes,
        digest=tally.digest.hexdigest(),
    )
    failpoint("features.before_flip")
    if not store.publish(name(pipeline), generation, record.to_json().encode()):
        raise FeatureError("another run published a later state", where=pipeline.name, cure="Run it again if need be")
    return record


class _Tally:
    """Counts what goes by."""

    def __init__(self) -> None:
        self.entities, self.bytes, self.digest = 0, 0, hashlib.sha256()

    def watch(self, items: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        for key, value in items:
            self.entities += 1
            self.bytes += len(key) + len(value)
            self.digest.update(b"%d %d " % (len(key), len(value)) + key + value)
            yield key, value


def _states(tables: Tables, as_of: int, step: Step) -> Iterator[tuple[bytes, bytes]]:
    """Key and state of every entity: groups in order, then tables."""
    pipeline = tables.pipeline
    compiled = list(plans(pipeline))
    for number, plan in enumerate(compiled):
        for part in range(tables.parts(plan)):
            yield from group_states(number, plan, tables.events(plan, as_of, part), as_of)
        step.advance(note=", ".join(list(plan.group.features)[:3]))
    looked_up = [item for item in pipeline.inputs if isinstance(item, TableFeatures)]
    for number, item in enumerate(looked_up, start=len(compiled)):
        yield from table_states(number, item, tables.table(item.table.name))
        step.advance(note=item.table.name)


def group_states(number: int, plan: GroupPlan, found: pl.DataFrame, as_of: int) -> Iterator[tuple[bytes, bytes]]:
    """The state of every entity of one group that a question from ``as_of - EXACT_FOR`` on can see, sorted by key."""
    coded, _, known = events.numbered(found, found.select(pl.col("^k[0-9]+$")).head(0), plan.group.where)
    tracks = events.tracks(plan, coded, known.height)
    for first, end in portions(tracks):
        blocks = entity_blocks(plan, tracks, first, end)
        values = state.pack(plan, trimmed(plan, blocks, as_of))
        for key, value in zip(known[first:end].iter_rows(), values, strict=True):
            under = keys.stored(number, key)
            if value and under is not None:
                yield under, value


def portions(tracks: Sequence[Track]) -> Iterator[tuple[int, int]]:
    """Numbers of entities, from and to, that are worked on at once; together they have about `AT_ONCE` events."""
    events_before = np.sum([track.starts for track in tracks], axis=0)
    first, many = 0, len(events_before) - 1
    while first < many:
        limit = events_before[first] + AT_ONCE * len(tracks)
        end = max(first + 1, int(np.searchsorted(events_before, limit, side="right")) - 1)
        yield first, min(end, many)
        first = min(end, many)


def entity_blocks(plan: GroupPlan, tracks: Sequence[Track], first: int, end: int) -> list[Block]:
    """The tracks of entities ``first`` to ``end`` (not included), with all their events."""
    shared = Shared()
    return [
        block(shape, track, *shared.once(_bounds, track.starts, first, end), shared)
        for shape, track in zip(plan.tracks, tracks, strict=True)
    ]


def trimmed(plan: GroupPlan, blocks: Sequence[Block], as_of: int) -> list[Block]:
    """Only what a question from ``as_of - EXACT_FOR`` on can see."""
    oldest, shared = as_of - EXACT_FOR, Shared()
    return [
        cut(whole, shape.first_needed(oldest, plan.delay), shape.endless, shared)
        for shape, whole in zip(plan.tracks, blocks, strict=True)
    ]


def _bounds(starts: Ints, first: int, end: int) -> tuple[Ints, Ints]:
    return starts[first:end], starts[first + 1 : end + 1]


def table_states(number: int, item: TableFeatures, table: pl.LazyFrame) -> Iterator[tuple[bytes, bytes]]:
    """The chosen columns of every row of a table."""
    found = frames.chosen(item, table)
    for key, row in zip(keys.plain(found, [frames.FOUND]).iter_rows(), frames.packed(found, item), strict=True):
        under = keys.stored(number, key)
        if under is not None:
            yield under, row
