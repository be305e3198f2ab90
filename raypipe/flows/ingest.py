"""Raw files into tables."""

from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Ingested
from raypipe.errors import SourceError
from raypipe.flows.platform import Platform
from raypipe.spec import Pipeline


def ingest(platform: Platform, progress: Progress, *, pipeline: Pipeline) -> Ingested:
    """Bring every source of a pipeline into the lake; what is there already is not read again.

    A source that cannot be read stops itself alone: the others are taken in before it is told.

    Raises:
        SourceError: a source cannot be read as declared; its table is what it was.
    """
    snapshots, errors = [], []
    for source in pipeline.sources:
        try:
            snapshots.append(platform.lake.ingest(source, progress))
        except SourceError as error:
            errors.append(error)
    if len(errors) > 1:
        what = "\n".join((f"{len(errors)} of {len(pipeline.sources)} sources stopped", *(f"  {one}" for one in errors)))
        raise SourceError(what, where=pipeline.name)
    if errors:
        raise errors[0]
    return Ingested(snapshots=tuple(snapshots))


def ingest_line(record: Ingested) -> str:
    """What came of it, in one line."""
    rows = sum(snapshot.rows for snapshot in record.snapshots)
    added = sum(snapshot.added for snapshot in record.snapshots)
    return f"{len(record.snapshots)} tables, {rows:,} rows ({added:,} new)"
