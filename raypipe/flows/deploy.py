"""The champion answers: its features in the online store, its model behind HTTP."""

from raypipe import features, serving
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Deployment, Snapshot
from raypipe.errors import RegistryError
from raypipe.flows.platform import Platform
from raypipe.spec import Pipeline


def deploy(
    platform: Platform, progress: Progress, *, pipeline: Pipeline, snapshots: tuple[Snapshot, ...], as_of: int
) -> Deployment:
    """Fill the online store as of a moment and serve the champion of a pipeline.

    Raises:
        RegistryError: the pipeline has no champion.
        ServingError: the service does not become healthy; the one before goes on answering.
    """
    champion = platform.registry.champion(pipeline.name)
    if champion is None:
        raise RegistryError("has no champion to serve", where=pipeline.name, cure="Run `raypipe run` first")
    by_name = {snapshot.table: snapshot for snapshot in snapshots}
    features.materialize(pipeline, by_name, platform.lake.frame, platform.store, as_of, progress)
    return serving.deploy(champion, platform, progress)


def deploy_line(record: Deployment) -> str:
    """What came of it, in one line."""
    return f"{record.name}/{record.version} answers at {record.url}"
