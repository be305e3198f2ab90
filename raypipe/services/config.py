"""What the services need to know, and where each of them keeps its things."""

import hashlib
import os
import sys
import tempfile
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

# A Unix socket's path holds at most 107 bytes, and HAProxy needs the better part of them below this folder.
LONGEST_TEMP = 24


@dataclass(frozen=True)
class ServicesConfig:
    """How the processes on this machine are started and found.

    Attributes:
        workspace: the folder of everything that is kept.
        host: the address that the HTTP service binds to. Ray and MLflow have no login, and one of them runs code, so
            they stay on 127.0.0.1 whatever this says.
        serve_port: HTTP port of Ray Serve.
        dashboard_port: port of the Ray dashboard and its Jobs API.
        grpc_port: gRPC port of Ray Serve; 0: no gRPC.
        mlflow_port: port of the MLflow server.
        cpus: logical CPUs for Ray; None: those of the machine, at least 2.
        ray_address: a cluster that others start and stop, to be joined instead; empty: ours, on this machine.
        mlflow: the URL of an MLflow server that others run; empty: ours, on this machine.

    >>> ServicesConfig(Path("/srv/flights"), host="0.0.0.0").serve_url
    'http://127.0.0.1:8000'
    """

    workspace: Path
    host: str = "127.0.0.1"
    serve_port: int = 8000
    dashboard_port: int = 8265
    mlflow_port: int = 5000
    cpus: int | None = None
    ray_address: str = ""
    mlflow: str = ""
    grpc_port: int = 0

    def __post_init__(self) -> None:
        # One folder, one name: processes and sockets are found again by it.
        object.__setattr__(self, "workspace", self.workspace.expanduser().resolve())

    @property
    def serve_url(self) -> str:
        """Where the HTTP service is reached from this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104  # compared, not bound
        return f"http://{host}:{self.serve_port}"

    @property
    def on_loopback(self) -> bool:
        """Whether the HTTP service can be reached from this machine alone.

        >>> ServicesConfig(Path("/srv")).on_loopback, ServicesConfig(Path("/srv"), host="10.0.0.7").on_loopback
        (True, False)
        """
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def dashboard_url(self) -> str:
        """Where the Ray dashboard and the Jobs API are."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    @property
    def mlflow_url(self) -> str:
        """Where the MLflow server is."""
        return self.mlflow.rstrip("/") or f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def logical_cpus(self) -> int:
        """What Ray may hand out at a time; two at least, so that a trial and its driver's work run side by side."""
        usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 2
        return self.cpus or max(2, usable)

    @property
    def run(self) -> Path:
        """The folder that says what runs now."""
        return self.workspace / "run"

    @property
    def logs(self) -> Path:
        """The folder of the services' logs; Ray's own are in ``ray`` below it."""
        return self.workspace / "logs"

    @property
    def temp(self) -> Path:
        """For sockets, so short; outside of the workspace; one for each user and workspace; nobody else may enter."""
        owner = f"{os.getuid()} {self.workspace}"
        name = f"raypipe-{hashlib.sha256(owner.encode()).hexdigest()[:10]}"
        folder = Path(tempfile.gettempdir()) / name
        return folder if len(os.fsencode(folder)) <= LONGEST_TEMP else Path("/tmp") / name  # noqa: S108  # made 0700

    @property
    def ray_temp(self) -> Path:
        """Ray's session folders. Ray opens them to everybody, so they lie in the folder that nobody else may enter."""
        return self.temp / "r"


@dataclass(frozen=True)
class ServiceStatus:
    """How one service is: whether it runs and answers, where, as which process, and what else is worth knowing.

    It is ours, or of the cluster that the settings name; who else answers there does not count.

    ``state`` is a word for it where up and down say too little.
    """

    name: str
    running: bool
    url: str
    pid: int | None
    detail: str = ""
    state: str = ""


@dataclass(frozen=True)
class Running:
    """The services of one workspace, up.

    Attributes:
        services: one status each.
        address: where drivers on this machine join the Ray cluster, as ``host:port``.
        already: nothing had to be started.
    """

    services: tuple[ServiceStatus, ...]
    address: str
    already: bool
