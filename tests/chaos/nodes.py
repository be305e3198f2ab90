"""A Ray cluster of several nodes on this machine, MLflow beside it, and raypipe's own commands joined to it."""

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._common.utils import get_default_ray_temp_dir
from ray._private.utils import write_ray_address
from ray.cluster_utils import Cluster

from raypipe.services.config import ServicesConfig
from raypipe.services.http import ask
from raypipe.services.mlflow_server import start_mlflow
from raypipe.services.processes import ProcessId
from raypipe.services.ray_head import base_environment
from tests.chaos import broken, stepped

ROOT = Path(__file__).parents[2]
WAIT = 120.0


@dataclass
class Nodes:
    """What runs. All of it is ended by ``close``."""

    config: ServicesConfig
    workers: int
    mlflow: ProcessId | None = None
    cluster: Any = None
    more: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def open(self) -> None:
        """Start MLflow, a head with one CPU, and workers with one each; Serve on the head alone."""
        self.config.logs.mkdir(parents=True, exist_ok=True)
        (self.config.logs / "clock").write_bytes(bytes(8))
        self.environment = (
            base_environment(self.config)
            | {
                "RAY_SERVE_ENABLE_HA_PROXY": "0",
                # As HAProxy has it: a replica on another node is asked as often as one beside the front door.
                "RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING": "0",
                # So that work does not stay where the driver is.
                "RAY_scheduler_spread_threshold": "0.0",
                "RAY_raylet_start_wait_time_s": "120",
                "RAY_worker_niceness": "0",  # as `raypipe up` has it
                # A head that does not come back is given up after so many seconds.
                "RAY_gcs_rpc_server_reconnect_timeout_s": "15",
                "PYTHONPATH": os.pathsep.join([str(Path(stepped.__path__[0])), str(ROOT)]),
                "CHAOS_CLOCK": str(self.config.logs / "clock"),
                broken.FILE: str(self.build),
            }
            | self.more
        )
        os.environ.update(self.environment)
        if self.mlflow is None:
            self.mlflow = start_mlflow(self.config, self.environment)
        self.start_cluster()

    def start_cluster(self) -> None:
        """Start Ray's nodes."""
        head = {
            "num_cpus": 1,
            "include_dashboard": True,
            "dashboard_host": "127.0.0.1",
            "dashboard_port": self.config.dashboard_port,
            "dashboard_agent_listen_port": 0,  # whichever is free: others may have clusters here
            "temp_dir": str(self.config.ray_temp),
        }
        self.config.ray_temp.mkdir(parents=True, exist_ok=True)
        # Ray's class for tests writes an address where Ray is by default, also where nobody has used that before.
        Path(get_default_ray_temp_dir()).mkdir(parents=True, exist_ok=True)
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        # `ray start` writes it there, and jobs look for it: without, they join any cluster that they find on a machine.
        write_ray_address(self.cluster.address, str(self.config.ray_temp))
        for _ in range(self.workers):
            self.add()
        until(lambda: ask(f"{self.config.dashboard_url}/api/version")[0] == 200)
        self.clear()
        until(lambda: ask(f"{self.config.mlflow_url}/health")[0] == 200)

    def clear(self) -> None:
        """Let Serve serve nothing."""
        body = {
            "proxy_location": "HeadOnly",
            "http_options": {"host": "127.0.0.1", "port": self.config.serve_port},
            "applications": [],
        }
        until(lambda: ask(f"{self.config.dashboard_url}/api/serve/applications/", "PUT", body, seconds=60)[0] == 200)

    def add(self) -> None:
        """One more worker node."""
        self.cluster.add_node(num_cpus=1)

    def step(self, seconds: float) -> None:
        """Put the clock of every Python process here off by so much."""
        with (self.config.logs / "clock").open("r+b") as file:
            file.write(struct.pack("<q", int(seconds * 1e9)))

    @property
    def build(self) -> Path:
        """The file that names the build which processes import."""
        return self.config.logs / "build"

    def become(self, build: str) -> None:
        """Start anew as a build that is broken on purpose; ``""``: as what is."""
        self.build.write_text(build)
        broken.reached(self.build).unlink(missing_ok=True)
        self.lose_head()

    def working(self, name: str) -> int | None:
        """The process that works on a task or in an actor whose title holds a name; Ray sets titles to names.

        On a worker rather than on the head.
        """
        found: dict[int, int] = {}
        for process in psutil.process_iter(["ppid", "cmdline"]):
            title = " ".join(process.info["cmdline"] or ())
            if title.startswith("ray::") and name in title:
                found[process.info["ppid"]] = process.pid
        nodes = [*self.cluster.worker_nodes, self.cluster.head_node]
        raylets = [one.process.pid for node in nodes for one in node.all_processes.get("raylet", [])]
        return next((found[raylet] for raylet in raylets if raylet in found), None)

    def lose(self, pid: int) -> str:
        """Kill every process of the node on which a process works; which node it was."""
        raylets = {psutil.Process(pid).ppid(), *(parent.pid for parent in psutil.Process(pid).parents())}
        for node in [*self.cluster.worker_nodes, self.cluster.head_node]:
            mine = {one.process.pid for one in node.all_processes.get("raylet", [])}
            if mine & raylets:
                head = node is self.cluster.head_node
                if head:
                    self.lose_head()
                else:
                    kill([node])
                    self.cluster.remove_node(node, allow_graceful=False)
                    self.add()
                return "head" if head else "worker"
        raise RuntimeError(f"process {pid} is on no node")

    def lose_head(self) -> None:
        """Kill the head with all that it knows, and start another cluster in its place."""
        every = [self.cluster.head_node, *self.cluster.worker_nodes]
        kill(every)
        for node in every:
            node.kill_all_processes(check_alive=False, allow_graceful=False)
        self.cluster = None
        self.start_cluster()

    def stop_mlflow(self) -> None:
        """Kill MLflow with its worker."""
        if self.mlflow and (process := self.mlflow.find()):
            for one in [*process.children(recursive=True), process]:
                one.kill()

    def start_mlflow(self) -> None:
        """Start it again on the same database."""
        self.mlflow = start_mlflow(self.config, self.environment)
        until(lambda: ask(f"{self.config.mlflow_url}/health")[0] == 200)

    def command(self, workspace: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
        """Start one of raypipe's commands on this cluster, as a user would."""
        environment = self.environment | {
            "RAYPIPE_RAY_ADDRESS": self.cluster.address,
            "RAYPIPE_MLFLOW_URL": self.config.mlflow_url,
            "RAYPIPE_WORKSPACE": str(workspace),
            **more,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "raypipe.cli", *arguments, "--json"],
            env=environment,
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def close(self) -> None:
        """End all of it."""
        with suppress(Exception):
            ray.shutdown()
        if self.cluster is not None:
            self.cluster.shutdown()
        self.stop_mlflow()


@contextmanager
def nodes(config: ServicesConfig, workers: int = 2, **more: str) -> Iterator[Nodes]:
    """A cluster until the end of the block; ``more`` are variables of all its processes."""
    found, before = Nodes(config, workers, more=more), dict(os.environ)
    try:
        found.open()
        yield found
    finally:
        found.close()
        # Ray's nodes inherit the variables of this process; what comes after them must not.
        os.environ.clear()
        os.environ.update(before)


def kill(nodes: list[Any]) -> None:
    """Every process of nodes at once, as when their power goes: Ray would leave workers to notice for themselves."""
    mine: list[psutil.Process] = []
    for one in (raylet for node in nodes for raylet in node.all_processes.get("raylet", [])):
        with suppress(psutil.NoSuchProcess):
            raylet = psutil.Process(one.process.pid)
            mine += [raylet, *raylet.children(recursive=True)]
    for process in mine:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def until(ready: Callable[[], object], seconds: float = WAIT) -> bool:
    """Wait until something holds; False when it did not."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def pause(pid: int, seconds: float) -> None:
    """A node so slow that it does not answer."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
