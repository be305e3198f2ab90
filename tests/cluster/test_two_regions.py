"""``raypipe deploy --to eu --to us`` between clusters of Ray that are real, all on this machine."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from benchmarks.scale import rides
from benchmarks.scale.command import free_ports
from benchmarks.scale.past import Past
from raypipe.ledger.checkpoint import make_keys
from raypipe.services import ServicesConfig
from tests.chaos.nodes import ROOT, Nodes, nodes, until

NAME, SECONDS = "rides", 240.0
QUESTION = {"ride": "r1", "zone": "a", "asked_at": "2013-07-01T09:00:00Z"}


@dataclass
class Region:
    """A cluster, and where its things are."""

    nodes: Nodes
    workspace: Path

    @property
    def answering(self) -> tuple[int, str]:
        """The version that answers a question, and the digest of its files."""
        url = f"{self.nodes.config.serve_url}/{NAME}"
        answer = httpx.post(f"{url}/predict", json=QUESTION, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()["version"], httpx.get(f"{url}/health", timeout=30).json()["digest"]

    @property
    def told_to_answer(self) -> int:
        """How often a job was given here that lets a version answer."""
        jobs = httpx.get(f"{self.nodes.config.dashboard_url}/api/jobs/", timeout=30).json()
        return sum("--serve" in job["entrypoint"] for job in jobs)


@contextmanager
def region(folder: Path, public: Path) -> Iterator[Region]:
    """A cluster of one node with stored features, and no model yet."""
    serve, dashboard, mlflow = free_ports(3)
    config = ServicesConfig(folder / "w", serve_port=serve, dashboard_port=dashboard, mlflow_port=mlflow)
    # What a region's own profile says; its jobs find it in their environment.
    own = {
        "RAYPIPE_RAY_ADDRESS": "auto",
        "RAYPIPE_MLFLOW_URL": config.mlflow_url,
        "RAYPIPE_AUDIT_PUBLIC_KEY": f"file:{public}",
    }
    file = str(rides.definition(folder.parent / "made", NAME))
    with nodes(config, workers=0, **own) as cluster:
        for command in (("run", file, "--until", "gate"), ("materialize", file)):
            given = cluster.command(config.workspace, *command)
            said, _ = given.communicate(timeout=SECONDS)
            assert given.returncode == 0, said
        yield Region(cluster, config.workspace)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Ray's sockets want short paths."""
    with tempfile.TemporaryDirectory(prefix="two-", dir="/tmp") as name:
        yield Path(name)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_clusters_answer_with_the_same_files_or_both_go_back(folder: Path) -> None:
    private, public = make_keys(folder / "keys")
    home = Past(folder / "home", folder / "made")
    with ExitStack() as stack:
        there = {name: stack.enter_context(region(folder / name, public)) for name in ("eu", "us")}
        urls = {name: one.nodes.config.dashboard_url for name, one in there.items()}
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RAY", "MLFLOW"))},
            "RAYPIPE_WORKSPACE": str(folder / "home"),
            "RAYPIPE_AUDIT_KEY": f"file:{private}",
            "RAYPIPE_REGIONS": json.dumps(urls),
        }
        file = str(rides.definition(folder / "made", NAME))
        command = [sys.executable, "-m", "raypipe.cli", "deploy", file, "--to", "eu", "--to", "us", "--json"]

        def deploy(meanwhile: Callable[[], object] = lambda: None) -> tuple[int, dict[str, object]]:
            process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
            meanwhile()
            said, _ = process.communicate(timeout=SECONDS)
            return process.returncode, json.loads(said.splitlines()[-1])

        first = home.promoted(NAME, 1)
        code, said = deploy()
        assert code == 0, said
        assert said == {"name": NAME, "digest": first.digest, "versions": {"eu": 1, "us": 1}}
        assert {one.answering for one in there.values()} == {(1, first.digest)}
        home.promoted(NAME, 2)

        def lose_us() -> None:
            """Its cluster goes when it was told to answer with the second version, and not before."""
            assert until(lambda: there["us"].told_to_answer == 2)
            there["us"].nodes.cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)

        code, said = deploy(lose_us)
        assert code == 1, said
        assert "eu went back" in json.dumps(said)
        assert there["eu"].answering == (1, first.digest)
    home.close()
