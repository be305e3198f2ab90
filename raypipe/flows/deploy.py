"""The champion answers: its features in the online store, its model behind HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from raypipe.contracts import bundle
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Deployment, ModelVersion, Snapshot
from raypipe.errors import RegistryError, ServingError
from raypipe.failpoints import failpoint
from raypipe.flows.collect import log_folder, start_collector
from raypipe.flows.materialize import store_features
from raypipe.flows.platform import Platform
from raypipe.flows.question import question
from raypipe.flows.watching.start import start_watch
from raypipe.serving.api import ServeApi
from raypipe.serving.deploy import deploy as serve_version
from raypipe.serving.model import Served
from raypipe.serving.recipe import Recipe
from raypipe.spec import Pipeline

#: How long a deploy waits for another one; each gives up by itself before.
LOCK_SECONDS = 300.0


def deploy(
    platform: Platform, progress: Progress, *, pipeline: Pipeline, snapshots: tuple[Snapshot, ...], as_of: int
) -> Deployment:
    """Fill the online store as of a moment and serve the champion of a pipeline.

    Raises:
        RegistryError: the pipeline has no champion.
        ServingError: the service does not become healthy; the one before goes on answering.
    """
    version = champion(platform, pipeline.name)
    store_features(platform, progress, pipeline, snapshots, as_of)
    recipe(platform, version.name).pointer.suggest(question(platform, pipeline, snapshots, as_of))
    return put_into_service(platform, progress, version=version)


def put_into_service(platform: Platform, progress: Progress, *, version: ModelVersion) -> Deployment:
    """Let a version answer, with the features that are in the online store, and write down that it does.

    Raises:
        ServingError: it cannot be served; what answered before goes on answering.
    """
    api = ServeApi(platform.services.dashboard_url, platform.services.serve_url)
    beside = platform.registry.arms(version.name)
    made = recipe(platform, version.name)
    with one_at_a_time(platform.workspace):
        deployment = serve_version(
            version, made, api, clock=platform.clock, progress=progress, arms=beside.arms, salt=beside.salt
        )
    start_collector(platform)
    watch_again(platform, version)
    failpoint("deploy.before_ledger")
    platform.registry.deployed(deployment)
    return deployment


def watch_again(platform: Platform, version: ModelVersion) -> None:
    """Let somebody watch, where a policy decides on what is seen; nothing happens when somebody does already."""
    if bundle.pipeline(Path(version.folder)).retrain is not None:
        start_watch(platform, version.name)


@contextmanager
def one_at_a_time(workspace: Path) -> Iterator[None]:
    """Serve's REST API takes all applications at once, so of two deploys at the same time one would undo the other.

    Raises:
        ServingError: another one takes too long.
    """
    lock = FileLock(workspace / "serving.lock", timeout=LOCK_SECONDS)
    try:
        with lock:
            yield
    except Timeout:
        what = f"another deploy has been at work for {LOCK_SECONDS:.0f} s"
        raise ServingError(what, where=str(workspace), cure="Try again when it is done") from None


def champion(platform: Platform, name: str) -> ModelVersion:
    """The version of a pipeline that is to answer.

    Raises:
        RegistryError: there is none.
    """
    version = platform.registry.champion(name)
    if version is None:
        raise RegistryError("has no champion to serve", where=name, cure="Run `raypipe run` first")
    return version


def recipe(platform: Platform, name: str, served: Served | None = None) -> Recipe:
    """What a pipeline's Serve application is made of on this platform; ``served`` is put into service with it."""
    return Recipe(
        name=name,
        reader=f"raypipe.features.opening:{'open_redis' if platform.online_url else 'open_lmdb'}",
        reader_args={"url": platform.online_url}
        if platform.online_url
        else {"folder": str(platform.workspace / "online")},
        folder=str(platform.workspace / "serving"),
        served=served,
        replicas=platform.replicas,
        max_body_bytes=platform.max_body_bytes,
        require_keys=not platform.services.on_loopback,
        log=str(log_folder(platform.workspace)),
        row_modules=platform.row_modules,
        observing=platform.observing,
    )


def deploy_line(record: Deployment) -> str:
    """What came of it, in one line."""
    return f"{record.name}/{record.version} answers at {record.url}"
