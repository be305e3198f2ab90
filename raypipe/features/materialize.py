"""From the lake to the online store: the state of every entity, as known at one moment, in one step."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from raypipe.clock import to_second
from raypipe.contracts.changes import Since
from raypipe.contracts.progress import Progress, Step
from raypipe.contracts.records import Materialized, Snapshot
from raypipe.contracts.stores import MovedError, OnlineStore
from raypipe.errors import FeatureError
from raypipe.failpoints import failpoint
from raypipe.features.plan import plans
from raypipe.features.reading import Read, Tables
from raypipe.features.spans import states
from raypipe.features.states import EXACT_FOR, table_states
from raypipe.features.tally import Tally
from raypipe.features.update import Update
from raypipe.spec import Pipeline, TableFeatures, fingerprint

#: How often a run that another got ahead of looks again.
ATTEMPTS = 5


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
    *,
    since: Since | None = None,
    anew: bool = False,
    back: bool = True,
    found: Callable[[Materialized], None] = lambda _: None,
) -> Materialized:
    """Store the features of every entity as known at a moment, for `OnlineFeatures`.

    Where the store holds an earlier state of the same definition, only what the snapshots gained since then, and what
    became known since then, is worked on. The new state takes the old one's place in one step, together with the
    position that it goes up to; readers see the one or the other. The same snapshots and moment again are no work.
    What another run published meanwhile, of this moment or a later one, stays: this run says so and changes nothing.

    Args:
        pipeline: the definition.
        snapshots: by table name, everything it reads.
        read: gives the rows of a snapshot.
        store: where to.
        as_of: nothing known later is used; microseconds UTC.
        progress: told of each feature group.
        since: tells what snapshots gained; None: nobody knows, and everything is loaded.
        anew: everything is loaded, whatever is there.
        back: the moment was asked for by name, so that a later state which is there at first is replaced by it.
        found: told of the state that is there, before anything takes its place.

    Raises:
        FeatureError: a snapshot is missing, the data does not fit the definition, or another run got ahead.
    """
    tables = Tables(pipeline, snapshots, read)
    used = tuple(snapshots[source.name] for source in pipeline.sources)
    for attempt in range(ATTEMPTS):
        with store.read(name(pipeline)) as reading, suppress(MovedError):
            head = None if reading is None else reading.head
            current = None if head is None else Materialized.from_json(head)
            if current is not None:
                found(current)
            same = current is not None and current.watermark == as_of and _same(current.snapshots, used)
            if current is not None and same and (attempt or not anew):
                return current
            if current is not None and (attempt or not (back or anew)):
                _require_earlier(current, as_of if attempt else as_of + 1, pipeline)
            update = None
            if reading and current and since and not anew and current.watermark < as_of:
                update = Update.of(tables, current, reading, as_of, since)
            if update is None or head is None:
                if (loaded := _loaded(tables, used, store, as_of, progress, head)) is None:
                    continue
                return loaded
            with progress.step("materialize", total=len(pipeline.inputs)) as step:
                items = list(update.items(step))
            record = update.record(used)
            failpoint("features.before_update")
            if store.update(name(pipeline), items, head=record.to_json().encode(), expected=head):
                failpoint("features.after_update")
                return record
    raise FeatureError("other runs change its state all the time", where=pipeline.name, cure="Run it again")


def _require_earlier(current: Materialized, limit: int, pipeline: Pipeline) -> None:
    if current.watermark >= limit:
        what = f"another run published a later state, known up to {to_second(current.watermark)}"
        raise FeatureError(what, where=pipeline.name, cure="Name an earlier moment with `--as-of`, if it is wanted")


def _same(some: tuple[Snapshot, ...], others: tuple[Snapshot, ...]) -> bool:
    """The same rows: how many of them an ingestion added, which a record says too, is no part of them."""
    return [(one.table, one.snapshot_id) for one in some] == [(one.table, one.snapshot_id) for one in others]


def _loaded(
    tables: Tables, used: tuple[Snapshot, ...], store: OnlineStore, as_of: int, progress: Progress, head: bytes | None
) -> Materialized | None:
    """Everything anew, beside what is in use; None when another head than this one is published by then."""
    pipeline, tally = tables.pipeline, Tally()
    with progress.step("materialize", total=len(pipeline.inputs)) as step:
        generation = store.load(name(pipeline), tally.watch(_states(tables, as_of, step)))
    record = Materialized(
        pipeline=pipeline.name,
        definition=definition(pipeline),
        snapshots=used,
        watermark=as_of,
        oldest=as_of - EXACT_FOR,
        generation=generation,
        entities=tally.entities,
        bytes=tally.bytes,
        digest=tally.digest.hexdigest(),
    )
    failpoint("features.before_flip")
    if not store.publish(name(pipeline), generation, record.to_json().encode(), expected=head):
        return None
    failpoint("features.after_flip")
    return record


def _states(tables: Tables, as_of: int, step: Step) -> Iterator[tuple[bytes, bytes]]:
    """Key and state of every entity: groups in order, then tables."""
    pipeline = tables.pipeline
    compiled = list(plans(pipeline))
    for number, plan in enumerate(compiled):
        for part in range(tables.parts(plan)):
            yield from states(number, plan, tables.events(plan, as_of, part), as_of)
        step.advance(note=", ".join(list(plan.group.features)[:3]))
    looked_up = [item for item in pipeline.inputs if isinstance(item, TableFeatures)]
    for number, item in enumerate(looked_up, start=len(compiled)):
        yield from table_states(number, item, tables.table(item.table.name))
        step.advance(note=item.table.name)
