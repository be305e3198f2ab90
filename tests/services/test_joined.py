"""A cluster that others start and stop is joined, and otherwise left alone."""

import http.server
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from ray._private import worker

from raypipe import services
from raypipe.cli import opened
from raypipe.contracts.progress import Silent
from raypipe.errors import ServiceError
from raypipe.services import ServicesConfig
from raypipe.settings import Settings
from raypipe.wiring import services_config


def test_settings_name_the_cluster_and_the_tracking_server(workspace: Path) -> None:
    config = services_config(Settings(ray_address="auto", mlflow_url="http://mlflow:5000/"))
    assert (config.ray_address, config.mlflow_url) == ("auto", "http://mlflow:5000")
    ours = services_config(Settings())
    assert (ours.ray_address, ours.mlflow_url) == ("", "http://127.0.0.1:5000")


def test_a_joined_cluster_is_neither_started_nor_stopped(tmp_path: Path) -> None:
    config = ServicesConfig(tmp_path / "w", ray_address="auto")
    for verb in (services.up, services.down):
        with pytest.raises(ServiceError, match="not started or stopped by raypipe"):
            verb(config, Silent())
    assert not config.workspace.exists()


def test_a_tracking_server_that_does_not_answer_is_named_before_ray_is_asked(tmp_path: Path) -> None:
    config = ServicesConfig(tmp_path, ray_address="127.0.0.1:1", mlflow="http://127.0.0.1:1")
    with pytest.raises(ServiceError, match="MLflow does not answer"):
        services.join(config)


def test_ray_prints_nothing_of_its_own_among_our_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(**asked: object) -> None:
        raise ConnectionError("nobody is there")

    monkeypatch.setattr("raypipe.services.joined.ask", lambda url, seconds: (200, b""))
    monkeypatch.setattr(worker, "_worker_logs_enabled", True)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", unreachable)
    with pytest.raises(ServiceError, match="nobody is there"):
        services.join(ServicesConfig(tmp_path, ray_address="127.0.0.1:1"))
    assert not worker._worker_logs_enabled


@pytest.mark.parametrize(("address", "expected"), [("auto", ["join auto"]), ("", ["up", "connect"])])
def test_commands_join_what_is_named_and_start_what_is_not(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, address: str, expected: list[str]
) -> None:
    monkeypatch.setenv("RAYPIPE_RAY_ADDRESS", address)
    done: list[str] = []
    monkeypatch.setattr(services, "join", lambda config, name, run_id: done.append(f"join {config.ray_address}"))
    monkeypatch.setattr(services, "up", lambda config, progress: done.append("up"))
    monkeypatch.setattr(services, "connect", lambda running, name, run_id: done.append("connect"))
    with opened.opened(Silent(), "test"):
        pass
    assert done == expected


class Anything(http.server.BaseHTTPRequestHandler):
    """Answers whatever it is asked."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Says nothing of it."""


@pytest.mark.parametrize("address", ["auto", ""])
def test_what_answers_is_up_where_it_is_to_be_others_and_not_ours_elsewhere(
    tmp_path: Path, free_port: Callable[[], int], address: str
) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Anything) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        config = ServicesConfig(
            tmp_path,
            serve_port=server.server_port,
            dashboard_port=server.server_port,
            mlflow_port=free_port(),
            ray_address=address,
        )
        found = services.status(config)
        server.shutdown()
    assert [one.running for one in found] == [bool(address)] * 2 + [False]
    assert ["not ours" in one.detail for one in found] == [not address] * 2 + [False]
