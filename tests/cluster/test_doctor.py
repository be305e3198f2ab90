"""The doctor finds what is wrong with real servers, names the cure, changes nothing and tells no secret."""

import json
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import redis

from raypipe.cli.main import main
from raypipe.clock import ManualClock, SystemClock
from raypipe.contracts.findings import Finding
from raypipe.features.stores import examine as online
from raypipe.ledger import Ledger
from raypipe.ledger import examine as ledger
from raypipe.services import examine as services
from raypipe.services.config import ServicesConfig
from raypipe.wiring import connect
from tests.cluster import servers


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]) -> dict[str, int]:
    found = {name: free_port() for name in ("SERVE", "DASHBOARD", "MLFLOW")}
    for name, port in found.items():
        monkeypatch.setenv(f"RAYPIPE_{name}_PORT", str(port))
    return found


def examined(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[tuple[str, str], Finding]]:
    code = main(["doctor", "--json"])
    out = capsys.readouterr().out
    assert servers.CANARY not in out
    return code, {(one["part"], one["check"]): Finding(**one) for one in json.loads(out)}


def states(found: dict[tuple[str, str], Finding]) -> dict[str, str]:
    return {f"{part} {check}": one.state for (part, check), one in found.items() if one.state != "ok"}


def test_a_laptop_is_well_and_nothing_is_made(
    ports: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 0
    assert "All 7 checks are well." in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_who_is_to_hear_of_alarms_is_looked_for_before_there_is_one(
    ports: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAGER", f"nobody://{servers.CANARY}/")
    monkeypatch.setenv("RAYPIPE_ALERTS", '["env:NOBODY_HAS_SET_THIS", "env:PAGER", "json://127.0.0.1:1/"]')
    code, found = examined(capsys)
    assert (code, states(found)) == (1, {"alerts receiver 1": "fault", "alerts receiver 2": "fault"})
    assert found["alerts", "receiver 1"].detail == "env:NOBODY_HAS_SET_THIS: holds nothing"
    assert found["alerts", "receiver 2"].detail == "env:PAGER: is no URL that Apprise knows"


def test_a_production_profile_before_and_after_its_first_run(
    production: Path, s3: servers.S3, ports: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    before = s3.objects().keys()
    code, found = examined(capsys)
    assert (code, states(found)) == (0, {"ledger schema": "warning", "catalog schema": "warning"})
    platform = connect()
    platform.ledger.append("a", "test", "doctor")
    assert platform.lake._catalog
    platform.ledger.close()
    code, found = examined(capsys)
    assert (code, states(found)) == (0, {"ledger rights": "warning"})
    assert found["ledger", "schema"].detail == "1 rows"
    assert "roles.sql" in found["ledger", "rights"].cure
    assert not [name for name in s3.objects().keys() - before if "doctor" in name]


def test_every_part_that_is_away_is_named(
    production: Path,
    ports: dict[str, int],
    postgres: servers.Postgres,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LEDGER_URL", postgres.url(password=f"not-{servers.CANARY}"))
    monkeypatch.setenv("RAYPIPE_WAREHOUSE_URL", "s3://no-such-bucket/x")
    monkeypatch.setenv("RAYPIPE_MLFLOW_URL", f"http://127.0.0.1:{ports['MLFLOW']}")
    monkeypatch.setenv("RAYPIPE_RAY_ADDRESS", "auto")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    (production / "redis_url").write_text(f"redis://:not-{servers.CANARY}@127.0.0.1:1/0")
    code, found = examined(capsys)
    assert code == 1
    assert states(found) == dict.fromkeys(
        ["ray answers", "mlflow answers", "safety telemetry", "safety key", "ledger reached", "catalog reached",
         "warehouse writable", "online store reached"], "fault",
    )  # fmt: skip
    assert all(one.cure for one in found.values() if one.state != "ok")
    assert "password authentication failed" in found["ledger", "reached"].detail


def test_a_ledger_of_another_shape_and_a_clock_that_is_off(production: Path, postgres: servers.Postgres) -> None:
    slow = ManualClock(SystemClock().now() - 3_600_000_000)
    Ledger.at("env:LEDGER_URL", slow).close()
    found = {one.check: one for one in ledger.examine("env:LEDGER_URL", slow)}
    assert found["clock"].state == "warning"
    assert found["clock"].detail.startswith("is 3600.")
    postgres.run("\\c raypipe\nALTER TABLE ledger DROP COLUMN hash")
    found = {one.check: one for one in ledger.examine("env:LEDGER_URL", SystemClock())}
    assert (found["schema"].state, found["schema"].detail) == ("fault", "table ledger lacks hash")
    found = {one.check: one for one in ledger.examine("env:NOBODY", SystemClock())}
    assert found["reached"].state == "fault"


def test_a_store_that_forgets_and_one_that_is_no_store(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            found = {one.check: one for one in online.examine(redis_url, SystemClock())}
        finally:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", "0")
    assert found["memory"].state == "fault"
    assert found["memory"].cure == "Set maxmemory-policy noeviction"
    found = {one.check: one for one in online.examine(f"nonsense {servers.CANARY}", SystemClock())}
    assert found["reached"].state == "fault"
    assert servers.CANARY not in found["reached"].detail


def test_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]) -> None:
    tmp_path.chmod(0o777)
    monkeypatch.setattr(services, "LEAST_DISK", 2**60)
    found = {one.check: one.state for one in services.examine_workspace(tmp_path)}
    assert found == {"writable": "ok", "disk": "fault", "rights": "fault"}
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        config = ServicesConfig(tmp_path, serve_port=port, dashboard_port=free_port(), mlflow_port=free_port())
        at = {one.part: one for one in services.examine_services(config)}
    assert at["serve"].state == "fault"
    assert f"port {port} is taken" in at["serve"].detail
    assert {one.state for name, one in at.items() if name != "serve"} == {"ok"}


@pytest.mark.parametrize(
    ("host", "ray", "environment", "mode", "keys", "state"),
    [
        ("127.0.0.1", "", {}, 0o600, False, "ok"),
        ("0.0.0.0", "", {}, 0o600, False, "warning"),
        ("0.0.0.0", "", {}, 0o600, True, "ok"),
        ("127.0.0.1", "auto", {"RAY_AUTH_MODE": "disabled"}, 0o600, False, "fault"),
        ("127.0.0.1", "auto", {"RAY_AUTH_MODE": "token"}, 0o600, False, "ok"),
        ("127.0.0.1", "auto", {"RAY_AUTH_MODE": "token"}, 0o644, False, "fault"),
        ("127.0.0.1", "auto", {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "nowhere"}, 0o600, False, "fault"),
    ],
)
def test_keys(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    ray: str,
    environment: dict[str, str],
    mode: int,
    keys: bool,
    state: str,
) -> None:
    (tmp_path / "token").write_text("x")
    (tmp_path / "token").chmod(mode)
    for name, value in ({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")} | environment).items():
        monkeypatch.setenv(name, value)
    found = [one for one in services.examine_safety(host, ray, has_keys=keys) if one.check == "key"]
    assert [one.state for one in found] == [state]


class Answers(BaseHTTPRequestHandler):
    """A dashboard that wants a token, and an MLflow of another age."""

    def do_GET(self) -> None:
        known = self.headers.get("Authorization") == "Bearer right"
        code, body = {"/version": (200, "2.9.2")}.get(self.path, (200 if known else 401, '{"ray_version": "2.9.0"}'))
        self.send_response(code)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


def test_other_versions_and_a_refused_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = HTTPServer(("127.0.0.1", 0), Answers)
    Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_port
    config = ServicesConfig(tmp_path, dashboard_port=port, ray_address="auto", mlflow=f"http://127.0.0.1:{port}")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    refused = {one.part: one for one in services.examine_services(config)}
    monkeypatch.setenv("RAY_AUTH_TOKEN", "right")
    told = {one.part: one for one in services.examine_services(config)}
    server.shutdown()
    server.server_close()
    assert refused["ray"].detail == "the dashboard refuses our token"
    assert told["ray"].cure == "Install ray==2.9.0 here"
    assert told["mlflow"].detail.startswith("MLflow is 2.9.2 there")
