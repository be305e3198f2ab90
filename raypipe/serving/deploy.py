"""Put a model version into service: through Serve's REST API, in place, without touching other applications."""

import time

import msgspec
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from raypipe.clock import Clock
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Deployment, ModelVersion
from raypipe.errors import ServingError
from raypipe.failpoints import failpoint
from raypipe.serving.api import ServeApi, last_error
from raypipe.serving.model import Model, Served
from raypipe.serving.recipe import DEPLOYMENT, IMPORT_PATH, Recipe
from raypipe.serving.replica import Holding

_POLL_SECONDS = 0.1


def deploy(
    version: ModelVersion, recipe: Recipe, api: ServeApi, *, clock: Clock, progress: Progress, timeout: float = 120.0
) -> Deployment:
    """Serve a version: start the pipeline's application if there is none, else swap the model in its replicas.

    The calling process must be connected to the cluster (``ray.init``): every replica is asked what it holds.

    Args:
        version: what is to answer.
        recipe: what the application is made of when it is new; one that is there keeps what it was made of.
        api: Serve's REST API of the same cluster.
        clock: dates the record.
        progress: is told how it goes.
        timeout: seconds until it is given up.

    Returns:
        The record, once every replica answers with this version.

    Raises:
        RegistryError: the version's files are not what its digest says; nothing was changed.
        ServingError: it cannot be served; what answered before goes on answering.
    """
    served = Served(folder=version.folder, digest=version.digest, version=version.version)
    with progress.step(f"deploy {version.name}/{version.version}", total=3) as step:
        # Most bad versions are found out here, before the cluster has heard of them.
        Model(served)
        step.advance(note="checked")
        before = api.configs()
        api.put(before | {recipe.name: _config(before.get(recipe.name), recipe, served)})
        failpoint("deploy.after_put")
        step.advance(note="loading")
        try:
            _wait(api, recipe.name, served, timeout)
        except ServingError:
            # Replicas that start later must not be told to begin with a version that was refused.
            api.put(before)
            raise
        step.advance(note="answers")
    url = f"{api.url}/{recipe.name}/predict"
    return Deployment(name=version.name, version=version.version, digest=version.digest, url=url, at=clock.now())


def holdings(name: str) -> list[Holding]:
    """What every running replica of a pipeline's application holds.

    Raises:
        ServingError: they cannot be asked.
    """
    try:
        handle = serve.get_deployment_handle(DEPLOYMENT, name)
        texts = handle.broadcast("holding").results(timeout_s=10)
    except (RayServeException, RayError, TimeoutError) as error:
        raise ServingError(f"its replicas cannot be asked: {last_error(str(error))}", where=name) from None
    return [Holding.from_json(text) for text in texts]


def _config(present: dict[str, object] | None, recipe: Recipe, served: Served) -> dict[str, object]:
    """The configuration with this version; as long as nothing else differs, Serve restarts no replica."""
    config = present or {
        "name": recipe.name,
        "route_prefix": f"/{recipe.name}",
        "import_path": IMPORT_PATH,
        "args": msgspec.to_builtins(recipe),
    }
    ours = {"name": DEPLOYMENT, "num_replicas": recipe.replicas, "user_config": msgspec.to_builtins(served)}
    return config | {"deployments": [ours]}


def _wait(api: ServeApi, name: str, served: Served, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        status = api.status(name)
        if status.failed:
            raise ServingError(f"version {served.version} cannot start: {status.reason}", where=name)
        if status.running and _all_hold(name, served):
            return
        time.sleep(_POLL_SECONDS)
    raise ServingError(f"version {served.version} did not answer within {timeout:g} seconds", where=name)


def _all_hold(name: str, served: Served) -> bool:
    held = holdings(name)
    for holding in held:
        if holding.refused == served:
            raise ServingError(f"version {served.version} is refused: {holding.reason}", where=name)
    return bool(held) and all(holding.served == served for holding in held)
