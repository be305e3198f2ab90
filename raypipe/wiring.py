"""Where interfaces meet implementations: settings in, an open platform out.

Rooms are imported by the function that opens them: to look at the services, or at the models, costs no import of all.
"""

from functools import partial
from typing import TYPE_CHECKING

from raypipe import telemetry
from raypipe.clock import Clock, SystemClock
from raypipe.settings import Settings, load_settings

if TYPE_CHECKING:
    from raypipe.flows import Platform
    from raypipe.ledger import Ledger
    from raypipe.registry import Registry
    from raypipe.services import ServicesConfig


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
