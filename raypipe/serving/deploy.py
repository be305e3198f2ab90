"""Put a model version into service: swapped in place in every replica, without touching other applications."""

import time
from contextlib import suppress

import msgspec
import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from raypipe.clock import Clock
from raypipe.contracts.arms import Arm
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Deployment, ModelVersion
from raypipe.errors import ServingError
from raypipe.failpoints import failpoint
from raypipe.serving.api import Config, ServeApi
from raypipe.serving.model import Model, Served
from raypipe.serving.ray_sink import DEPLOYMENT
from raypipe.serving.recipe import IMPORT_PATH, Recipe
from raypipe.serving.replica import Holding

_POLL_SECONDS = 0.1
_ANSWER_SECONDS = 90.0


def deploy(
    version: ModelVersion,
    recipe: Recipe,
    api: ServeApi,
    *,
    clock: Clock,
    progress: Progress,
    timeout: float = 120.0,
    arms: tuple[Arm, ...] = (),
    salt: str = "",
) -> Deployment:
    """Serve a version: start the pipeline's application if there is none, else swap the model in its replicas.

    The calling process must be connected to the cluster (``ray.init``): every replica is told, and asked.

    Args:
        version: what is to answer.
        recipe: what the application is made of; one that was deployed from another import path keeps its own.
        api: Serve's REST API of the same cluster.
        clock: dates the record.
        progress: is told how it goes.
        timeout: seconds until it is given up.
        arms: the versions beside it.
        salt: spreads the units among them all.

    Returns:
        The record, once every replica answers with this version.

    Raises:
        RegistryError: the version's files are not what its digest says; nothing was changed.
        ServingError: it cannot be served; what answered before goes on answering.
    """
    if not ray.is_initialized():
        # Serve would start a cluster of its own.
        raise ServingError("this process is not connected to Ray", where=version.name, cure="Run `raypipe up` first")
    served = Served(folder=version.folder, digest=version.digest, version=version.version, arms=arms, salt=salt)
    with progress.step(f"deploy {version.name}/{version.version}", total=3) as step:
        # Most bad versions are found out here, before the cluster has heard of them.
        for one in served.all:
            Model(one)
        step.advance(note="checked")
        configs, before = api.configs(), recipe.pointer.read()
        try:
            _tell(recipe.name, served)
            recipe.pointer.write(served)
            failpoint("deploy.after_pointer_moved")
            _start(api, configs, recipe)
            step.advance(note="loaded")
            _wait(api, recipe.name, served, timeout)
        except ServingError:
            recipe.pointer.write(before)
            if before is not None:
                # A replica that cannot be told comes back by itself, see `Replica.check_health`.
                with suppress(ServingError):
                    _tell(recipe.name, before)
            if api.configs() != configs:
                api.put(configs)
            raise
        step.advance(note="answers")
    url = f"{api.url}/{recipe.name}/predict"
    return Deployment(name=version.name, version=version.version, digest=version.digest, url=url, at=clock.now())


def scale(api: ServeApi, recipe: Recipe) -> bool:
    """Have Serve run as many replicas as the tuning says; no replica is replaced.

    Returns:
        False when the pipeline is not in service.

    Raises:
        ServingError: Serve refuses it.
    """
    configs = api.configs()
    present = configs.get(recipe.name)
    if present is None:
        return False
    wanted = present | {"deployments": [{"name": DEPLOYMENT} | recipe.tuning.scaled]}
    if wanted != present:
        api.put(configs | {recipe.name: wanted})
    return True


def withdraw(recipe: Recipe, api: ServeApi, *, timeout: float = 60.0) -> None:
    """Take a pipeline out of service: its application ends, no other one is touched. Done again, it is no work.

    Args:
        recipe: of its application.
        api: Serve's REST API of the cluster.
        timeout: seconds until it is given up.

    Raises:
        ServingError: it cannot be asked, or the application has not ended in time.
    """
    configs = api.configs()
    if recipe.name in configs:
        api.put({name: config for name, config in configs.items() if name != recipe.name})
    recipe.pointer.write(None)
    deadline = time.monotonic() + timeout
    while recipe.name in api.names():
        if time.monotonic() > deadline:
            raise ServingError(f"did not go out of service within {timeout:g} seconds", where=recipe.name)
        time.sleep(_POLL_SECONDS)


def holdings(name: str) -> list[Holding]:
    """What every running replica of a pipeline's application holds; empty when none can be asked."""
    return _broadcast(name, "holding")


def _tell(name: str, served: Served) -> bool:
    """Have all running replicas take a version; True when there are some and all of them hold it.

    Raises:
        ServingError: one refuses it.
    """
    told = _broadcast(name, "take", served.to_json())
    for holding in told:
        if holding.refused == served:
            raise ServingError(f"version {served.version} is refused: {holding.reason}", where=name)
    return bool(told) and all(holding.served == served for holding in told)


def _broadcast(name: str, method: str, *args: str) -> list[Holding]:
    try:
        handle = serve.get_deployment_handle(DEPLOYMENT, name)
        texts = handle.broadcast(method, *args).results(timeout_s=_ANSWER_SECONDS)
    except (KeyError, RayServeException, RayError, TimeoutError):
        # No such application, or a replica that died on the way.
        return []
    return [Holding.from_json(text) for text in texts]


def _start(api: ServeApi, configs: dict[str, Config], recipe: Recipe) -> None:
    """Make the application what the recipe says, if it is not; Serve replaces replicas only if it must."""
    present = configs.get(recipe.name)
    if present and present["import_path"] != IMPORT_PATH:
        wanted = present
    else:
        args = msgspec.to_builtins(recipe) | {"replicas": 1}
        replicas = {"name": DEPLOYMENT} | recipe.tuning.scaled
        route = {"name": recipe.name, "route_prefix": f"/{recipe.name}"}
        wanted = route | {"import_path": IMPORT_PATH, "args": args, "deployments": [replicas]}
    if api.status(recipe.name).failed:
        # Serve does not try one again that has failed to start.
        api.put({name: config for name, config in configs.items() if name != recipe.name})
        present = None
    if wanted != present:
        api.put(configs | {recipe.name: wanted})


def _wait(api: ServeApi, name: str, served: Served, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        status = api.status(name)
        if status.failed:
            raise ServingError(f"version {served.version} cannot start: {status.reason}", where=name)
        if status.running and _tell(name, served):
            return
        time.sleep(_POLL_SECONDS)
    raise ServingError(f"version {served.version} did not answer within {timeout:g} seconds", where=name)
