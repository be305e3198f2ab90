"""Deploys on a real Serve: the first one, swaps under load, refusals, and other applications left alone."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
import ray
import skops.io
from msgspec import structs
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

from raypipe.clock import ManualClock
from raypipe.contracts import bundle
from raypipe.contracts.arms import Arm, with_share
from raypipe.contracts.logs import FEEDBACK, PREDICTIONS
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Candidate, Deployment, Lineage, ModelVersion
from raypipe.errors import RegistryError, ServingError
from raypipe.flows.collect import collect
from raypipe.lake import Lake
from raypipe.ledger import Ledger
from raypipe.registry import Registry, capture
from raypipe.registry.rows import REGISTERED, Registered
from raypipe.serving import api as serving_api
from raypipe.serving.api import ServeApi
from raypipe.serving.deploy import deploy, holdings, withdraw
from raypipe.serving.model import Served
from raypipe.serving.recipe import Recipe
from raypipe.spec import Finish, Pipeline, changed
from raypipe.training import refit
from raypipe.training.trainers.linear import TRUSTED
from raypipe.training.trainers.several import pack
from tests.serving.conftest import make_bundle
from tests.serving.test_parse import GOOD
from tests.training.data import training_set

READER = "tests.serving.reader:open_reader"


class InProcess:
    """What the dashboard does with a request to Serve's REST API, without a dashboard."""

    def __init__(self, address: str) -> None:
        self._client: Any = _get_global_client()

    def get_serve_details(self) -> dict[str, Any]:
        return ray.get(self._client._controller.get_serve_instance_details.remote())

    def deploy_applications(self, config: dict[str, Any]) -> None:
        self._client.deploy_apps(ServeDeploySchema.model_validate(config))


@dataclass(frozen=True)
class Service:
    """Serve on this cluster, and the recipe of one application."""

    api: ServeApi
    recipe: Recipe

    def deploy(self, version: ModelVersion, **changes: object) -> Deployment:
        recipe = structs.replace(self.recipe, **changes)
        return deploy(version, recipe, self.api, clock=ManualClock(7), progress=Silent(), timeout=60)

    def ask(self) -> dict[str, Any]:
        answer = httpx.post(f"{self.api.url}/late/predict", json=GOOD, timeout=10)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def about(self) -> dict[str, Any]:
        told: dict[str, Any] = httpx.get(f"{self.api.url}/late", timeout=10).json()
        return told

    def replicas(self) -> dict[str, set[str]]:
        """The actors of each application's replicas."""
        apps = self.api._details()["applications"]
        return {
            name: {one["replica_id"] for deployment in app["deployments"].values() for one in deployment["replicas"]}
            for name, app in apps.items()
        }


@pytest.fixture(scope="module")
def service(
    ray_local: None, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving_api, "ServeSubmissionClient", InProcess)
        folder = tmp_path_factory.mktemp("serving")
        api = ServeApi("in process", f"http://127.0.0.1:{port}")
        yield Service(api, Recipe(name="late", reader=READER, folder=str(folder)))
    serve.shutdown()


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory, pipeline: Pipeline) -> list[ModelVersion]:
    """Three versions that each give another probability."""
    root = tmp_path_factory.mktemp("versions")
    return [version_of(make_bundle(root / str(n), pipeline, bias=n / 10), n) for n in (1, 2, 3)]


def version_of(served: Served, number: int) -> ModelVersion:
    lineage = Lineage(
        commit="", dirty=False, pipeline_definition="", feature_definition="", training_set="", as_of=0, snapshots={},
        files=(), params={}, seed=0, lock={}, run_id="",
    )  # fmt: skip
    return ModelVersion(
        name="late", version=number, aliases=(), algorithm="linear", metrics={}, created=0, digest=served.digest,
        folder=served.folder, lineage=lineage,
    )  # fmt: skip


def eventually(what: Callable[[], bool]) -> None:
    for _ in range(300):
        if what():
            return
        time.sleep(0.1)
    raise AssertionError("did not happen within 30 seconds")


def test_the_first_deploy_starts_the_application(service: Service, versions: list[ModelVersion]) -> None:
    record = service.deploy(versions[0])
    url = f"{service.api.url}/late/predict"
    assert record == Deployment(name="late", version=1, digest=versions[0].digest, url=url, at=7)
    answer = httpx.post(record.url, json=GOOD, headers={"X-Request-Id": "mine"}, timeout=10)
    assert (answer.json()["version"], answer.json()["request_id"]) == (1, "mine")
    assert answer.headers.get_list("x-request-id") == ["mine"]


def test_versions_are_swapped_in_place_and_no_request_notices(service: Service, versions: list[ModelVersion]) -> None:
    service.deploy(versions[0])
    before, configs, stop = service.replicas(), service.api.configs(), threading.Event()
    statuses: set[int] = set()
    seen: set[tuple[int, float]] = set()

    def load() -> None:
        with httpx.Client() as http:
            while not stop.is_set():
                answer = http.post(f"{service.api.url}/late/predict", json=GOOD, timeout=10)
                statuses.add(answer.status_code)
                seen.add((answer.json().get("version"), answer.json().get("probability")))

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for version in (*versions[1:], *versions):
            service.deploy(version)
            assert service.ask()["version"] == version.version
    finally:
        stop.set()
        thread.join()
    assert statuses == {200}
    assert len(seen) == len({number for number, _ in seen}) == 3, "a version answered with another one's model"
    assert (service.replicas(), service.api.configs()) == (before, configs)


def test_an_altered_version_is_refused_before_the_cluster_hears_of_it(
    service: Service, versions: list[ModelVersion], tmp_path: Path, pipeline: Pipeline
) -> None:
    service.deploy(versions[0])
    bad = version_of(make_bundle(tmp_path / "bad", pipeline), 9)
    (tmp_path / "bad" / bundle.MODEL).write_bytes(b"other")
    with pytest.raises(RegistryError, match=r"model\.onnx"):
        service.deploy(bad)
    assert service.ask()["version"] == 1
    assert service.about()["refused"] is None


def test_a_version_that_a_replica_refuses_changes_nothing(
    service: Service,
    versions: list[ModelVersion],
    tmp_path: Path,
    pipeline: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service.deploy(versions[1])
    configs, replicas = service.api.configs(), service.replicas()
    bad = version_of(make_bundle(tmp_path / "bad", pipeline, wrong_by=0.2), 9)
    # Its files change between the check here and the load there.
    monkeypatch.setattr("raypipe.serving.deploy.Model", lambda served: None)
    with pytest.raises(ServingError, match=r"version 9 is refused: late/9: 4 of 4 golden rows"):
        service.deploy(bad)
    assert service.ask()["version"] == 2
    pointed = service.recipe.pointer.read()
    assert pointed is not None
    assert pointed.version == 2
    monkeypatch.undo()
    assert service.deploy(versions[2]).version == 3
    assert service.about()["refused"] is None
    assert (service.replicas(), service.api.configs()) == (replicas, configs)


def test_a_new_application_that_cannot_start_is_taken_away_again(
    service: Service, versions: list[ModelVersion]
) -> None:
    with pytest.raises(ServingError, match=r"other: version 1 cannot start: .*is a model of `late`"):
        service.deploy(versions[0], name="other")
    assert "other" not in service.api.configs()
    assert structs.replace(service.recipe, name="other").pointer.read() is None


def test_other_applications_are_left_alone(service: Service, versions: list[ModelVersion]) -> None:
    api, path = service.api, "tests.serving.hello:build"
    service.deploy(versions[0])
    hello = {"name": "hello", "route_prefix": "/hello", "import_path": path, "args": {"to": "you"}}
    api.put(api.configs() | {"hello": hello})
    eventually(lambda: api.status("hello").running)
    before = service.replicas()
    service.deploy(versions[1])
    service.deploy(versions[1], replicas=2)
    assert httpx.get(f"{api.url}/hello", timeout=10).text == "hello you"
    assert service.replicas()["hello"] == before["hello"]
    assert before["late"] < service.replicas()["late"]
    assert [holding.served.version for holding in holdings("late") if holding.served] == [2, 2]
    service.deploy(versions[2], replicas=2)
    assert [holding.served.version for holding in holdings("late") if holding.served] == [3, 3]
    api.put({name: config for name, config in api.configs().items() if name != "hello"})


def test_a_pipeline_goes_out_of_service_and_another_one_stays(service: Service, versions: list[ModelVersion]) -> None:
    api = service.api
    service.deploy(versions[0])
    hello = {
        "name": "hello",
        "route_prefix": "/hello",
        "import_path": "tests.serving.hello:build",
        "args": {"to": "you"},
    }
    api.put(api.configs() | {"hello": hello})
    eventually(lambda: api.status("hello").running)
    for _ in range(2):
        withdraw(service.recipe, api)
        assert ("late" in api.names(), service.recipe.pointer.read()) == (False, None)
    eventually(lambda: httpx.get(f"{api.url}/late", timeout=10).status_code == 404)
    assert httpx.get(f"{api.url}/hello", timeout=10).text == "hello you"
    api.put({})
    service.deploy(versions[1])
    assert service.ask()["version"] == 2


def test_a_replica_that_starts_later_begins_with_the_version_in_service(
    service: Service, versions: list[ModelVersion]
) -> None:
    service.deploy(versions[0])
    service.deploy(versions[2])
    before = service.replicas()["late"]
    for name in [one["name"] for one in ray.util.list_named_actors(all_namespaces=True) if "late#Model" in one["name"]]:
        ray.kill(ray.get_actor(name, namespace="serve"))
    eventually(lambda: not service.replicas()["late"] & before and service.api.status("late").running)
    assert service.ask()["version"] == 3


def test_replicas_come_back_to_the_version_in_service(service: Service, versions: list[ModelVersion]) -> None:
    """As after a deploy that was killed between telling the replicas and moving the pointer."""
    service.deploy(versions[0])
    handle = serve.get_deployment_handle("Model", "late")
    served = Served(folder=versions[1].folder, digest=versions[1].digest, version=2)
    handle.broadcast("take", served.to_json()).results(timeout_s=30)
    eventually(lambda: service.ask()["version"] == 1)


def test_an_unseen_category_is_counted_in_the_replica(service: Service, versions: list[ModelVersion]) -> None:
    service.deploy(versions[0], replicas=1)
    before = service.about()["counts"]["unseen"].get("carrier", 0)
    strange = GOOD | {"carrier": "??"}
    httpx.post(f"{service.api.url}/late/predict", json=strange, timeout=10).raise_for_status()
    assert service.about()["counts"]["unseen"]["carrier"] == before + 1


def test_a_large_body_is_refused_over_http(service: Service, versions: list[ModelVersion]) -> None:
    service.deploy(versions[0])
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{service.api.url}/late/predict", content=b"[" * 10_000_000, headers=headers, timeout=30)
    assert (answer.status_code, answer.json()["error"]["field"]) == (413, "body")
    assert service.ask()["version"] == 1


def test_a_challenger_and_a_shadow_answer_beside_the_champion(
    service: Service, versions: list[ModelVersion], tmp_path: Path
) -> None:
    """On the real Serve: who answers says so, and all of it is in the lake."""
    arms = with_share(with_share((), challenger(versions[1]), 0.5), challenger(versions[2], "shadow"), 1.0)
    arms = tuple(
        structs.replace(a, folder=versions[a.version - 1].folder, digest=versions[a.version - 1].digest) for a in arms
    )
    recipe = structs.replace(service.recipe, log=str(tmp_path / "log"))
    clock = ManualClock(7)
    deploy(versions[0], recipe, service.api, clock=clock, progress=Silent(), timeout=60, arms=arms, salt="s")
    url, seen = f"{service.api.url}/late", {}
    with httpx.Client(timeout=10) as http:
        for number in range(20):
            answer = http.post(f"{url}/predict", json=GOOD, headers={"X-Request-Id": f"id-{number}"}).json()
            seen[answer["request_id"]] = (answer["arm"], answer["version"])
        assert http.post(f"{url}/feedback", json={"request_id": "id-0", "label": True}).json()["accepted"] == 1
    assert set(seen.values()) == {("champion", 1), ("challenger/2", 2)}
    lake = Lake(tmp_path / "lake")
    eventually(lambda: collect(lake, tmp_path, ManualClock(1)) >= 0 and logged(lake).height == 40)
    rows = logged(lake)
    answered = rows.filter("answered")
    assert {id_: (arm, version) for id_, arm, version in answered.select("request_id", "arm", "version").rows()} == seen
    assert rows.filter(~pl.col("answered"))["arm"].unique().to_list() == ["shadow/3"]
    assert lake.log(FEEDBACK, "late").rows().collect()["request_id"].to_list() == ["id-0"]
    service.deploy(versions[0])
    assert {service.ask()["arm"] for _ in range(5)} == {"champion"}


def test_a_rollback_takes_two_seconds_at_most_with_the_registry_down(
    service: Service, versions: list[ModelVersion], tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """The history says who was champion before; MLflow, its copy, does not answer."""
    ledger = Ledger.in_folder(tmp_path, ManualClock(1))
    for version in versions[:2]:
        row = Registered(
            version=version.version, algorithm="linear", metrics={}, digest=version.digest, lineage=version.lineage
        )
        ledger.append(f"{REGISTERED}/late/{version.version}", REGISTERED, "late", row.to_json())
        # Promotion asks the definition in a bundle whether a gate has to judge it.
        copytree(version.folder, tmp_path / "registry" / "models" / "late" / version.digest)
    registry = Registry(tmp_path / "registry", ledger, "")
    registry.promote("late", 1, expect=None, why="first")
    registry.promote("late", 2, expect=1, why="better")
    service.deploy(versions[0])
    service.deploy(versions[1])
    registry = Registry(tmp_path / "registry", ledger, f"http://127.0.0.1:{free_port()}")
    began = time.perf_counter()
    back = registry.rollback("late", "worse")
    service.deploy(structs.replace(back, folder=versions[0].folder))
    assert service.ask()["version"] == 1
    assert time.perf_counter() - began < 2.0


def flown(rows: int, seed: int) -> pl.DataFrame:
    """Far flights are late, but those of UA: they are late when they are near."""
    rng = np.random.default_rng(seed)
    carrier, distance = rng.choice(["AA", "UA", "B6"], rows), rng.uniform(0, 3_000, rows)
    odds = np.where(carrier == "UA", -1.0, 1.0) * (distance - 1_500) / 300
    return pl.DataFrame(
        {
            "carrier": carrier,
            "hour": pl.Series(rng.integers(0, 24, rows), dtype=pl.Int8),
            "distance": distance,
            "origin_delay_1h": rng.normal(10, 3, rows),
            "asked_at": pl.Series(np.arange(rows), dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            "label": rng.random(rows) < 1 / (1 + np.exp(-odds)),
        }
    )


def test_each_segment_is_answered_by_its_own_model_and_the_others_by_that_of_all(
    service: Service, pipeline: Pipeline, tmp_path: Path
) -> None:
    wish = changed(pipeline, finish=Finish(calibrate="none"))
    periods = {name: flown(600, seed) for seed, name in enumerate(("train", "tune", "holdout"))}
    rows = structs.replace(training_set(tmp_path / "set", **periods), features=wish.feature_names)
    linear = {"algorithm": "linear", "C": 1.0, "max_iter": 200}
    params = {"by": "carrier"} | pack([linear, linear | {"value": "UA"}])
    metrics = refit(wish, rows, "segments", params, {}, tmp_path / "bundle")
    candidate = Candidate(
        pipeline="late", training_set=rows.digest, algorithm="segments", params=params, seed=0,
        folder=str(tmp_path / "bundle"), metrics=metrics, trials=(), reason="", experiment="",
    )  # fmt: skip
    registry = Registry(tmp_path / "registry", Ledger.in_folder(tmp_path, ManualClock(1)), "")
    registry.register(candidate, capture(wish, tmp_path / "pipeline.py", candidate, rows))
    registry.promote("late", 1, expect=None, why="first")
    service.deploy(registry.get("late", "champion"))

    everybody, ua = (  # what lies in the bundle, read by scikit-learn itself
        skops.io.load(Path(registry.get("late", 1).folder) / f"part{number}_model.skops", trusted=TRUSTED)
        for number in (0, 1)
    )
    known = bundle.signature(tmp_path / "bundle").columns[0].vocabulary
    for carrier, model in (("UA", ua), ("AA", everybody), ("never seen", everybody)):
        for distance in (100.0, 2_900.0):
            body = GOOD | {"carrier": carrier, "distance": distance}
            answer = httpx.post(f"{service.api.url}/late/predict", json=body, timeout=10).json()
            code = known.index(carrier) + 1 if carrier in known else 0
            [[_, expected]] = model.predict_proba(np.array([[code, 14, distance, 10.0]], dtype=np.float32))
            assert answer["probability"] == pytest.approx(expected, abs=1e-5)
            assert answer["label"] is ((distance > 1_500) != (carrier == "UA"))


def challenger(version: ModelVersion, role: str = "challenger") -> Arm:
    return Arm(version=version.version, role=role, ranges=())


def logged(lake: Lake) -> pl.DataFrame:
    return lake.log(PREDICTIONS, "late").rows().collect()
