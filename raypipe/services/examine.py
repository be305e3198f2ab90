"""How this machine, Ray and MLflow are, as far as a deployment needs them."""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from socket import create_connection
from tempfile import TemporaryFile

import httpx
import msgspec

from raypipe import telemetry
from raypipe.contracts.findings import Finding
from raypipe.references import ray_token, ray_token_file
from raypipe.services.config import ServicesConfig
from raypipe.services.ports import holder
from raypipe.services.status import status

LEAST_DISK = 2 * 2**30
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SECONDS = 3.0


def examine_workspace(folder: Path) -> Iterator[Finding]:
    """The folder: writable, with space, closed to other users. A folder that is not there is looked at from above."""
    at = next(path for path in (folder, *folder.parents) if path.is_dir())
    try:
        with TemporaryFile(dir=at) as file:
            file.write(b"well")
        yield Finding(part="workspace", check="writable", state="ok", detail=str(folder))
    except OSError as error:
        cure = "Give its owner the right to write, or name another with RAYPIPE_WORKSPACE"
        detail = f"{at} cannot be written to: {error.strerror}"
        yield Finding(part="workspace", check="writable", state="fault", detail=detail, cure=cure)
    free = shutil.disk_usage(at).free
    detail = f"{free / 2**30:.1f} GiB free"
    if free < LEAST_DISK:
        yield Finding(part="workspace", check="disk", state="fault", detail=detail, cure="Make room: 2 GiB at least")
    else:
        yield Finding(part="workspace", check="disk", state="ok", detail=detail)
    if folder.is_dir() and folder.stat().st_mode & 0o002:
        cure = f"chmod o-w {folder}"
        detail = "every user of this machine may write to it"
        yield Finding(part="workspace", check="rights", state="fault", detail=detail, cure=cure)


def examine_services(config: ServicesConfig) -> Iterator[Finding]:
    """Ray, Serve and MLflow: do they answer, of which version, and are their ports ours."""
    if config.ray_address:
        yield from _cluster(config)
    else:
        for service in status(config):
            if service.name == "mlflow" and config.mlflow:
                continue
            yield _service(service.name, service.url, running=service.running, detail=service.detail)
    if config.mlflow:
        yield _mlflow(config.mlflow_url)


def examine_safety(host: str, ray_address: str, *, has_keys: bool) -> Iterator[Finding]:
    """Telemetry is off; outside of loopback a key is asked for."""
    on = [name for name, value in telemetry.OFF.items() if os.environ.get(name, value).lower() != value.lower()]
    if on:
        cure = "Unset " + ", ".join(on)
        yield Finding(part="safety", check="telemetry", state="fault", detail="is turned on", cure=cure)
    else:
        yield Finding(part="safety", check="telemetry", state="ok", detail="is off")
    if host not in LOOPBACK:
        if has_keys:
            yield Finding(part="safety", check="key", state="ok", detail=f"the HTTP service on {host} asks for keys")
        else:
            detail = f"the HTTP service on {host} answers to keys alone, and none was made"
            cure = "Make one: `raypipe keys add NAME`"
            yield Finding(part="safety", check="key", state="warning", detail=detail, cure=cure)
    elif not ray_address:
        yield Finding(part="safety", check="key", state="ok", detail="everything listens on loopback only")
    if ray_address and os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        cure = "Start Ray and raypipe with RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH=/path of the token"
        detail = "Ray asks for no token: whoever reaches its ports runs code there"
        yield Finding(part="safety", check="key", state="fault", detail=detail, cure=cure)
    elif ray_address:
        yield from _token()


def _token() -> Iterator[Finding]:
    path = ray_token_file()
    if os.environ.get("RAY_AUTH_TOKEN"):
        yield Finding(part="safety", check="key", state="ok", detail="Ray's token is in RAY_AUTH_TOKEN")
    elif not path.is_file():
        cure = "Make one with `ray get-auth-token --generate`, and copy it to every node"
        yield Finding(part="safety", check="key", state="fault", detail=f"no token is at {path}", cure=cure)
    elif path.stat().st_mode & 0o077:
        detail = f"others may read the token at {path}"
        yield Finding(part="safety", check="key", state="fault", detail=detail, cure=f"chmod 600 {path}")
    else:
        yield Finding(part="safety", check="key", state="ok", detail=f"Ray's token is at {path}")


def _service(name: str, url: str, *, running: bool, detail: str) -> Finding:
    if running:
        return Finding(part=name, check="answers", state="ok", detail=f"at {url}")
    port = int(url.rpartition(":")[2])
    if detail.startswith("not ours") or _taken(port):
        by = holder(port) or "somebody else"
        setting = {"ray": "dashboard_port"}.get(name, f"{name}_port")
        cure = f"Set `{setting}` in raypipe.toml, or stop it"
        return Finding(part=name, check="port", state="fault", detail=f"port {port} is taken: {by}", cure=cure)
    if detail:
        return Finding(part=name, check="answers", state="fault", detail=detail, cure="`raypipe down`, `raypipe up`")
    return Finding(part=name, check="port", state="ok", detail=f"not started; port {port} is free")


def _taken(port: int) -> bool:
    try:
        with closing(create_connection(("127.0.0.1", port), SECONDS)):
            return True
    except OSError:
        return False


def _cluster(config: ServicesConfig) -> Iterator[Finding]:
    token = ray_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    code, body = _get(f"{config.dashboard_url}/api/version", headers)
    if code in (401, 403):
        detail, cure = "the dashboard refuses our token", "Copy the head's token to RAY_AUTH_TOKEN_PATH"
        yield Finding(part="ray", check="answers", state="fault", detail=detail, cure=cure)
    elif code != 200:
        cure = "Run on the head, or tunnel to its dashboard: `ray dashboard cluster/…yaml`"
        detail = f"no dashboard answers at {config.dashboard_url}"
        yield Finding(part="ray", check="answers", state="fault", detail=detail, cure=cure)
    else:
        theirs = str(msgspec.json.decode(body).get("ray_version", "?"))
        yield _versions("ray", theirs, "Ray", exact=True)


def _mlflow(url: str) -> Finding:
    code, body = _get(f"{url}/version", {})
    if code != 200:
        cure = "Start it with `mlflow server`; allow our name with its --allowed-hosts"
        detail = f"nothing answers at {url}" if code == 0 else f"answers {code} at {url}"
        return Finding(part="mlflow", check="answers", state="fault", detail=detail, cure=cure)
    return _versions("mlflow", body.strip(), "MLflow", exact=False)


def _get(url: str, headers: dict[str, str]) -> tuple[int, str]:
    """Status and text of the answer; status 0 when there is none."""
    try:
        answer = httpx.get(url, headers=headers, timeout=SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL):
        return 0, ""
    return answer.status_code, answer.text


def _versions(part: str, theirs: str, name: str, *, exact: bool) -> Finding:
    ours = version(part)
    same = theirs == ours if exact else theirs.partition(".")[0] == ours.partition(".")[0]
    if same:
        return Finding(part=part, check="version", state="ok", detail=f"{name} {theirs}")
    detail = f"{name} is {theirs} there and {ours} here"
    return Finding(part=part, check="version", state="fault", detail=detail, cure=f"Install {part}=={theirs} here")
