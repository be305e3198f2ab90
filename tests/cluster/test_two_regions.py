"""``raypipe deploy --to eu --to us`` between clusters of Ray that are real, all on this machine."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from benchmarks.scale import rides
from benchmarks.scale.command import free_ports
from benchmarks.scale.past import Past
from raypipe.clock import SystemClock
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import ModelVersion
from raypipe.errors import ServiceError
from raypipe.flows.regions import RemoteRegion, deploy_to
from raypipe.ledger import Ledger
from raypipe.ledger.checkpoint import make_keys, private_key
from raypipe.registry import Registry
from raypipe.registry.parcel import FILES, pack
from raypipe.services import ServicesConfig
from tests.chaos.nodes import ROOT, Nodes, nodes, until

NAME, SECONDS = "rides", 240.0
QUESTION = {"ride": "r1", "zone": "a", "asked_at": "2013-07-01T09:00:00Z"}

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@dataclass
class Region:
    """A cluster, and where its things are."""

    nodes: Nodes
    workspace: Path

    @property
    def answering(self) -> tuple[int, str]:
        """The version that answers a question, and the digest of its files."""
        url, answer = f"{self.nodes.config.serve_url}/{NAME}", self.asked
        assert answer.status_code == 200, answer.text
        return answer.json()["version"], httpx.get(f"{url}/health", timeout=30).json()["digest"]

    @property
    def asked(self) -> httpx.Response:
        """What its front door says to a question."""
        return httpx.post(f"{self.nodes.config.serve_url}/{NAME}/predict", json=QUESTION, timeout=30)

    @property
    def answers_nobody(self) -> bool:
        """Its front door is there, and knows of no model."""
        with suppress(httpx.TransportError):
            return self.asked.status_code == 404
        return False

    @property
    def told_to_answer(self) -> int:
        """How often a job was given here that lets a version answer."""
        jobs = httpx.get(f"{self.nodes.config.dashboard_url}/api/jobs/", timeout=30).json()
        return sum("--serve" in job["entrypoint"] for job in jobs)

    @contextmanager
    def registry(self) -> Iterator[Registry]:
        """Its models, as its own commands see them."""
        ledger = Ledger.in_folder(self.workspace, SystemClock())
        try:
            yield Registry(self.workspace / "registry", ledger, "")
        finally:
            ledger.close()

    @property
    def history(self) -> tuple[list[int], list[int]]:
        """The versions that are registered, and those that were put into service, in order."""
        with self.registry() as registry:
            versions = [one.version for one in registry.versions(NAME)]
            return versions, [one.version for _, one in registry.deployments(NAME)]

    @contextmanager
    def deaf_from(self, version: int) -> Iterator[Callable[[], None]]:
        """Its front door takes connections and answers nobody, from when a version is champion to the block's end."""
        door = self.nodes.working("ProxyActor")
        assert door is not None

        def wait() -> None:
            with self.registry() as registry:
                assert until(lambda: registry.holder(NAME) == version)
            os.kill(door, signal.SIGSTOP)

        try:
            yield wait
        finally:
            with suppress(ProcessLookupError):
                os.kill(door, signal.SIGCONT)

    def lose(self) -> None:
        """Its cluster is gone when it has been told once more to let a version answer, and not before."""
        times = self.told_to_answer + 1
        assert until(lambda: self.told_to_answer == times)
        self.nodes.cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)


@dataclass
class World:
    """Where models are made, and the regions that they are sent to."""

    home: Past
    folder: Path
    there: dict[str, Region]
    versions: int = 0

    def better(self) -> ModelVersion:
        """The next champion at home."""
        self.versions += 1
        return self.home.promoted(NAME, self.versions)

    def deploy(self, meanwhile: Callable[[], object] = lambda: None) -> tuple[int, dict[str, object]]:
        """Send it to both, as a user does; the exit code, and what the command says."""
        process = subprocess.Popen(
            [sys.executable, "-m", "raypipe.cli", "deploy", self.file, "--to", "eu", "--to", "us", "--json"],
            env=self.environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        meanwhile()
        said, _ = process.communicate(timeout=SECONDS)
        return process.returncode, json.loads(said.splitlines()[-1])

    @property
    def file(self) -> str:
        """The definition."""
        return str(rides.definition(self.folder / "made", NAME))

    @property
    def urls(self) -> dict[str, str]:
        """The dashboards."""
        return {name: one.nodes.config.dashboard_url for name, one in self.there.items()}

    @property
    def environment(self) -> dict[str, str]:
        """Of home: nothing there knows of a cluster of its own."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RAY", "MLFLOW"))},
            "RAYPIPE_WORKSPACE": str(self.folder / "home"),
            "RAYPIPE_AUDIT_KEY": f"file:{self.folder / 'keys' / 'audit.key'}",
            "RAYPIPE_REGIONS": json.dumps(self.urls),
        }

    @property
    def answering(self) -> dict[str, tuple[int, str]]:
        """What each region answers with."""
        return {name: one.answering for name, one in self.there.items()}

    @property
    def histories(self) -> list[tuple[list[int], list[int]]]:
        """What each region has registered, and put into service."""
        return [one.history for one in self.there.values()]


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


@pytest.fixture(scope="module")
def new_world() -> Iterator[World]:
    """A first version, and two regions that answer with nothing. Ray's sockets want short paths."""
    with tempfile.TemporaryDirectory(prefix="two-", dir="/tmp") as name, ExitStack() as stack:
        folder = Path(name)
        _, public = make_keys(folder / "keys")
        home = Past(folder / "home", folder / "made")
        stack.callback(home.close)
        there = {name: stack.enter_context(region(folder / name, public)) for name in ("eu", "us")}
        made = World(home, folder, there)
        made.better()
        yield made


@pytest.fixture(scope="module")
def world(new_world: World) -> World:
    """Both regions answer with the first version."""
    code, said = new_world.deploy()
    digest = new_world.home.registry.get(NAME, 1).digest
    assert (code, said) == (0, {"name": NAME, "digest": digest, "versions": {"eu": 1, "us": 1}})
    return new_world


def test_where_the_very_first_is_not_well_in_one_nobody_answers(new_world: World) -> None:
    eu, us = new_world.there["eu"], new_world.there["us"]
    with us.deaf_from(1) as deaf:
        code, said = new_world.deploy(deaf)
        assert until(lambda: eu.answers_nobody)
    assert code == 1, said
    assert "(eu, us went back)" in str(said)
    # Serve may have taken a front door that was deaf for so long for a dead one, and begun another.
    assert until(lambda: us.answers_nobody)
    for one in (eu, us):
        with one.registry() as registry:
            assert registry.champion(NAME) is None


def test_both_answer_with_the_same_files(world: World) -> None:
    digest = world.home.registry.get(NAME, 1).digest
    assert world.answering == {"eu": (1, digest), "us": (1, digest)}


@pytest.mark.parametrize("change", ["files", "key"])
def test_what_was_not_signed_so_is_refused_by_both(world: World, tmp_path: Path, change: str) -> None:
    before, past = world.answering, world.histories
    keys = world.folder / "keys" if change == "files" else make_keys(tmp_path / "others")[0].parent
    parcel = pack(
        world.home.registry.get(NAME, "champion"), tmp_path / "parcel", private_key(f"file:{keys / 'audit.key'}")
    )
    if change == "files":
        model = parcel / FILES / "model.onnx"
        content = bytearray(model.read_bytes())
        content[len(content) // 2] ^= 1
        model.write_bytes(content)
    why = {"files": r"[^;]*model\.onnx[^;]*", "key": r"[^;]*was not signed with this key[^;]*"}[change]
    with pytest.raises(ServiceError, match=rf"eu: {why}; us: {why}\(nothing was changed anywhere\)"):
        deploy_to({name: RemoteRegion(name, url) for name, url in world.urls.items()}, parcel, Silent())
    assert (world.answering, world.histories) == (before, past)


def test_where_one_fails_its_health_check_both_go_back(world: World) -> None:
    before, eu, us = world.answering, world.there["eu"], world.there["us"]
    past, better = world.histories, world.better()
    with us.deaf_from(better.version) as deaf:
        code, said = world.deploy(deaf)
        assert eu.answering == before["eu"]
    assert code == 1, said
    assert f"us: {us.nodes.config.serve_url}/{NAME}/health: does not answer with {better.digest[:12]}" in str(said)
    assert "(eu, us went back)" in str(said)
    assert world.answering == before
    # Both had put it into service.
    assert world.histories == [([*versions, 2], [*answered, 2, 1]) for versions, answered in past]


def test_a_region_decides_for_itself_too(world: World) -> None:
    """A promotion and a rollback that somebody asks for there are swaps of what answers there, and nowhere else."""
    eu, before = world.there["eu"], world.answering
    for command, version in ((("promote", NAME, "2"), 2), (("rollback", NAME), 1)):
        given = eu.nodes.command(eu.workspace, *command, "--why", "test")
        said, _ = given.communicate(timeout=SECONDS)
        assert given.returncode == 0, said
        assert eu.answering == (version, world.home.registry.get(NAME, version).digest)
    assert world.answering == before


def test_where_one_is_lost_the_other_goes_back(world: World) -> None:
    before, eu, us = world.answering, world.there["eu"], world.there["us"]
    world.better()
    code, said = world.deploy(us.lose)
    assert code == 1, said
    assert "(eu went back; us could not: us" in str(said)
    assert eu.answering == before["eu"]
    with pytest.raises(httpx.TransportError):
        _ = us.answering
