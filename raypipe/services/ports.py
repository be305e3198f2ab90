"""Ports: those that users know must be free; the rest are taken from wherever there is room."""

import socket
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from raypipe.errors import ServiceError

# Below the ports that systems hand out by themselves (from 32768), so that nobody is given one of ours meanwhile.
FIRST, BLOCK, BLOCKS = 20_000, 200, 60


@dataclass(frozen=True)
class PortBlock:
    """The ports that one workspace uses inside: four services, and a range for replicas.

    >>> PortBlock(20_000).http_replicas
    (20010, 20104)
    """

    base: int

    @property
    def proxy_metrics(self) -> int:
        """HAProxy's own metrics for Prometheus."""
        return self.base

    @property
    def proxy_stats(self) -> int:
        """HAProxy's page of statistics."""
        return self.base + 1

    @property
    def fallback_http(self) -> int:
        """Serve's Python proxy, which HAProxy asks while no replica is up."""
        return self.base + 2

    @property
    def fallback_grpc(self) -> int:
        """The same for gRPC."""
        return self.base + 3

    @property
    def ray_client(self) -> int:
        """Ray's client server, which `ray start` offers no way to leave out."""
        return self.base + 4

    @property
    def http_replicas(self) -> tuple[int, int]:
        """First and last port for replicas."""
        return self.base + 10, self.base + 104

    @property
    def grpc_replicas(self) -> tuple[int, int]:
        """First and last gRPC port for replicas."""
        return self.base + 105, self.base + BLOCK - 1


def free_block(workspace: Path, avoid: Iterable[int] = ()) -> PortBlock:
    """A block of ports of which none is in use; for the same workspace mostly the same one.

    Two clusters must not share a range: a proxy that has not yet heard of a replica's end would send its requests to
    the other cluster's replica on the same port.

    Raises:
        ServiceError: there is none.
    """
    start, taken = zlib.crc32(bytes(workspace)), set(avoid)
    for index in range(BLOCKS):
        base = FIRST + (start + index) % BLOCKS * BLOCK
        block = range(base, base + BLOCK)
        if taken.isdisjoint(block) and all(is_free(port) for port in block):
            return PortBlock(base)
    last = FIRST + BLOCKS * BLOCK
    raise ServiceError(f"no {BLOCK} ports in a row are free between {FIRST} and {last}", cure="Stop other services")


@dataclass(frozen=True)
class Needed:
    """A port that users know: what it is set by, which service listens on it, and where."""

    setting: str
    service: str
    port: int
    host: str = "127.0.0.1"


def check_free(needed: Iterable[Needed]) -> None:
    """See that all these ports can be listened on.

    Raises:
        ServiceError: somebody listens on some of them; it names each, and by whom.
    """
    taken = [one for one in needed if not is_free(one.port, one.host)]
    if not taken:
        return
    said = []
    for one in taken:
        by = holder(one.port)
        said.append(f"port {one.port}, which {one.service} needs, is taken{f' by {by}' if by else ''}")
    others = " and ".join(f"`{one.setting}` in raypipe.toml (or RAYPIPE_{one.setting.upper()})" for one in taken)
    cure = f"Stop what listens there, or set another {others}"
    raise ServiceError("; ".join(said), where=taken[0].host, cure=cure)


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As servers do: connections of a server that has just ended do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def accepts(address: str, seconds: float = 0.5) -> bool:
    """Whether somebody listens at ``host:port``."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), seconds):
            return True
    except OSError:
        return False


def holder(port: int) -> str:
    """The process that listens on a port, as `name (process 12)`; empty when the system does not tell."""
    try:
        found = psutil.net_connections("tcp")
        pid = next((c.pid for c in found if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port), None)
        return f"{psutil.Process(pid).name()} (process {pid})" if pid else ""
    except psutil.Error:
        return ""
