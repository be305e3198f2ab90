"""The image and the compose file, as far as they can be judged without an engine."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from raypipe.settings import load_settings
from tests.cluster.files import CLUSTER, ROOT, load, unknown_variables

DOCKER = CLUSTER / "docker"


def instructions() -> list[tuple[str, str]]:
    """Each instruction of the Dockerfile with its arguments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line.strip())]


def compose(*more: str) -> dict:
    """The compose file, with others over it as `docker compose -f … -f …` puts them: maps join, lists add."""
    config = load("docker/compose.yaml")
    for name in more:
        config = merged(config, load(f"docker/{name}.yaml"))
    return config


def merged(below: object, over: object, name: str = "") -> object:
    if isinstance(below, dict) and isinstance(over, dict):
        return below | {key: merged(below.get(key), value, key) for key, value in over.items()}
    if isinstance(below, list) and isinstance(over, list) and name not in ("command", "entrypoint"):
        return below + over
    return over


def test_the_image_has_two_stages_on_one_pinned_base_and_ends_without_root() -> None:
    words = instructions()
    bases = [rest.split()[0] for word, rest in words if word == "FROM"]
    assert bases == ["python:3.11-slim-bookworm"] * 2
    last = words[max(index for index, (word, _) in enumerate(words) if word == "FROM") :]
    users = [rest for word, rest in last if word == "USER"]
    assert users == ["1000"]
    assert [word for word, _ in last].index("USER") > max(
        i for i, (word, _) in enumerate(last) if word in ("RUN", "COPY")
    )
    assert any(word == "HEALTHCHECK" for word, _ in last)


def test_everything_that_pip_installs_is_pinned() -> None:
    installs = [
        part for word, rest in instructions() if word == "RUN" for part in rest.split("&&") if "pip install" in part
    ]
    assert len(installs) == 3
    assert all("--constraint constraints.txt" in install for install in installs)
    pinned = re.search(r"^torch==\S+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    assert pinned[0] in installs[0]


def test_what_is_copied_is_there_and_let_through() -> None:
    lines = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from"):
            for source in shlex.split(rest)[:-1]:
                assert (ROOT / source).exists()
                assert source in allowed


def test_the_health_check_asks_what_ray_answers() -> None:
    from ray.dashboard.modules.reporter import healthz_agent

    source = Path(healthz_agent.__file__).read_text()
    (check,) = [rest for word, rest in instructions() if word == "HEALTHCHECK"]
    for text in (check, " ".join(compose()["services"]["ray"]["healthcheck"]["test"])):
        path = re.search(r"127\.0\.0\.1:52365(/\S+)", text)
        assert path
        assert f'"{path[1]}"' in source
        assert 'text="success"' in source


@pytest.mark.parametrize("name", ["mlflow", "ray", "prometheus", "grafana", "postgres", "redis", "minio", "kafka"])
def test_services_are_pinned_watched_and_on_loopback(name: str) -> None:
    service = compose("production")["services"][name]
    assert re.search(r":(v?\d+\.\d+(\.\d+)?|RELEASE\.\d{4}\S+Z)$", service["image"])
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert service["restart"] == "unless-stopped"
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_production_sets_what_the_profile_needs_and_raypipe_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = compose("production")["services"]
    monkeypatch.chdir(tmp_path)
    for name, value in services["ray"]["environment"].items():
        if name.startswith("RAYPIPE_"):
            monkeypatch.setenv(name, value)
    settings = load_settings()
    named = (settings.ledger_url, settings.catalog_url, settings.online_url)
    secrets = services["ray"]["secrets"]
    assert all(url.removeprefix("file:/run/secrets/") in secrets for url in named)
    assert settings.warehouse_url.startswith("s3://")
    assert settings.kafka == {"bootstrap.servers": "kafka:9092"}
    bucket = settings.warehouse_url.removeprefix("s3://").partition("/")[0]
    assert any(f"s3/{bucket}" in line for line in services["bucket"]["command"])
    # What it needs is in the image.
    installs = " ".join(rest for word, rest in instructions() if word == "RUN")
    assert {"postgres", "redis", "kafka"} <= set(re.search(r"\.\[([\w,]+)\]", installs)[1].split(","))


@pytest.mark.parametrize("more", [(), ("production",)])
def test_compose_names_nothing_that_is_not_there(more: tuple[str, ...]) -> None:
    config = compose(*more)
    services = config["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= services.keys()
        assert set(service.get("secrets", [])) <= config["secrets"].keys()
        for source in (volume.split(":")[0] for volume in service.get("volumes", [])):
            assert (DOCKER / source).exists() if source.startswith(".") else source in config["volumes"]
    assert (DOCKER / services["ray"]["build"]["context"] / services["ray"]["build"]["dockerfile"]).resolve().is_file()
    assert not unknown_variables({name for name in services["ray"]["environment"] if name.startswith("RAY_")})


def test_no_secret_is_written_down() -> None:
    for service in compose("production")["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("TOKEN|PASSWORD|SECRET", name):
                assert value.startswith("/run/secrets/")
    ignored = (ROOT / "cluster" / "docker" / ".gitignore").read_text().split()
    assert "secrets/" in ignored


def test_grafana_is_given_the_dashboards_and_a_source_of_the_same_name() -> None:
    (provider,) = yaml.safe_load((CLUSTER / "grafana/provisioning/dashboards/raypipe.yaml").read_text())["providers"]
    (source,) = yaml.safe_load((CLUSTER / "grafana/provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    mounts = [volume.split(":")[:2] for volume in compose()["services"]["grafana"]["volumes"]]
    assert ["../grafana/dashboards", provider["options"]["path"]] in mounts
    assert source["url"] == "http://prometheus:9090"
