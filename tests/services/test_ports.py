"""A taken port is told by number, by who needs it, by who has it, and by the setting that moves it."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from raypipe.contracts.progress import Silent
from raypipe.errors import ServiceError
from raypipe.services import ServicesConfig, status, up
from raypipe.services.ports import BLOCK, Needed, check_free, free_block, is_free
from raypipe.services.processes import tree


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # a server on all addresses is in the way as well
def test_a_taken_port(host: str, free_port: Callable[[], int]) -> None:
    port = free_port()
    needed = Needed("mlflow_port", "MLflow", port)
    check_free([needed])
    with socket.create_server((host, port)):
        with pytest.raises(ServiceError) as caught:
            check_free([needed])
        text = str(caught.value)
    for part in (f"port {port}", "MLflow needs", f"(process {os.getpid()})", "`mlflow_port`", "RAYPIPE_MLFLOW_PORT"):
        assert part in text
    assert is_free(port)


def test_all_taken_ports_are_told_at_once(free_port: Callable[[], int]) -> None:
    ports = [free_port(), free_port(), free_port()]
    needed = [Needed(f"port_{port}", "it", port) for port in ports]
    with (
        socket.create_server(("127.0.0.1", ports[0])),
        socket.create_server(("127.0.0.1", ports[2])),
        pytest.raises(ServiceError) as caught,
    ):
        check_free(needed)
    told = [f"`port_{port}`" in str(caught.value) for port in ports]
    assert told == [True, False, True]


@pytest.mark.parametrize("setting", ["serve_port", "dashboard_port", "mlflow_port", "grpc_port"])
def test_up_starts_nothing_when_a_port_is_taken(setting: str, tmp_path: Path, free_port: Callable[[], int]) -> None:
    ports = {name: free_port() for name in ("serve_port", "dashboard_port", "mlflow_port", "grpc_port")}
    config = ServicesConfig(tmp_path, **ports)
    with socket.create_server(("127.0.0.1", ports[setting])):
        with pytest.raises(ServiceError, match=f"port {ports[setting]}.*`{setting}`"):
            up(config, Silent())
        assert not any(service.running for service in status(config))
    assert tree((), str(tmp_path)) == []
    assert not (config.run / "services.json").exists()


def test_two_services_cannot_share_a_port(tmp_path: Path, free_port: Callable[[], int]) -> None:
    port = free_port()
    with pytest.raises(ServiceError, match=f"`serve_port` and `mlflow_port` are both {port}"):
        up(ServicesConfig(tmp_path, serve_port=port, mlflow_port=port), Silent())
    with pytest.raises(ServiceError, match=f"`dashboard_port` and `grpc_port` are both {port}"):
        up(ServicesConfig(tmp_path, dashboard_port=port, grpc_port=port), Silent())


def test_blocks_of_ports_have_nobody_in_them(tmp_path: Path) -> None:
    first = free_block(tmp_path)
    assert free_block(tmp_path) == first  # the same workspace finds its ports again
    with socket.create_server(("127.0.0.1", first.base + BLOCK // 2)):
        second = free_block(tmp_path)
        assert free_block(tmp_path, avoid=[second.base + 7]).base not in (first.base, second.base)
    assert abs(second.base - first.base) >= BLOCK
    inside = {second.proxy_metrics, second.proxy_stats, second.fallback_http, second.fallback_grpc, second.ray_client}
    replicas = [*range(second.http_replicas[0], second.http_replicas[1] + 1)]
    replicas += range(second.grpc_replicas[0], second.grpc_replicas[1] + 1)
    used = [*inside, *replicas]
    assert len(used) == len(set(used))
    assert second.base <= min(used)
    assert max(used) < second.base + BLOCK
