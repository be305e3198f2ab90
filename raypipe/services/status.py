"""How the services are: whether our processes live, and whether they, or those of a cluster we join, really answer."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from raypipe.references import ray_login
from raypipe.services import record
from raypipe.services.config import ServicesConfig, ServiceStatus
from raypipe.services.front_door import applications, is_open
from raypipe.services.http import ask
from raypipe.services.ports import accepts, holder
from raypipe.services.processes import ProcessId
from raypipe.services.record import Record

QUICK = 0.5


@dataclass(frozen=True)
class _Service:
    name: str
    url: str
    process: ProcessId | None
    answers: Callable[[float], bool]
    detail: Callable[[], str]
    ours: bool


def status(config: ServicesConfig) -> tuple[ServiceStatus, ...]:
    """How each service is right now. Takes no longer than a second, whatever is down."""
    return statuses(config, record.load(config))


def statuses(config: ServicesConfig, found: Record, seconds: float = QUICK) -> tuple[ServiceStatus, ...]:
    """How the services of a record are right now; one whose process lives is given so many seconds to answer."""
    # What is known of all processes is written down last.
    starting = bool(found.known) and not found.others and record.changing(config)
    with ThreadPoolExecutor(3) as pool:
        return tuple(pool.map(partial(_status, seconds=seconds, starting=starting), _services(config, found)))


def _status(service: _Service, seconds: float, starting: bool) -> ServiceStatus:
    process = service.process.find() if service.process else None
    answers = service.answers(seconds if process else QUICK)
    if answers and (process or not service.ours):
        return ServiceStatus(service.name, True, service.url, process.pid if process else None, service.detail())
    if process and starting:
        return ServiceStatus(service.name, False, service.url, process.pid, state="starting")
    if process:
        return ServiceStatus(service.name, False, service.url, process.pid, "runs, but does not answer")
    by = holder(int(service.url.rpartition(":")[2])) if answers else ""
    other = f"not ours: {by or 'somebody else'} answers there" if answers else ""
    return ServiceStatus(service.name, False, service.url, None, other)


def _cluster(address: str, logs: Path) -> str:
    """Where drivers join, which is not known at once, and where the logs are.

    >>> _cluster("", Path("/srv/logs/ray"))
    'logs in /srv/logs/ray'
    """
    return f"cluster {address}, logs in {logs}" if address else f"logs in {logs}"


def head_lives(found: Record) -> bool:
    """Whether a head that was started has its memory (GCS): one that lost it ends, some seconds later."""
    return found.ray is not None and found.ray.find() is not None and (not found.address or accepts(found.address))


def _services(config: ServicesConfig, found: Record) -> tuple[_Service, ...]:
    logs, ours = config.logs, not config.ray_address
    return (
        _Service("serve", config.serve_url, found.ray, partial(is_open, config), lambda: applications(config), ours),
        _Service(
            "ray",
            config.dashboard_url,
            found.ray,
            lambda seconds: (
                ask(f"{config.dashboard_url}/api/version", seconds=seconds, headers=ray_login())[0] == 200
                and (found.ray is None or head_lives(found))
            ),
            lambda: _cluster(found.address, logs / "ray") if ours else f"cluster {config.ray_address}",
            ours,
        ),
        _Service(
            "mlflow",
            config.mlflow_url,
            found.mlflow,
            lambda seconds: ask(f"{config.mlflow_url}/health", seconds=seconds)[0] == 200,
            lambda: f"log in {logs / 'mlflow.log'}" if ours else "",
            ours,
        ),
    )
