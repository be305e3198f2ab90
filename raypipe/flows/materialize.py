"""What is published in the lake, into the online store."""

from collections.abc import Sequence
from hashlib import sha256

from raypipe import features
from raypipe.clock import to_second
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import MATERIALIZED, Materialized, Snapshot
from raypipe.errors import FeatureError
from raypipe.failpoints import failpoint
from raypipe.flows.platform import Platform
from raypipe.spec import Pipeline


def materialize(
    platform: Platform, progress: Progress, *, pipeline: Pipeline, as_of: int, anew: bool = False, back: bool = True
) -> Materialized:
    """Bring the online store up to a moment, from what gates have published.

    Raises:
        FeatureError: nothing is published yet of one of the sources, the data does not fit the definition, or another
            run got ahead; without ``back`` also when the store is at a later moment.
    """
    return store_features(platform, progress, pipeline, published(platform, pipeline), as_of, anew=anew, back=back)


def published(platform: Platform, pipeline: Pipeline) -> tuple[Snapshot, ...]:
    """What readers see of every source of a pipeline.

    Raises:
        FeatureError: nothing is published yet of one.
    """
    found = {source.name: platform.lake.published(source) for source in pipeline.sources}
    for name, snapshot in found.items():
        if snapshot is None:
            cure = "Run `raypipe run FILE --until gate`"
            raise FeatureError(f"nothing of `{name}` has passed a gate yet", where=pipeline.name, cure=cure)
    return tuple(snapshot for snapshot in found.values() if snapshot is not None)


def store_features(
    platform: Platform,
    progress: Progress,
    pipeline: Pipeline,
    snapshots: Sequence[Snapshot],
    as_of: int,
    *,
    anew: bool = False,
    back: bool = True,
) -> Materialized:
    """The features of these snapshots into the online store; the ledger keeps what it held when."""
    by_name = {snapshot.table: snapshot for snapshot in snapshots}
    lake, store = platform.lake, platform.store
    record = features.materialize(
        pipeline, by_name, lake.frame, store, as_of, progress, since=lake.changes, anew=anew, back=back
    )
    failpoint("features.before_ledger")
    body = record.to_json()
    platform.ledger.append(f"features:{sha256(body.encode()).hexdigest()[:32]}", MATERIALIZED, pipeline.name, body)
    return record


def materialize_line(record: Materialized) -> str:
    """What came of it, in one line."""
    size = f"{record.bytes / 1e6:,.1f} MB"
    known = to_second(record.watermark)
    return f"{record.entities:,} entities ({size}), known up to {known}, generation {record.generation}"
