"""Runs through the Jobs API, against a server that answers as Ray's dashboard does."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from raypipe import Client
from raypipe.client import jobs
from raypipe.errors import DefinitionError, RaypipeError, ServiceError
from tests.client.server import Asked, Server, serving

EXAMPLE = Path(__file__).parents[2] / "examples/flights/pipeline.py"


@pytest.fixture
def dashboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(jobs, "_POLL_SECONDS", 0.01)
    with serving() as server:
        server.answers["/api/jobs/"] = (200, {"job_id": "raysubmit_1", "submission_id": "raysubmit_1"})
        yield server


@pytest.fixture
def client(dashboard: Server, workspace: Path) -> Iterator[Client]:
    with Client(dashboard.url, dashboard=dashboard.url) as found:
        yield found


def ends(server: Server, state: str, *lines: str, message: str = "") -> None:
    states = iter(["PENDING", "RUNNING", state])

    def info(asked: Asked) -> tuple[int, object]:
        return 200, {"status": next(states, state), "message": message, "entrypoint": "…"}

    server.answers["/api/jobs/raysubmit_1"] = info
    server.answers["/api/jobs/raysubmit_1/logs"] = (200, {"logs": "\n".join(lines)})


def test_a_run_is_submitted_and_waited_for(client: Client, dashboard: Server, workspace: Path) -> None:
    ends(dashboard, "SUCCEEDED", "✓ ingest  5 tables", '{"pipeline":"flights","model":{"version":4}}', "bye")
    job = client.run(EXAMPLE, as_of="2013-07-03", until="register")
    assert job.state() == "SUCCEEDED"
    assert job.result()["model"]["version"] == 4
    sent = dashboard.asked[0].body
    folder, command = sent["entrypoint"].split(" && exec ")
    assert folder == f"cd {shlex.quote(str(Path.cwd()))}"
    assert shlex.split(command)[1:] == [
        *("-m", "raypipe.cli", "run", str(EXAMPLE), "--json", "--as-of", "2013-07-03", "--until", "register")
    ]
    assert sent["runtime_env"] == {"env_vars": {"RAYPIPE_WORKSPACE": str(workspace)}}


def test_a_run_need_not_be_waited_for(client: Client, dashboard: Server) -> None:
    ends(dashboard, "SUCCEEDED", "{}")
    job = client.run(EXAMPLE, wait=False)
    assert job.state() == "PENDING"
    assert "--as-of" not in dashboard.asked[0].body["entrypoint"]


def test_a_failed_run_gives_its_reason(client: Client, dashboard: Server) -> None:
    error = {"kind": "GateError", "what": "check `unique` failed", "where": "table flights", "cure": "Look at 3 rows"}
    ends(dashboard, "FAILED", "working", json.dumps({"error": error}), message="Job entrypoint command failed")
    with pytest.raises(RaypipeError, match=r"table flights: check `unique` failed. Look at 3 rows."):
        client.run(EXAMPLE)


def test_a_run_that_died_without_a_word(client: Client, dashboard: Server) -> None:
    ends(dashboard, "FAILED", "working", "{not json", message="Job entrypoint command failed with exit code 137")
    with pytest.raises(RaypipeError, match=r"job raysubmit_1: .*137. See `ray job logs raysubmit_1`"):
        client.run(EXAMPLE)


def test_faults_that_only_the_cluster_sees(client: Client, dashboard: Server) -> None:
    faults = [{"what": f"fault {n}", "where": f"pipeline.py:{n}", "cure": ""} for n in range(3)]
    error = {"kind": "DefinitionError", "what": "3 faults", "where": "", "cure": "", "faults": faults}
    ends(dashboard, "FAILED", json.dumps({"error": error}))
    with pytest.raises(DefinitionError) as caught:
        client.run(EXAMPLE)
    assert len(caught.value.faults) == 3


def test_a_stopped_run(client: Client, dashboard: Server) -> None:
    ends(dashboard, "STOPPED")
    with pytest.raises(ServiceError, match="was stopped"):
        client.run(EXAMPLE)


def test_waiting_has_an_end(client: Client, dashboard: Server) -> None:
    ends(dashboard, "RUNNING")
    with pytest.raises(ServiceError, match=r"is not over after 0.05 s. It goes on"):
        client.run(EXAMPLE, wait=False).wait(0.05)


def test_a_faulty_definition_is_not_submitted(client: Client, dashboard: Server, tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text("pipeline = None\n")
    with pytest.raises(DefinitionError):
        client.run(tmp_path / "pipeline.py")
    assert dashboard.asked == []
