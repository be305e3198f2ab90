"""``raypipe up``, ``down`` and ``status`` say what the services say."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from raypipe import services
from raypipe.cli.main import main
from raypipe.contracts.progress import Progress
from raypipe.services import Running, ServicesConfig, ServiceStatus

UP = (
    ServiceStatus("serve", True, "http://127.0.0.1:8000", 11, "flights"),
    ServiceStatus("ray", True, "http://127.0.0.1:8265", 12, "cluster 127.0.0.1:1"),
    ServiceStatus("mlflow", False, "http://127.0.0.1:5000", None, "not ours: [nginx] answers there"),
)


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch, workspace: Path, free_port: Callable[[], int]) -> dict[str, int]:
    found = {name: free_port() for name in ("SERVE", "DASHBOARD", "MLFLOW")}
    for name, port in found.items():
        monkeypatch.setenv(f"RAYPIPE_{name}_PORT", str(port))
    return found


def test_nothing_is_up(ports: dict[str, int], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    urls = [f"http://127.0.0.1:{port}" for port in ports.values()]
    assert rows == [[name, "down", url] for name, url in zip(("serve", "ray", "mlflow"), urls, strict=True)]
    assert main(["down"]) == 0
    assert capsys.readouterr().out == "Nothing was running.\n"


def test_status_as_json(monkeypatch: pytest.MonkeyPatch, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(services, "status", lambda config: UP)
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[2] == {
        "name": "mlflow",
        "running": False,
        "url": "http://127.0.0.1:5000",
        "pid": None,
        "detail": "not ours: [nginx] answers there",
        "state": "",
    }
    assert main(["status"]) == 0
    assert "not ours: [nginx] answers there" in capsys.readouterr().out


@pytest.mark.parametrize(("already", "said"), [(False, "Everything is up."), (True, "Everything is up already.")])
def test_up(
    monkeypatch: pytest.MonkeyPatch, workspace: Path, capsys: pytest.CaptureFixture[str], already: bool, said: str
) -> None:
    def up(config: ServicesConfig, progress: Progress) -> Running:
        assert config.workspace == workspace
        with progress.step("Start the services", 3) as step:
            step.advance(1, "Ray")
        return Running(UP, "127.0.0.1:1", already)

    monkeypatch.setattr(services, "up", up)
    assert main(["up"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == said
    assert lines[1].split() == ["serve", "up", "http://127.0.0.1:8000", "flights"]
    assert main(["up", "--json"]) == 0
    out, err = capsys.readouterr()
    assert [service["name"] for service in json.loads(out)] == ["serve", "ray", "mlflow"]
    assert said in err


def test_down(monkeypatch: pytest.MonkeyPatch, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(services, "down", lambda config, progress: True)
    assert main(["down"]) == 0
    assert capsys.readouterr().out == "Everything is down.\n"


def test_a_taken_port_is_a_sentence(ports: dict[str, int], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports["SERVE"]))
        taken.listen()
        assert main(["up"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert str(ports["SERVE"]) in err
    assert "serve_port" in err
    assert "Traceback" not in err
