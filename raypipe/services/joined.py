"""Work on a Ray cluster that others start and stop: KubeRay, the cluster launcher, a compose file."""

from raypipe.errors import ServiceError
from raypipe.services.config import ServicesConfig
from raypipe.services.connect import drive, explained
from raypipe.services.http import ask

MLFLOW_SECONDS = 5.0


def join(config: ServicesConfig, name: str = "raypipe", run_id: str = "") -> None:
    """Make this process a driver of the cluster that ``config.ray_address`` names, with Serve open on it.

    Nothing else is started. The login is Ray's own: ``RAY_AUTH_MODE`` and the token are read from the environment.
    Serve is asked through the dashboard, so the process must run on the cluster's head, as the drivers of Ray jobs do.

    Args:
        config: where the cluster and MLflow are; ``host`` and ``serve_port`` are where Serve is to listen if it does
            not run yet.
        name: what the dashboard shows as the name of this driver's job.
        run_id: as log lines and traces have it, for the job's metadata.

    Raises:
        ServiceError: MLflow does not answer, or the cluster cannot be joined.
    """
    if ask(f"{config.mlflow_url}/health", seconds=MLFLOW_SECONDS)[0] != 200:
        raise ServiceError("MLflow does not answer", where=config.mlflow_url, cure="Set `mlflow_url` to your server")

    from ray import serve
    from ray.serve.schema import LoggingConfig

    with explained(config.ray_address, cure="Without `ray_address`, raypipe starts a cluster on this machine"):
        drive(config.ray_address, name, run_id)
        serve.start(
            proxy_location="EveryNode",
            http_options={"host": config.host, "port": config.serve_port},
            logging_config=LoggingConfig(enable_access_log=False),
        )


def refuse(config: ServicesConfig) -> None:
    """Leave a cluster alone that others start and stop.

    >>> from pathlib import Path
    >>> refuse(ServicesConfig(Path("/srv/flights"), ray_address="auto"))
    Traceback (most recent call last):
    raypipe.errors.ServiceError: auto: this cluster is not started or stopped by raypipe. Unset `ray_address` ...

    Raises:
        ServiceError: the configuration names such a cluster.
    """
    if config.ray_address:
        raise ServiceError(
            "this cluster is not started or stopped by raypipe",
            where=config.ray_address,
            cure="Unset `ray_address` to work on this machine alone",
        )
