"""Raw files into tables."""

from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Ingested
from raypipe.flows.platform import Platform
from raypipe.spec import Pipeline


def ingest(platform: Platform, progress: Progress, *, pipeline: Pipeline) -> Ingested:
    """Bring every source of a pipeline into the lake; what is there already is not read again."""
    return Ingested(snapshots=tuple(platform.lake.ingest(source, progress) for source in pipeline.sources))


def ingest_line(record: Ingested) -> str:
    """What came of it, in one line."""
    rows = sum(snapshot.rows for snapshot in record.snapshots)
    added = sum(snapshot.added for snapshot in record.snapshots)
    return f"{len(record.snapshots)} tables, {rows:,} rows ({added:,} new)"
