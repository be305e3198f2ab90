"""A Ray cluster that asks for a token is told ours, wherever Ray itself would read it; others are not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from raypipe import Client
from raypipe.errors import ServiceError
from raypipe.services import jobs
from raypipe.services.config import ServicesConfig
from raypipe.services.status import status
from tests.client.server import Answer, Asked, Server, serving

KEY = "of this cluster"


@pytest.fixture
def dashboard() -> Iterator[Server]:
    """Ray's, in token mode."""
    with serving() as server:

        def guarded(answer: object) -> object:
            def told(asked: Asked) -> Answer:
                return (
                    (200, answer) if asked.headers.get("authorization") == f"Bearer {KEY}" else (401, b"who are you?")
                )

            return told

        server.answers = {
            "/api/jobs/": guarded({"submission_id": "one"}),
            "/api/jobs/one": guarded({"status": "RUNNING"}),
            "/api/jobs/one/stop": guarded({"stopped": True}),
            "/api/version": guarded({"ray_version": "2.60.0"}),
        }  # type: ignore[assignment]  # as they are
        yield server


@pytest.fixture(params=["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "the usual file"])
def told(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever started this process gave it the token."""
    file = tmp_path / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text(f"{KEY}\n")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("HOME", str(tmp_path if request.param == "the usual file" else tmp_path / "nowhere"))
    if request.param.startswith("RAY_"):
        monkeypatch.setenv(request.param, KEY if request.param == "RAY_AUTH_TOKEN" else str(file))


@pytest.mark.usefixtures("told")
def test_jobs_are_submitted_asked_for_and_stopped(dashboard: Server) -> None:
    jobs.submit_once(dashboard.url, "one", "true", {}, {})
    assert jobs.state(dashboard.url, "one") == "RUNNING"
    jobs.stop(dashboard.url, "one")
    assert {asked.path for asked in dashboard.asked} == {"/api/jobs/", "/api/jobs/one", "/api/jobs/one/stop"}
    assert {asked.headers["authorization"] for asked in dashboard.asked} == {f"Bearer {KEY}"}


@pytest.mark.usefixtures("told")
def test_status_and_the_client_are_let_in(dashboard: Server, workspace: Path) -> None:
    config = ServicesConfig(workspace, dashboard_port=int(dashboard.url.rpartition(":")[2]), ray_address="auto")
    (ray,) = [service for service in status(config) if service.name == "ray"]
    assert ray.running
    pipeline = Path(__file__).parents[2] / "examples/flights/pipeline.py"
    with Client(dashboard.url, dashboard=dashboard.url) as client:
        assert client.run(pipeline, wait=False).state() == "RUNNING"


def test_where_ray_asks_for_none_none_is_told(dashboard: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN", KEY)
    with pytest.raises(ServiceError, match=r"job one: cannot be asked for \(401: who are you\?\)"):
        jobs.state(dashboard.url, "one")
    assert "authorization" not in dashboard.asked[0].headers
