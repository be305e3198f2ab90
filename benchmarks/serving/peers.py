"""Each peer in a process of its own, one after the other at one port, with the model alone."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from benchmarks.clients import callers
from benchmarks.oip import environment
from benchmarks.report import Row
from benchmarks.serving.asked import DIFFERENT, Asked
from benchmarks.serving.load import one_and_many
from benchmarks.serving.server import PeerError, server
from raypipe.contracts import bundle
from raypipe.wiring import services_config

PORT = int(os.environ.get("RAYPIPE_BENCH_PORT", "18490"))
#: The programs of the peers.
CLIENTS = Path(__file__).parents[1] / "clients"
#: What names the files and the ports of Ray Serve's HAProxy.
HAPROXY_FILES = ("CONFIG_FILE_LOC", "SOCKET_PATH", "METRICS_SOCKET_PATH", "SERVER_STATE_BASE", "SERVER_STATE_FILE")
HAPROXY_PORTS = ("HAPROXY_METRICS_PORT", "HAPROXY_STATS_PORT", "FALLBACK_PROXY_HTTP_PORT", "FALLBACK_PROXY_GRPC_PORT")
FASTAPI, RAY, FAST_RAY = (
    "FastAPI + uvicorn, model only",
    "Ray Serve defaults, FastAPI",
    "Ray Serve HAProxy + throughput, FastAPI",
)
#: No peer: what the caller and the machine take by themselves.
EMPTY = "uvicorn, empty answers"
MLFLOW, BENTOML, MLSERVER = "MLflow's server", "BentoML, adaptive batching", "MLServer"


def fastapi(asked: Asked) -> Iterator[Row]:
    """Bare FastAPI on uvicorn."""
    command = [sys.executable, CLIENTS / "peers.py", "fastapi", _model(asked), str(PORT)]
    with server(FASTAPI, command, PORT, "/predict", asked.numbers(1)[0]) as url:
        yield from one_and_many(url, FASTAPI, asked.numbers)


def open_loop(asked: Asked, rate: float, seconds: float, what: str) -> Iterator[Row]:
    """The arrivals that raypipe was asked with, at a server that does nothing, and at bare FastAPI."""
    for system, kind in ((EMPTY, "echo"), (FASTAPI, "fastapi")):
        command = [sys.executable, CLIENTS / "peers.py", kind, _model(asked), str(PORT)]
        with server(system, command, PORT, "/predict", asked.numbers(1)[0]) as url:
            yield callers.open_loop(system, url, asked.numbers(1), rate, seconds, what)


def ray(asked: Asked, *, fast: bool = False) -> Iterator[Row]:
    """Ray Serve with a FastAPI ingress, as it comes or in its fastest mode, in a cluster of its own."""
    temp = tempfile.mkdtemp(prefix="rb-", dir="/tmp")
    env = {"BENCH_TEMP": temp, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} | (_fastest(temp) if fast else {})
    system = FAST_RAY if fast else RAY
    command = [sys.executable, CLIENTS / "peers.py", "ray", _model(asked), str(PORT)]
    try:
        with server(system, command, PORT, "/predict", asked.numbers(1)[0], **env) as url:
            yield from one_and_many(url, system, asked.numbers)
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def _fastest(temp: str) -> dict[str, str]:
    """The mode, with files and ports that are not those of the service of raypipe beside it."""
    env = {f"RAY_SERVE_HAPROXY_{name}": f"{temp}/{number}" for number, name in enumerate(HAPROXY_FILES)}
    env |= {f"RAY_SERVE_{name}": str(PORT + 10 + number) for number, name in enumerate(HAPROXY_PORTS)}
    return env | {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}


def mlflow(asked: Asked) -> Iterator[Row]:
    """MLflow's own server on the champion as MLflow has it."""
    whole = bundle.golden(asked.champion).drop(bundle.SCORE).drop_nulls()
    frame = pl.concat([whole] * (DIFFERENT // whole.height + 1)).head(DIFFERENT)

    def bodies(rows: int) -> list[bytes]:
        parts = (frame.slice(at, rows).rows() for at in range(0, DIFFERENT, rows))
        return [json.dumps({"dataframe_split": {"columns": frame.columns, "data": part}}).encode() for part in parts]

    tracking = services_config(asked.settings).mlflow_url
    env = {"__pyfunc_model_path__": "models:/flights@champion", "MLFLOW_TRACKING_URI": tracking}
    serve = "mlflow.pyfunc.scoring_server.app:app"
    command = [sys.executable, "-m", "uvicorn", "--port", str(PORT), "--workers", "1", serve]
    off = {"MLFLOW_DISABLE_TELEMETRY": "true"}
    with server(MLFLOW, command, PORT, "/invocations", bodies(1)[0], **env, **off) as url:
        yield from one_and_many(url, MLFLOW, bodies)


def bentoml(asked: Asked) -> Iterator[Row]:
    """BentoML with adaptive batching."""
    python = _python(BENTOML, "bentoml", "bentoml", "onnxruntime")
    command = [python.parent / "bentoml", "serve", "bento:Flights", "--port", str(PORT), "--working-dir", CLIENTS]
    env = {"MODEL": _model(asked), "BENTOML_DO_NOT_TRACK": "True"}
    with server(BENTOML, command, PORT, "/predict", asked.numbers(1)[0], **env) as url:
        yield from one_and_many(url, BENTOML, asked.numbers)


def mlserver(asked: Asked) -> Iterator[Row]:
    """MLServer with one inference process of its own."""
    python = _python(MLSERVER, "mlserver", "mlserver==1.7.1", "onnxruntime")

    def bodies(rows: int) -> list[bytes]:
        made = {"name": "x", "datatype": "FP32", "shape": [rows, asked.matrix.shape[1]]}
        parts = asked.parts(rows)
        return [json.dumps({"inputs": [made | {"data": part.ravel().tolist()}]}).encode() for part in parts]

    with tempfile.TemporaryDirectory() as folder:
        ports = {"http_port": PORT, "grpc_port": PORT + 1, "metrics_port": PORT + 2, "host": "127.0.0.1"}
        Path(folder, "settings.json").write_text(json.dumps(ports | {"parallel_workers": 0, "debug": False}))
        own = {"name": "flights", "implementation": "mls.Onnx", "parameters": {"uri": _model(asked)}}
        Path(folder, "model-settings.json").write_text(json.dumps(own))
        command = [python.parent / "mlserver", "start", folder]
        path, env = "/v2/models/flights/infer", {"PYTHONPATH": str(CLIENTS)}
        with server(MLSERVER, command, PORT, path, bodies(1)[0], **env) as url:
            yield from one_and_many(url, MLSERVER, bodies)


def _python(system: str, name: str, *pins: str) -> Path:
    """The Python of a peer's own environment."""
    try:
        return environment(name, *pins)
    except subprocess.CalledProcessError:
        raise PeerError(system, f"its packages cannot be installed: {', '.join(pins)}") from None


def _model(asked: Asked) -> str:
    return str(asked.champion / bundle.MODEL)
