"""Configurations of the Ray cluster launcher, judged by Ray itself."""

import copy
import json
import re
import shlex

import jsonschema
import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from raypipe.services.front_door import FAST
from raypipe.services.ray_head import QUIET
from tests.cluster.files import RAY, load, unknown_variables

NAMES = ["local.yaml", "aws.yaml", "gcp.yaml"]
CLOUDS = ["aws.yaml", "gcp.yaml"]


def variables(command: str) -> dict[str, str]:
    words = shlex.split(command)
    return dict(word.split("=", 1) for word in words[: words.index("ray")])


def starts(name: str) -> list[str]:
    config = load(name)
    return [config[key][-1] for key in ("head_start_ray_commands", "worker_start_ray_commands")]


@pytest.mark.parametrize("name", NAMES)
def test_rays_own_schema_takes_it(name: str) -> None:
    schema = json.loads((RAY / "autoscaler/ray-schema.json").read_text())
    jsonschema.validate(load(name), schema, cls=jsonschema.Draft7Validator)


@pytest.mark.parametrize("name", NAMES)
def test_ray_up_takes_it_with_its_defaults(name: str) -> None:
    prepared = prepare_config(copy.deepcopy(load(name)))
    validate_config(prepared)
    assert not any("pip install" in command for command in prepared["setup_commands"]), "the image has its own Ray"


@pytest.mark.parametrize("name", NAMES)
def test_a_misspelt_key_is_noticed(name: str) -> None:
    schema = json.loads((RAY / "autoscaler/ray-schema.json").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(load(name) | {"max_worker": 2}, schema)


@pytest.mark.parametrize("name", NAMES)
def test_ray_reads_every_variable(name: str) -> None:
    names = {variable for command in starts(name) for variable in variables(command) if variable.startswith("RAY_")}
    assert len(names) > 10
    assert not unknown_variables(names)


def test_a_variable_that_ray_does_not_read_is_noticed() -> None:
    wrong = {"RAY_SERVE_ENABLE_HAPROXY", "RAY_enable_autoscaler_v3", "RAY_AUTH_MODUS"}
    assert unknown_variables({*wrong, "RAY_AUTH_MODE", "RAY_enable_autoscaler_v2"}) == wrong


@pytest.mark.parametrize("name", NAMES)
def test_nodes_are_started_as_raypipe_starts_its_own_head(name: str) -> None:
    # One setting keeps a laptop's head on loopback, and one stands for "no login, because nothing but loopback".
    wanted = {
        k: v for k, v in (QUIET | FAST).items() if k not in ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_AUTH_MODE")
    }
    for command in starts(name):
        given = variables(command)
        assert wanted.items() <= given.items()
        assert given["RAY_AUTH_MODE"] == "token"
        assert given["RAY_SERVE_ENABLE_HA_PROXY"] == "1"


@pytest.mark.parametrize("name", NAMES)
def test_outside_loopback_stands_a_token_and_the_dashboard_stays_inside(name: str) -> None:
    assert "~/.ray/auth_token" in load(name)["file_mounts"]
    head, worker = starts(name)
    assert "--dashboard-host=127.0.0.1" in head
    assert variables(head)["RAY_enable_autoscaler_v2"] == "1"
    assert "--address=$RAY_HEAD_IP:6379" in worker


@pytest.mark.parametrize("name", CLOUDS)
def test_there_are_processors_and_accelerators_on_demand_and_spot(name: str) -> None:
    config = load(name)
    types = config["available_node_types"]
    spot = {key for key, value in types.items() if "spot" in json.dumps(value["node_config"]) or _preemptible(value)}
    assert spot == {"cpu-spot", "gpu-spot"}
    assert {key for key in types if types[key]["labels"].get("ray.io/market-type") == "spot"} == spot
    assert all(value["max_workers"] >= value.get("min_workers", 0) for value in types.values())
    assert sum(value["max_workers"] for value in types.values()) <= config["max_workers"]
    assert types[config["head_node_type"]]["max_workers"] == 0


def _preemptible(node_type: dict) -> bool:
    return any(entry.get("preemptible") for entry in node_type["node_config"].get("scheduling", []))


@pytest.mark.parametrize("name", NAMES)
def test_images_carry_a_version(name: str) -> None:
    assert re.fullmatch(r"\S+/raypipe:\d+\.\d+\.\d+", load(name)["docker"]["image"])
