"""Where interfaces meet implementations: settings in, an open platform out.

Rooms are imported by the function that opens them: to look at the services, or at the models, costs no import of all.
"""

from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from raypipe import telemetry
from raypipe.clock import Clock, SystemClock
from raypipe.errors import SettingsError, WorkspaceError
from raypipe.settings import Settings, load_settings

if TYPE_CHECKING:
    from raypipe.contracts.stores import OnlineStore
    from raypipe.flows import Platform
    from raypipe.flows.doctor import Parts
    from raypipe.flows.watching import Watching
    from raypipe.ledger import Ledger
    from raypipe.observe import Observing
    from raypipe.registry import Registry
    from raypipe.services import ServicesConfig
    from raypipe.serving.embedded import Embedded


def connect(settings: Settings | None = None, clock: Clock | None = None, fence: str = "") -> "Platform":
    """Open the workspace that the settings name. Nothing is started; missing folders are made.

    Args:
        settings: None: those of ``raypipe.toml`` and the environment.
        clock: None: the machine's own.
        fence: the ledger takes no row from this platform, here or reopened elsewhere, once it has one with this key.

    Raises:
        SettingsError: a setting cannot be used.
        WorkspaceError: the workspace cannot be written to.
    """
    telemetry.turn_off()
    from raypipe.flows import Platform
    from raypipe.lake import Lake
    from raypipe.observe import start
    from raypipe.spec.functions import trust

    settings, clock = settings or load_settings(), clock or SystemClock()
    home, observing = settings.home, _observing(settings)
    start(observing)
    trust(settings.row_modules)
    ledger = open_ledger(settings, clock)
    if fence:
        ledger = ledger.fenced(fence)
    services = services_config(settings)
    return Platform(
        workspace=home,
        clock=clock,
        ledger=ledger,
        lake=Lake(
            home / "lake",
            catalog=settings.catalog_url,
            warehouse=settings.warehouse_url,
            connections={
                "kafka": settings.kafka,
                "kinesis": settings.kinesis,
                "sql": settings.databases,
                "iceberg": settings.iceberg,
                "delta": settings.delta,
                "snowflake": settings.snowflake,
                "bigquery": settings.bigquery,
                "databricks": settings.databricks,
                "clickhouse": settings.clickhouse,
            },
            clock=clock,
        ),
        registry=open_registry(settings, ledger),
        store=_store(settings),
        online_url=settings.online_url,
        tracking_uri=services.mlflow_url,
        cpus=services.logical_cpus,
        max_body_bytes=settings.max_body_bytes,
        replicas=settings.replicas,
        row_modules=tuple(settings.row_modules),
        services=services,
        observing=observing,
        reopen=partial(connect, settings, clock, fence),
        watching=_watching(settings),
        log_days=settings.log_days,
    )


def _watching(settings: Settings) -> "Watching":
    from raypipe.flows.watching import Watching
    from raypipe.monitoring import Plan

    # Ticks of real time: a budget in ticks is then one in days, whatever the traffic.
    budget = settings.false_alarm_days * 86_400 / settings.tick_seconds
    span = settings.tick_seconds * 1_000_000
    plan = Plan(budget, settings.drift_material, rows=None, span=span, least=settings.tick_rows)
    return Watching(plan, tuple(settings.alerts), settings.cpu_price)


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
    from raypipe.features.opening import open_lmdb, open_redis
    from raypipe.serving.embedded import Embedded
    from raypipe.serving.model import Served
    from raypipe.spec.functions import trust

    settings = settings or load_settings()
    require_workspace(settings)
    trust(settings.row_modules)
    ledger = open_ledger(settings)
    try:
        found = open_registry(settings, ledger, mirror=False).get(name, version)
    finally:
        ledger.close()
    served = Served(folder=found.folder, digest=found.digest, version=found.version)
    if settings.online_url:
        return Embedded(served, partial(open_redis, url=settings.online_url))
    return Embedded(served, partial(open_lmdb, folder=str(settings.home / "online")))


def open_ledger(settings: Settings, clock: Clock | None = None) -> "Ledger":
    """The history of a workspace: the file in its folder, or the table of a cluster.

    Raises:
        SettingsError: the setting cannot be used.
        WorkspaceError: the folder cannot be made.
        LedgerError: the database cannot be opened.
    """
    from raypipe.ledger import Ledger

    clock = clock or SystemClock()
    return Ledger.at(settings.ledger_url, clock) if settings.ledger_url else Ledger.in_folder(settings.home, clock)


def require_workspace(settings: Settings) -> None:
    """Opening a ledger would make the folder, and asking is no reason to.

    Raises:
        WorkspaceError: there is no workspace.
    """
    if not settings.ledger_url and not settings.home.is_dir():
        cure = "Make a model with `raypipe run FILE`"
        raise WorkspaceError("no workspace is there yet", where=str(settings.home), cure=cure)


def _store(settings: Settings) -> "OnlineStore":
    if settings.online_url:
        if find_spec("redis") is None:
            cure = "Install it with `pip install 'raypipe[redis]'`"
            raise SettingsError("needs a driver that is not installed", where="online_url", cure=cure)
        from raypipe.features.stores.redis import RedisStore

        return RedisStore(settings.online_url)
    from raypipe.features.stores.lmdb import LmdbStore

    return LmdbStore(settings.home / "online")


def _observing(settings: Settings) -> "Observing":
    from raypipe.observe import Observing

    return Observing(settings.traces_url, settings.trace_share, settings.log_format)


def parts(settings: Settings | None = None) -> "Parts":
    """What there is to look at in a deployment."""
    telemetry.turn_off()
    from raypipe.flows.doctor import Parts

    settings = settings or load_settings()
    return Parts(
        services=services_config(settings),
        ledger_url=settings.ledger_url,
        catalog_url=settings.catalog_url,
        warehouse_url=settings.warehouse_url,
        online_url=settings.online_url,
        alerts=tuple(settings.alerts),
        clock=SystemClock(),
    )


def services_config(settings: Settings) -> "ServicesConfig":
    """How the processes on this machine are started and found."""
    from raypipe.services import ServicesConfig

    return ServicesConfig(
        workspace=settings.home,
        host=settings.host,
        serve_port=settings.serve_port,
        grpc_port=settings.grpc_port,
        dashboard_port=settings.dashboard_port,
        mlflow_port=settings.mlflow_port,
        cpus=settings.cpus,
        ray_address=settings.ray_address,
        mlflow=settings.mlflow_url,
    )
