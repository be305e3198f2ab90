"""Raw files into tables."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import TypeAlias

from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Ingested, Snapshot
from raypipe.errors import ServiceError, SourceError
from raypipe.flows.erase import retain
from raypipe.flows.platform import Platform
from raypipe.lake.intake import Following, Took
from raypipe.lake.live import Batch
from raypipe.spec import Pipeline, Source
from raypipe.words import amount

#: What a source stops with.
Stopped: TypeAlias = SourceError | ServiceError


def ingest(
    platform: Platform, progress: Progress, *, pipeline: Pipeline, anew: bool = False, took: Took | None = None
) -> Ingested:
    """Bring every source of a pipeline into the lake; what is there already is not read again.

    A source that cannot be read stops itself alone: the others are taken in before it is told. How the columns of
    files and messages changed is written into the ledger. Sources that say how long snapshots stay forget older ones.

    With ``anew``, tables that have rows of files which are not there any more are read again without them. ``took`` is
    told of each batch of a log.

    Raises:
        SourceError: a source cannot be read as declared; its table is what it was.
        ServiceError: the only one that stopped does not answer.
    """
    found, stopped = take_in(platform, progress, pipeline=pipeline, anew=anew, took=took)
    require_none(pipeline, stopped)
    return found


def take_in(
    platform: Platform, progress: Progress, *, pipeline: Pipeline, anew: bool = False, took: Took | None = None
) -> tuple[Ingested, dict[str, Stopped]]:
    """The same; what stopped sources comes back by their names, and the others came in."""
    retain(platform, pipeline=pipeline)
    snapshots: list[Snapshot] = []
    waiting: list[str] = []
    stopped: dict[str, Stopped] = {}

    def heard(following: Following, batch: Batch, seconds: float) -> None:
        if batch.extra:
            _tell(platform, pipeline, "source.columns", table=following.source.name, columns=batch.extra)
        if took is not None:
            took(following, batch, seconds)

    for source in pipeline.sources:
        try:
            before = platform.lake.landed(source)
            snapshots.append(platform.lake.ingest(source, progress, anew=anew, took=heard))
            waiting += [source.name] if snapshots[-1].snapshot_id == before else []
            if changed := snapshots[-1].changed:
                _tell(platform, pipeline, "source.columns", table=source.name, changed=changed)
        except (SourceError, ServiceError) as error:
            stopped[source.name] = error
            write_stop(platform, pipeline, source, error)
    return Ingested(snapshots=tuple(snapshots), waiting=tuple(waiting)), stopped


def require_none(pipeline: Pipeline, stopped: Mapping[str, Stopped]) -> None:
    """Raise what stopped sources, if it stopped any."""
    errors = list(stopped.values())
    if len(errors) > 1:
        what = "\n".join((f"{len(errors)} of {len(pipeline.sources)} sources stopped", *(f"  {one}" for one in errors)))
        raise SourceError(what, where=pipeline.name)
    if errors:
        raise errors[0]


def write_stop(platform: Platform, pipeline: Pipeline, source: Source, error: Stopped) -> None:
    """A row of the ledger, once as long as the table stays what it is: it may stop for the same reason again."""
    there = platform.lake.landed(source) or platform.lake.published(source)
    at = there.snapshot_id if isinstance(there, Snapshot) else there
    write_once(platform, pipeline, "source.stopped", json.dumps({"table": source.name, "why": str(error)}), str(at))


def write_once(platform: Platform, pipeline: Pipeline, kind: str, body: str, at: str = "") -> None:
    """A row of the ledger, once for the same content, and the same state of what it is about."""
    key = f"{kind}:{sha256((body + at).encode()).hexdigest()[:32]}"
    if platform.ledger.get(key) is None:
        platform.ledger.append(key, kind, pipeline.name, body)


def _tell(platform: Platform, pipeline: Pipeline, kind: str, **body: object) -> None:
    write_once(platform, pipeline, kind, json.dumps(body))


def _unnamed(snapshot: Snapshot) -> str:
    if not snapshot.unnamed:
        return ""
    there = sum(file.rows - file.again for file in snapshot.files if file.path in snapshot.unnamed)
    rows = min(there, snapshot.rows)  # rows of a table take the place of others
    more = f" and {len(snapshot.unnamed) - 1} more" if len(snapshot.unnamed) > 1 else ""
    what = f"{amount(rows, 'row')} came with {snapshot.unnamed[0]}{more}"
    return f"{snapshot.table}: {what}, which its source does not name: they stay"


def ingest_line(record: Ingested) -> str:
    """What came of it, in one line."""
    rows = sum(snapshot.rows for snapshot in record.snapshots)
    came = [snapshot for snapshot in record.snapshots if snapshot.table not in record.waiting]
    added, again = sum(one.added for one in came), sum(one.repeated for one in came)
    waiting = sum(snapshot.added for snapshot in record.snapshots) - added
    said = [w for one in record.snapshots for w in (*one.changed, one.differing, one.dropped, _unnamed(one)) if w]
    if any(snapshot.differing or snapshot.unnamed or snapshot.dropped for snapshot in record.snapshots):
        said.append("`raypipe ingest FILE --anew` reads such tables again, from the files that the source has now")
    bad = sum(file.bad for snapshot in record.snapshots for file in snapshot.files)
    new = f"{added:,} new, {again:,} came again" if again else f"{added:,} new"
    new += f", {waiting:,} read before and not published yet" if waiting else ""
    line = f"{amount(len(record.snapshots), 'table')}, {amount(rows, 'row')} ({new})"
    line += f", {amount(bad, 'record')} of files in the quarantine" if bad else ""
    return "\n".join((line, *(f"  {what}" for what in said)))
