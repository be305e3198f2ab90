"""The champion changed: let it answer in place of the one before, where one answers; where there is none, nobody."""

from functools import partial

from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Deployment, ModelVersion
from raypipe.errors import ServingError
from raypipe.flows.deploy import one_at_a_time, put_into_service, recipe
from raypipe.flows.platform import Platform
from raypipe.flows.remote import on_cluster
from raypipe.flows.watching.start import stop_watch
from raypipe.serving.api import ServeApi
from raypipe.serving.deploy import withdraw


def swap(platform: Platform, version: ModelVersion, progress: Progress) -> Deployment:
    """Put a new champion into service with the features that are there; nothing else is touched.

    Raises:
        ServingError: it cannot be served. It stays champion, and what answered before goes on answering.
    """
    work = partial(put_into_service, version=version)
    try:
        return on_cluster(f"{version.name}: deploy", work, platform, progress)
    except ServingError as error:
        what = f"is champion now, but does not answer: {error}"
        cure = "Run `raypipe deploy FILE` to serve it with fresh features, or `raypipe rollback`"
        raise ServingError(what, where=f"{version.name}/{version.version}", cure=cure) from None


def take_out(platform: Platform, name: str) -> None:
    """Let nobody answer for a pipeline, and nobody watch it; done again, it is no work.

    Raises:
        ServingError: the cluster does not answer, or Serve does not let go of it.
    """
    with one_at_a_time(platform.workspace):
        withdraw(recipe(platform, name), ServeApi(platform.services.dashboard_url, platform.services.serve_url))
    stop_watch(name)


def served(platform: Platform, name: str) -> bool:
    """Whether a pipeline is in service on this cluster.

    Raises:
        ServingError: the cluster does not answer.
    """
    return name in ServeApi(platform.services.dashboard_url, platform.services.serve_url).configs()


def swap_where_served(platform: Platform, version: ModelVersion, progress: Progress) -> Deployment | None:
    """Put a champion into service, with the versions beside it, where its pipeline is in service; None: it is not.

    Raises:
        ServingError: it cannot be served, or the cluster does not answer.
    """
    return swap(platform, version, progress) if served(platform, version.name) else None
