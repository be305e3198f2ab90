"""Where interfaces meet implementations: settings in, an open platform out."""

import os
from functools import partial

from raypipe.clock import Clock, SystemClock
from raypipe.features.stores.lmdb import LmdbStore
from raypipe.flows import Platform
from raypipe.lake import Lake
from raypipe.ledger import Ledger
from raypipe.registry import Registry
from raypipe.services import ServicesConfig
from raypipe.settings import Settings, load_settings


def connect(settings: Settings | None = None, clock: Clock | None = None) -> Platform:
    """Open the workspace that the settings name. Nothing is started; missing folders are made.

    Raises:
        SettingsError: a setting cannot be used.
        WorkspaceError: the workspace cannot be written to.
    """
    settings, clock = settings or load_settings(), clock or SystemClock()
    home = settings.home
    ledger = Ledger.in_folder(home, clock)
    tracking_uri = f"http://{settings.host}:{settings.mlflow_port}"
    cpus = settings.cpus or max(2, os.cpu_count() or 2)
    return Platform(
        workspace=home,
        clock=clock,
        ledger=ledger,
        lake=Lake(home / "lake"),
        registry=Registry(home / "registry", ledger, tracking_uri),
        store=LmdbStore(home / "online"),
        tracking_uri=tracking_uri,
        cpus=cpus,
        max_body_bytes=settings.max_body_bytes,
        replicas=settings.replicas,
        services=services_config(settings),
        reopen=partial(connect, settings, clock),
    )


def services_config(settings: Settings) -> ServicesConfig:
    """How the processes on this machine are started and found."""
    return ServicesConfig(
        workspace=settings.home,
        host=settings.host,
        serve_port=settings.serve_port,
        dashboard_port=settings.dashboard_port,
        mlflow_port=settings.mlflow_port,
        cpus=settings.cpus,
    )
