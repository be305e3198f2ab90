"""Where interfaces meet implementations: settings in, an open platform out.

Rooms are imported by the function that opens them: to look at the services, or at the models, costs no import of all.
"""

from functools import partial
from typing import TYPE_CHECKING

from raypipe import telemetry
from raypipe.clock import Clock, SystemClock
from raypipe.errors import WorkspaceError
from raypipe.settings import Settings, load_settings

if TYPE_CHECKING:
    from raypipe.flows import Platform
    from raypipe.ledger import Ledger
    from raypipe.registry import Registry
    from raypipe.services import ServicesConfig
    from raypipe.serving.embedded import Embedded


def connect(settings: Settings | None = None, clock: Clock | None = None) -> "Platform":
    """Open the workspace that the settings name. Nothing is started; missing folders are made.

    Raises:
        SettingsError: a setting cannot be used.
        WorkspaceError: the workspace cannot be written to.
    """
    telemetry.turn_off()
    from raypipe.features.stores.lmdb import LmdbStore
    from raypipe.flows import Platform
    from raypipe.lake import Lake
    from raypipe.ledger import Ledger

    settings, clock = settings or load_settings(), clock or SystemClock()
    home = settings.home
    ledger = Ledger.in_folder(home, clock)
    services = services_config(settings)
    return Platform(
        workspace=home,
        clock=clock,
        ledger=ledger,
        lake=Lake(home / "lake"),
        registry=open_registry(settings, ledger),
        store=LmdbStore(home / "online"),
        tracking_uri=services.mlflow_url,
        cpus=services.logical_cpus,
        max_body_bytes=settings.max_body_bytes,
        replicas=settings.replicas,
        services=services,
        reopen=partial(connect, settings, clock),
    )


def open_registry(settings: Settings, ledger: "Ledger", *, mirror: bool = True) -> "Registry":
    """The models of a workspace; who only reads needs no mirror, and spares its imports."""
    telemetry.turn_off()
    from raypipe.registry import Registry

    uri = services_config(settings).mlflow_url if mirror else ""
    return Registry(settings.home / "registry", ledger, uri)


def load(name: str, version: int | str = "champion", settings: Settings | None = None) -> "Embedded":
    """A model in this process, with the online features of the workspace: no service, no network.

    Args:
        name: of the pipeline.
        version: its number, or ``champion``.
        settings: None: those of ``raypipe.toml`` and the environment.

    Returns:
        What answers: ``load("flights").predict(carrier="UA", …)``.

    Raises:
        WorkspaceError: there is no workspace.
        RegistryError: there is no such version, or its files are not what its digest says.
        FeatureError: no features are stored; `raypipe run` or `raypipe deploy` stores them.
        ServingError: the model cannot be used.
    """
    from raypipe.features.opening import open_lmdb
    from raypipe.ledger import Ledger
    from raypipe.serving.embedded import Embedded
    from raypipe.serving.model import Served

    settings = settings or load_settings()
    if not settings.home.is_dir():
        # Opening the ledger would make the folder, and asking is no reason to.
        cure = "Make a model with `raypipe run FILE`"
        raise WorkspaceError("no workspace is there yet", where=str(settings.home), cure=cure)
    ledger = Ledger.in_folder(settings.home, SystemClock())
    try:
        found = open_registry(settings, ledger, mirror=False).get(name, version)
    finally:
        ledger.close()
    served = Served(folder=found.folder, digest=found.digest, version=found.version)
    return Embedded(served, partial(open_lmdb, folder=str(settings.home / "online")))


def services_config(settings: Settings) -> "ServicesConfig":
    """How the processes on this machine are started and found."""
    from raypipe.services import ServicesConfig

    return ServicesConfig(
        workspace=settings.home,
        host=settings.host,
        serve_port=settings.serve_port,
        dashboard_port=settings.dashboard_port,
        mlflow_port=settings.mlflow_port,
        cpus=settings.cpus,
        ray_address=settings.ray_address,
        mlflow=settings.mlflow_url,
    )
