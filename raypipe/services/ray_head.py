"""The Ray head: control store, scheduler, dashboard with the Jobs API, and the environment that all work inherits."""

import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import psutil

from raypipe import telemetry
from raypipe.errors import ServiceError
from raypipe.services.config import ServicesConfig
from raypipe.services.ports import PortBlock
from raypipe.services.processes import MARK, ProcessId, start
from raypipe.services.workspace import private_folder

# Ray takes the address of this machine's network card for its own, even when told 127.0.0.1, and listens there:
# reachable for others, and gone when a laptop changes networks. This switch, meant for systems where that does worse
# harm, keeps every process on 127.0.0.1. Drivers need it too, or they look for the cluster at the network card.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

# Read by processes on their way up. Without a login because everything listens on 127.0.0.1 only: a token would have
# to be set in every shell before `ray job submit` works. On a machine with other users who are not trusted, that
# is too little: whoever can connect to the dashboard's port runs code as its owner.
QUIET = (
    LOOPBACK
    | telemetry.OFF
    | {
        "RAY_AUTH_MODE": "disabled",
    }
)

SHARE_OF_MEMORY, MOST_OBJECTS, LEAST_OBJECTS = 0.2, 2 * 2**30, 128 * 2**20
SESSIONS_KEPT = 2


def tuned(cpus: int) -> dict[str, str]:
    """Ray's settings for a machine of this size; what the user's environment says wins.

    >>> tuned(2)["RAY_DATA_PARQUET_FOOTER_NUM_ACTORS"], tuned(64)["RAY_DATA_PARQUET_FOOTER_NUM_ACTORS"]
    ('1', '32')
    """
    return {
        # 32 actors by default, whatever the machine: half a minute of starting processes on two cores.
        "RAY_DATA_PARQUET_FOOTER_NUM_ACTORS": str(min(32, cpus // 2)),
        # 200 by default: so many tasks with nearly nothing to do.
        "RAY_DATA_DEFAULT_MIN_PARALLELISM": str(min(200, 2 * cpus)),
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "180",
        # A stopped job has this long to save its state.
        "RAY_JOB_STOP_WAIT_TIME_S": "15",
        # Ray announces a change of this default at every start; this is the new default.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }


def base_environment(config: ServicesConfig) -> dict[str, str]:
    """What every service, worker and job driver of this workspace inherits."""
    # A cluster that the user's shell points at is not this one.
    left_out = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_DASHBOARD_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR")
    users = {name: value for name, value in os.environ.items() if name not in left_out}
    ours = {
        MARK: str(config.workspace),
        "RAYPIPE_WORKSPACE": str(config.workspace),
        "RAYPIPE_HOST": config.host,
        "RAYPIPE_SERVE_PORT": str(config.serve_port),
        "RAYPIPE_GRPC_PORT": str(config.grpc_port),
        "RAYPIPE_DASHBOARD_PORT": str(config.dashboard_port),
        "RAYPIPE_MLFLOW_PORT": str(config.mlflow_port),
        "MLFLOW_TRACKING_URI": config.mlflow_url,
        # `ray job submit -- python …` means this interpreter.
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)]),
    }
    return tuned(config.logical_cpus) | users | QUIET | ours


def start_ray(config: ServicesConfig, environment: Mapping[str, str], ports: PortBlock) -> ProcessId:
    """Start the head. It has come up when ``address`` finds something and the dashboard answers.

    Raises:
        ServiceError: Ray cannot start workers with this interpreter.
    """
    check_interpreter(sys.executable)
    private_folder(config.temp)
    _address_file(config).unlink(missing_ok=True)
    for old in sorted(config.ray_temp.glob("session_2*"))[:-SESSIONS_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    latest = config.logs / "ray"
    latest.unlink(missing_ok=True)
    latest.symlink_to(config.ray_temp / "session_latest" / "logs")
    command = [
        str(Path(sysconfig.get_path("scripts")) / "ray"),
        "start",
        "--head",
        "--block",  # it stays, and takes its children with it when it ends
        "--port=0",
        "--include-dashboard=true",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={config.dashboard_port}",
        "--dashboard-agent-listen-port=0",
        "--dashboard-agent-grpc-port=0",
        "--metrics-export-port=0",
        "--min-worker-port=0",
        "--max-worker-port=0",
        f"--ray-client-server-port={ports.ray_client}",
        f"--num-cpus={config.logical_cpus}",
        f"--object-store-memory={object_store_bytes()}",
        f"--temp-dir={config.ray_temp}",
    ]
    return start(command, environment, config.logs / "ray.log")


def check_interpreter(path: str) -> None:
    """Refuse an interpreter whose path Ray's shell commands, which do not quote it, would take apart.

    Raises:
        ServiceError: there is a space in it, or another sign that a shell reads as its own.

    >>> check_interpreter("/srv/my models/.venv/bin/python")
    Traceback (most recent call last):
    raypipe.errors.ServiceError: ... Ray cannot start workers with an interpreter whose path has `' '` in it. ...
    """
    if odd := re.search(r"[^\w@%+=:,./-]", path):
        what = f"Ray cannot start workers with an interpreter whose path has `{odd.group()!r}` in it"
        raise ServiceError(what, where=path, cure="Move the environment, or the checkout it lies in, to a plainer path")


def address(config: ServicesConfig) -> str:
    """Where drivers join the cluster that was started last; empty until it is up."""
    try:
        return _address_file(config).read_text().strip()
    except FileNotFoundError:
        return ""


def object_store_bytes() -> int:
    """Memory for Ray's shared objects: a fifth of the machine's, at most 2 GB, less if /dev/shm is small."""
    size = int(min(_memory() * SHARE_OF_MEMORY, MOST_OBJECTS))
    shared = Path("/dev/shm")  # noqa: S108  # where Ray puts them
    room = int(shutil.disk_usage(shared).free * 0.9) if shared.is_dir() else size
    # Below the least, Ray had better use a file of its own in its temporary folder, as it then does by itself.
    return max(LEAST_OBJECTS, min(size, room) if room >= LEAST_OBJECTS else size)


def _memory() -> int:
    total = int(psutil.virtual_memory().total)
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else ""
    return min(total, int(text)) if text.isdigit() else total


def _address_file(config: ServicesConfig) -> Path:
    return config.ray_temp / "ray_current_cluster"
