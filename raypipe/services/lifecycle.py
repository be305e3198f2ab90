"""Start and stop what raypipe needs on this machine: MLflow, the Ray head, Serve's front door."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace
from psutil import Process

from raypipe.contracts.progress import Progress, Step
from raypipe.errors import ServiceError
from raypipe.services import record
from raypipe.services.config import Running, ServicesConfig
from raypipe.services.front_door import close_door, front_door_environment, open_door
from raypipe.services.http import ask
from raypipe.services.joined import refuse
from raypipe.services.mlflow_server import start_mlflow
from raypipe.services.ports import Needed, check_free, free_block
from raypipe.services.processes import children, identities, roots, send, tree, wait
from raypipe.services.ray_head import address, base_environment, start_ray
from raypipe.services.record import Record
from raypipe.services.status import head_lives, statuses
from raypipe.services.workspace import check_workspace

# Seconds on a quiet machine, minutes on one that has much else to do.
START_SECONDS, SERVE_SECONDS = 240.0, 120.0
# On a busy machine what runs may be slow to answer, and must not be taken for dead.
PATIENCE = 10.0
# Ray gives its agent a fixed 15 s to start, which a busy machine can miss once.
RAY_TRIES = 2
# Replicas answer what they have begun; then Ray and MLflow end by themselves; then whatever is left is ended.
GOODBYE_SECONDS, END_SECONDS, KILL_SECONDS = 4.0, 2.5, 5.0
# A head that is stopped on its way up still bears children.
ROUNDS = 5
ERROR = re.compile(r"[\w.]*(Error|Exception): ")
AGAIN = "Give the same command again when the machine is quieter"


def up(config: ServicesConfig, progress: Progress) -> Running:
    """Start what does not run yet, and wait until all of it answers. What runs is left alone.

    Everything listens on 127.0.0.1, except the HTTP service when ``config.host`` says otherwise. Several workspaces
    can be up at the same time if their ports differ.

    Raises:
        WorkspaceError: the workspace cannot be written to, or is nearly full.
        ServiceError: a port is taken, a service does not come up, or the cluster is not ours. All that this call
            started is stopped again.
    """
    refuse(config)
    check_workspace(config.workspace)
    with record.locked(config):
        found = record.load(config)
        now = statuses(config, found, PATIENCE)
        if all(service.running for service in now):
            return Running(now, found.address, already=True)
        found = _without_the_dead(config, found)
        try:
            with progress.step("Start the services", total=3) as step:
                started = _start_missing(config, found, step)
        except BaseException:
            # Also when the user loses patience: what ran before this call stays, the rest goes.
            _end(config, lambda: _others_than(config, found))
            _remember(config, found)
            raise
        already = (started.mlflow, started.ray) == (found.mlflow, found.ray)
        return Running(statuses(config, started, PATIENCE), started.address, already)


def down(config: ServicesConfig, progress: Progress) -> bool:
    """Stop everything that was started for this workspace, also what a crash has left; nothing else.

    Returns:
        False when nothing was running.

    Raises:
        ServiceError: a process does not end even when killed.
    """
    refuse(config)
    if not config.workspace.is_dir():
        return False
    with record.locked(config):
        found = record.load(config)
        there = _tree(config, found)
        if there:
            with progress.step("Stop the services"):
                if found.ray and found.ray.find():
                    close_door(config, GOODBYE_SECONDS)
                _end(config, lambda: _tree(config, found))
        record.forget(config)
        return bool(there)


def _start_missing(config: ServicesConfig, found: Record, step: Step) -> Record:
    _check_ports(config, found)
    step.advance(0, "Ray")
    config.logs.mkdir(exist_ok=True)
    environment = base_environment(config)
    if found.mlflow is None:
        found = replace(found, mlflow=start_mlflow(config, environment))
        record.save(config, found)
    if found.ray is None:
        found = _start_ray(config, environment, found)
    elif not found.address:  # whoever started it was killed before it was up
        found = _wait_for_ray(config, found)
    step.advance(1, "Serve")
    open_door(config, SERVE_SECONDS)
    step.advance(1, "MLflow")
    _until(config, found, "MLflow", lambda: ask(f"{config.mlflow_url}/health")[0] == 200)
    step.advance(1)
    found = replace(found, others=identities(_tree(config, found)))
    record.save(config, found)
    return found


def _start_ray(config: ServicesConfig, environment: dict[str, str], found: Record) -> Record:
    tries_left = RAY_TRIES
    while True:
        known = (config.serve_port, config.dashboard_port, config.mlflow_port, config.grpc_port)
        ports = free_block(config.workspace, known)
        defaults, needed = front_door_environment(config, ports)
        ray = start_ray(config, defaults | environment | needed, ports)
        trial = replace(found, ray=ray)
        record.save(config, trial)
        tries_left -= 1
        try:
            return _wait_for_ray(config, trial)
        except ServiceError:
            if not tries_left or ray.find():
                raise
            _end(config, lambda: _others_than(config, found))


def _wait_for_ray(config: ServicesConfig, found: Record) -> Record:
    def ready() -> bool:
        return bool(address(config)) and ask(f"{config.dashboard_url}/api/version")[0] == 200

    _until(config, found, "Ray", ready)
    return replace(found, address=address(config))


def _check_ports(config: ServicesConfig, found: Record) -> None:
    needed = [
        (Needed("serve_port", "the HTTP service", config.serve_port, config.host), found.ray),
        (Needed("dashboard_port", "the Ray dashboard", config.dashboard_port), found.ray),
        (Needed("mlflow_port", "MLflow", config.mlflow_port), found.mlflow),
    ]
    if config.grpc_port:
        needed.append((Needed("grpc_port", "the gRPC service", config.grpc_port, config.host), found.ray))
    first: dict[int, str] = {}
    for one, _ in needed:
        if (other := first.setdefault(one.port, one.setting)) != one.setting:
            what = f"`{other}` and `{one.setting}` are both {one.port}"
            raise ServiceError(what, cure="Give each service its own port")
    check_free(one for one, ours in needed if not ours)


def _until(config: ServicesConfig, started: Record, name: str, ready: Callable[[], bool]) -> None:
    logs = {"MLflow": config.logs / "mlflow.log", "Ray": config.logs / "ray.log"}
    end = time.monotonic() + START_SECONDS
    while not ready():
        for service, process in {"MLflow": started.mlflow, "Ray": started.ray}.items():
            if process and process.find() is None:
                why = _last_words(logs[service])
                what = f"{service} ended while it started: {why}"
                raise ServiceError(what, where=str(logs[service]), cure="Its log says more")
        if time.monotonic() > end:
            what = f"{name} does not answer after {START_SECONDS:.0f} s{_load()}; what was started is stopped again"
            raise ServiceError(what, where=str(logs[name]), cure=AGAIN)
        time.sleep(0.1)


def _load() -> str:
    """How busy the machine is, where it is too busy."""
    waiting, cores = os.getloadavg()[0], os.cpu_count() or 1
    return f" on a machine where {waiting:.0f} processes want {cores} cores" if waiting > 2 * cores else ""


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if ERROR.match(line)]
    return (errors or lines or ["it said nothing"])[-1]


def _tree(config: ServicesConfig, found: Record) -> list[Process]:
    return tree(found.known, str(config.workspace))


def _without_the_dead(config: ServicesConfig, found: Record) -> Record:
    """The record of the services that live; what a dead one has left behind is ended, it would be in the way."""
    mlflow = found.mlflow if found.mlflow and found.mlflow.find() else None
    ray = found.ray if head_lives(found) else None
    alive = replace(found, mlflow=mlflow, ray=ray)
    # Nobody is left to whom they could say goodbye, and somebody waits for the new head.
    _end(config, lambda: _others_than(config, alive), patience=0.0)
    return alive


def _others_than(config: ServicesConfig, found: Record) -> list[Process]:
    """This workspace's processes that belong to neither of the services."""
    kept = {process.pid for root in (found.mlflow, found.ray) if root for process in children(root)}
    return [process for process in _tree(config, found) if process.pid not in kept]


def _remember(config: ServicesConfig, found: Record) -> None:
    if found.mlflow or found.ray:
        record.save(config, found)
    else:
        record.forget(config)


def _end(config: ServicesConfig, look: Callable[[], list[Process]], patience: float = END_SECONDS) -> None:
    """End whoever is found, and look again for those who were born meanwhile, until nobody is found."""
    for _ in range(ROUNDS):
        if not (there := look()):
            return
        _end_once(config, there, patience)


def _end_once(config: ServicesConfig, there: list[Process], patience: float) -> None:
    """End these: politely the services themselves, which end their children, then all that is left."""
    if patience:
        send(roots(there), signal.SIGTERM)
    send(wait(there, patience), signal.SIGKILL)
    if left := wait(there, KILL_SECONDS):
        raise ServiceError(
            f"{len(left)} processes do not end: {', '.join(str(process.pid) for process in left)}",
            where=str(config.workspace),
            cure="They wait for the system, often for a disk; try `raypipe down` again later",
        )
