"""What is published in the lake, into the online store."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path

from raypipe import features
from raypipe.clock import to_second
from raypipe.contracts import bundle
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import MATERIALIZED, Materialized, ModelVersion, Snapshot
from raypipe.errors import FeatureError, RegistryError
from raypipe.failpoints import failpoint
from raypipe.features.materialize import definition
from raypipe.features.materialize import name as name_of
from raypipe.flows.platform import Platform
from raypipe.flows.run import as_of as moment_of
from raypipe.spec import Pipeline

#: So many states that nobody is served from are kept, the newest, for versions that come into service yet.
SPARE = 3


def refresh(
    platform: Platform,
    progress: Progress,
    *,
    name: str,
    pipeline: Pipeline | None = None,
    version: str = "champion",
    moment: int | None = None,
    anew: bool = False,
) -> tuple[Materialized, ...]:
    """Bring every state up to date that requests of a pipeline are answered from; forget those of former definitions.

    A changed definition has a state of its own: what is served stays with the old one until a new version takes over.

    Args:
        platform: where.
        progress: told of each feature group.
        name: of the pipeline.
        pipeline: a definition that comes first, whether it is in service or not; None: that of a version.
        version: this version, when there is no definition.
        moment: nothing known later is used; microseconds UTC. None: each definition's own, else now.
        anew: everything is loaded, whatever is there.

    Returns:
        The state of the first definition, then those of the champion and of the versions that answer beside it, each
        definition once.

    Raises:
        RegistryError: neither a definition nor such a version is there.
        FeatureError: nothing is published yet of one of the sources, or the data does not fit a definition.
    """
    first = pipeline or _defined(platform.registry.get(name, version))
    wanted = {definition(one): one for one in (first, *_in_service(platform, name))}
    now = platform.clock.now()
    made = tuple(
        materialize(
            platform,
            progress,
            pipeline=one,
            as_of=moment_of(one, moment, now),
            anew=anew,
            back=moment is not None or one.as_of is not None,
        )
        for one in wanted.values()
    )
    _forget_others(platform, name, set(wanted))
    return made


def _in_service(platform: Platform, name: str) -> Iterator[Pipeline]:
    champion = platform.registry.champion(name)
    yield from () if champion is None else (_defined(champion),)
    for arm in platform.registry.arms(name).arms:
        yield _defined(platform.registry.get(name, arm.version))


def _forget_others(platform: Platform, name: str, wanted: set[str]) -> None:
    """Whom a rollback would give the service back to, and a few states besides, are kept as they are."""
    earlier = platform.registry.earlier(name)
    if earlier is not None:
        with suppress(RegistryError):  # without its files there is nothing to go back to
            wanted = wanted | {definition(_defined(platform.registry.get(name, earlier)))}
    written = (Materialized.from_json(entry.body) for entry in reversed(platform.ledger.entries(MATERIALIZED, name)))
    others = [one for one in dict.fromkeys(state.definition for state in written) if one not in wanted]
    for gone in others[SPARE:]:
        platform.store.forget(f"{name}/{gone}")


def _defined(version: ModelVersion) -> Pipeline:
    return bundle.pipeline(Path(version.folder))


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
    for table, snapshot in found.items():
        if snapshot is None:
            cure = "Run `raypipe run FILE --until gate`"
            raise FeatureError(f"nothing of `{table}` has passed a gate yet", where=pipeline.name, cure=cure)
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
    """The features of these snapshots into the online store; the ledger keeps what it held when.

    The store comes first: a run that dies in between leaves a state that the ledger lacks, and the next one writes it
    down before it goes on.
    """
    keep = partial(_written_down, platform)
    by_name = {snapshot.table: snapshot for snapshot in snapshots}
    lake, store = platform.lake, platform.store
    record = features.materialize(
        pipeline, by_name, lake.frame, store, as_of, progress, since=lake.changes, anew=anew, back=back, found=keep
    )
    failpoint("features.before_ledger")
    keep(record)
    return record


def _written_down(platform: Platform, record: Materialized) -> None:
    """A state in the ledger, once."""
    body = record.to_json()
    platform.ledger.append(f"features:{sha256(body.encode()).hexdigest()[:32]}", MATERIALIZED, record.pipeline, body)


def in_store(platform: Platform, pipeline: Pipeline) -> Materialized | None:
    """The state that the online store holds of this version of the features."""
    with platform.store.read(name_of(pipeline)) as reading:
        return None if reading is None else Materialized.from_json(reading.head)


def materialize_line(record: Materialized) -> str:
    """What came of it, in one line."""
    size = f"{record.bytes / 1e6:,.1f} MB"
    known = to_second(record.watermark)
    return f"{record.entities:,} entities ({size}), known up to {known}, generation {record.generation}"
