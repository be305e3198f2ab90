"""`make bench-serving`: the flights winner behind HTTP, gRPC and in process, beside bare and packaged servers.

It needs a workspace in which `raypipe run examples/flights/pipeline.py` has been run, its service up, the setting
`grpc_port`, and the program `wrk`. raypipe does all of its work: strict reading, 26 features from the store, the
prediction log. Each peer serves the same ONNX file alone: its callers send the 26 numbers, nothing is looked up and
nothing is written. Load generator and server share the machine. Peers with pins of their own get environments below
`.raypipe-bench/`.

`RAYPIPE_BENCH_PARTS=raypipe,fastapi` runs some parts and keeps what earlier runs have found of the others.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import polars as pl
import psutil

import raypipe
from benchmarks.oip import environment
from benchmarks.report import QUICK, Aim, Figure, Row, versions, write
from raypipe.clock import SystemClock
from raypipe.contracts import bundle
from raypipe.features import OnlineFeatures
from raypipe.ledger import Ledger
from raypipe.settings import Settings, load_settings
from raypipe.wiring import connect, open_registry

HERE = Path(__file__).parent / "clients"
CONNECTIONS = (64,) if QUICK else (1, 16, 64, 256, 512)
SECONDS = 2 if QUICK else 4
#: How long a server may take to come up.
START_SECONDS = 90
PARTS = ("raypipe", "embedded", "grpc", "rate", "batch", "fastapi", "ray", "ray-fast", "mlflow", "bentoml", "mlserver")
PORT = int(os.environ.get("RAYPIPE_BENCH_PORT", "18490"))
KEPT = Path(".raypipe-bench") / ("serving.quick.json" if QUICK else "serving.json")
#: What `wrk` is to send.
LUA = b"""
wrk.headers["Content-Type"] = "application/json"
local bodies, requests, at = {%s}, {}, 0
function init()
  for i, body in ipairs(bodies) do requests[i] = wrk.format("POST", nil, nil, body) end
end
function request()
  at = at %% #requests + 1
  return requests[at]
end
"""
#: So many different rows are asked in turn.
DIFFERENT = 100
_LATENCY = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)", re.MULTILINE)
_MILLIS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def wrk(url: str, bodies: Sequence[bytes], connections: int, rows: int, system: str) -> Row:
    """Closed loop: so many connections, each sends when it has its answer; one body after the other."""
    with tempfile.NamedTemporaryFile("wb", suffix=".lua") as script:
        script.write(LUA % b",".join(b"[==[" + body + b"]==]" for body in bodies))
        script.flush()
        load = f"-t1 -c{connections} -d{SECONDS}s --timeout 10s --latency -s {script.name}"
        said = subprocess.run(["wrk", *load.split(), url], capture_output=True, text=True, check=True).stdout
    found = {f"p{share}_ms": float(number) * _MILLIS[unit] for share, number, unit in _LATENCY.findall(said)}
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    lost = re.search(r"Socket errors: (.*)", said)
    figures: dict[str, Figure] = {"requests_s": float(rate[1]) if rate else 0.0, **found}
    if bad or lost:
        figures["failed"] = (f"{bad[1]} not 2xx " if bad else "") + (lost[1] if lost else "")
    return Row(system, f"{connections} connections, {_rows(rows)}", figures)


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


@contextmanager
def server(command: Sequence[object], port: int, path: str, body: bytes, **env: str) -> Iterator[str]:
    """A peer, once it answers right; ended with all that it has started."""
    started = subprocess.Popen(
        [str(word) for word in command],
        env=os.environ | {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"} | env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url, end = f"http://127.0.0.1:{port}{path}", time.monotonic() + START_SECONDS
    try:
        while True:
            try:
                answer = httpx.post(url, content=body, headers={"Content-Type": "application/json"}, timeout=5)
                if answer.status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            if time.monotonic() > end or started.poll() is not None:
                raise RuntimeError(f"{command[0]} does not answer at {url}")
            time.sleep(0.5)
        yield url
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()


class Bench:
    """One run: what is asked, and what came of it."""

    def __init__(self) -> None:
        self.settings = load_settings()
        ledger = Ledger.in_folder(self.settings.home, SystemClock())
        version = open_registry(self.settings, ledger, mirror=False).get("flights", "champion")
        ledger.close()
        self.folder = Path(version.folder)
        self.model = str(self.folder / bundle.MODEL)
        matrix = bundle.signature(self.folder).encode(bundle.golden(self.folder))
        self.matrix = np.nan_to_num(np.resize(matrix, (DIFFERENT, matrix.shape[1])))
        self.embedded = raypipe.load("flights")
        self.frame = flights(self.settings)
        self.questions: list[dict[str, Any]] = [
            row | {"scheduled_at": row["scheduled_at"].isoformat()} for row in self.frame.rows(named=True)
        ]
        self.url = f"http://127.0.0.1:{self.settings.serve_port}/flights"

    def asked(self, rows: int) -> list[bytes]:
        """What callers of raypipe send."""
        asked = self.questions
        return [json.dumps(one).encode() for one in asked] if rows == 1 else [json.dumps({"rows": asked}).encode()]

    def numbers(self, rows: int) -> list[bytes]:
        """What callers of a peer send."""
        return [json.dumps({"rows": part.tolist()}).encode() for part in np.split(self.matrix, DIFFERENT // rows)]

    def both(self, url: str, system: str, bodies: Callable[[int], Sequence[bytes]]) -> Iterator[Row]:
        """All connections with 1 row, and 64 with 100 rows."""
        subprocess.run(["wrk", "-t1", "-c16", "-d1s", url], capture_output=True, check=False)
        for connections in CONNECTIONS:
            yield wrk(url, bodies(1), connections, 1, system)
        yield wrk(url, bodies(DIFFERENT), 64, DIFFERENT, system)

    def raypipe(self) -> Iterator[Row]:
        """The service as `raypipe run` leaves it."""
        answer = httpx.post(f"{self.url}/predict", json={"rows": self.questions}).json()
        told = [one["probability"] for one in answer["predictions"]]
        assert told == [one.probability for one in self.embedded.predict_many(self.questions)]
        yield from self.both(f"{self.url}/predict", "raypipe", self.asked)

    def in_process(self) -> Iterator[Row]:
        """`raypipe.load`."""
        for rows, calls in ((1, 500), (DIFFERENT, 20)) if QUICK else ((1, 3_000), (DIFFERENT, 300)):
            times = []
            for number in range(calls):
                asked = [self.questions[number % DIFFERENT]] if rows == 1 else self.questions
                began = time.perf_counter()
                self.embedded.predict_many(asked)
                times.append(time.perf_counter() - began)
            p50, p99 = np.quantile(times, [0.5, 0.99]) * 1e3
            figures = {"requests_s": calls / sum(times), "p50_ms": float(p50), "p99_ms": float(p99)}
            yield Row("raypipe in process", f"1 thread, {_rows(rows)}", figures)

    def grpc(self) -> Iterator[Row]:
        """Raw tensors over gRPC and JSON over REST, both from one asyncio client with 16 callers."""
        from benchmarks.clients import callers

        target = f"127.0.0.1:{self.settings.grpc_port}"
        for rows in (1, DIFFERENT):
            yield callers.rest(f"{self.url}/predict", self.asked(rows), rows, SECONDS)
            yield callers.grpc(target, self.frame, rows, SECONDS)

    def rate(self) -> Iterator[Row]:
        """Open loop: so many requests a second arrive, whatever the service does."""
        from benchmarks.clients import callers

        peak = float(wrk(f"{self.url}/predict", self.asked(1), 64, 1, "raypipe").figures["requests_s"] or 0)
        share = 0.5
        yield callers.open_loop(f"{self.url}/predict", self.asked(1), peak * share, SECONDS, f"half of {peak:.0f}/s")

    def batch(self) -> Iterator[Row]:
        """`raypipe predict --batch`, its start included: rows a minute, and what its actors hold."""
        rows = 100_000 if QUICK else 2_000_000
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "questions.parquet")
            # Another moment for each row: no row is another one's repetition.
            later = pl.col("scheduled_at") + pl.duration(microseconds=pl.int_range(pl.len()))
            many = self.frame.sample(rows, with_replacement=True, seed=0).with_columns(later)
            many.write_parquet(path)
            command = [sys.executable, "-m", "raypipe.cli", "predict", "flights", "--batch", str(path), "--json"]
            began, held = time.monotonic(), []
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
                while process.poll() is None:
                    held.append(scorers_bytes())
                    time.sleep(0.5)
                took, told = time.monotonic() - began, json.loads(process.stdout.read() if process.stdout else "{}")
        assert (told["rows"], told["refused"], told["added"]) == (rows, 0, True), told
        working = [one for one in held if one]
        half = len(working) // 2
        grown = max(working[half:]) / max(working[:half]) if half else 0.0
        figures = {"rows_minute": rows / took * 60, "seconds": took, "peak_mb": max(working) / 2**20, "grown": grown}
        yield Row("raypipe batch", f"{rows:,} rows", figures)

    def fastapi(self) -> Iterator[Row]:
        """Bare FastAPI on uvicorn."""
        command = [sys.executable, HERE / "peers.py", "fastapi", self.model, str(PORT)]
        with server(command, PORT, "/predict", self.numbers(1)[0]) as url:
            yield from self.both(url, "FastAPI + uvicorn, model only", self.numbers)

    def ray(self, *, fast: bool = False) -> Iterator[Row]:
        """Ray Serve with a FastAPI ingress, as it comes or in its fastest mode."""
        temp = tempfile.mkdtemp(prefix="rb-", dir="/tmp")
        env = {"BENCH_TEMP": temp, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
        if fast:
            names = ("CONFIG_FILE_LOC", "SOCKET_PATH", "METRICS_SOCKET_PATH", "SERVER_STATE_BASE", "SERVER_STATE_FILE")
            env |= {f"RAY_SERVE_HAPROXY_{name}": f"{temp}/{number}" for number, name in enumerate(names)}
            ports = (
                "HAPROXY_METRICS_PORT",
                "HAPROXY_STATS_PORT",
                "FALLBACK_PROXY_HTTP_PORT",
                "FALLBACK_PROXY_GRPC_PORT",
            )
            env |= {f"RAY_SERVE_{name}": str(PORT + 10 + number) for number, name in enumerate(ports)}
            env |= {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
        system = "Ray Serve HAProxy + throughput, FastAPI" if fast else "Ray Serve defaults, FastAPI"
        command = [sys.executable, HERE / "peers.py", "ray", self.model, str(PORT)]
        try:
            with server(command, PORT, "/predict", self.numbers(1)[0], **env) as url:
                yield from self.both(url, system, self.numbers)
        finally:
            shutil.rmtree(temp, ignore_errors=True)

    def mlflow(self) -> Iterator[Row]:
        """MLflow's own server on the version as the registry has it."""
        whole = bundle.golden(self.folder).drop(bundle.SCORE).drop_nulls()
        frame = pl.concat([whole] * (DIFFERENT // whole.height + 1)).head(DIFFERENT)

        def bodies(rows: int) -> list[bytes]:
            parts = (frame.slice(at, rows).rows() for at in range(0, DIFFERENT, rows))
            return [
                json.dumps({"dataframe_split": {"columns": frame.columns, "data": part}}).encode() for part in parts
            ]

        model = next(self.settings.home.glob("mlflow/**/MLmodel")).parent
        serve = "mlflow.pyfunc.scoring_server.app:app"
        env = {"__pyfunc_model_path__": str(model), "MLFLOW_DISABLE_TELEMETRY": "true"}
        command = [sys.executable, "-m", "uvicorn", "--port", str(PORT), "--workers", "1", serve]
        with server(command, PORT, "/invocations", bodies(1)[0], **env) as url:
            yield from self.both(url, "MLflow's server", bodies)

    def bentoml(self) -> Iterator[Row]:
        """BentoML with adaptive batching."""
        python = environment("bentoml", "bentoml", "onnxruntime")
        command = [python.parent / "bentoml", "serve", "bento:Flights", "--port", str(PORT), "--working-dir", HERE]
        env = {"MODEL": self.model, "BENTOML_DO_NOT_TRACK": "True"}
        with server(command, PORT, "/predict", self.numbers(1)[0], **env) as url:
            yield from self.both(url, "BentoML, adaptive batching", self.numbers)

    def mlserver(self) -> Iterator[Row]:
        """MLServer with one inference process of its own."""
        python = environment("mlserver", "mlserver==1.7.1", "onnxruntime")

        def bodies(rows: int) -> list[bytes]:
            made = {"name": "x", "datatype": "FP32", "shape": [rows, self.matrix.shape[1]]}
            parts = np.split(self.matrix, DIFFERENT // rows)
            return [json.dumps({"inputs": [made | {"data": part.ravel().tolist()}]}).encode() for part in parts]

        with tempfile.TemporaryDirectory() as folder:
            ports = {"http_port": PORT, "grpc_port": PORT + 1, "metrics_port": PORT + 2, "host": "127.0.0.1"}
            Path(folder, "settings.json").write_text(json.dumps(ports | {"parallel_workers": 0, "debug": False}))
            own = {"name": "flights", "implementation": "mls.Onnx", "parameters": {"uri": self.model}}
            Path(folder, "model-settings.json").write_text(json.dumps(own))
            command = [python.parent / "mlserver", "start", folder]
            with server(command, PORT, "/v2/models/flights/infer", bodies(1)[0], PYTHONPATH=str(HERE)) as url:
                yield from self.both(url, "MLServer", bodies)


def flights(settings: Settings) -> pl.DataFrame:
    """What is asked: flights of the day that begins where the stored features end, as callers would ask for them."""
    platform = connect(settings)
    with closing(platform.ledger):
        pipeline = bundle.pipeline(Path(platform.registry.get("flights", "champion").folder))
        state = OnlineFeatures(pipeline, platform.store).materialized()
        snapshot = platform.lake.published(pipeline.ask.stream)
        assert snapshot is not None
        rows = pl.scan_parquet(platform.lake.paths(snapshot)).select(pipeline.request.fields).drop_nulls()
        end = pl.lit(state.watermark).cast(pl.Datetime("us", "UTC"))
        found = rows.filter(pl.col("scheduled_at") > end).sort("scheduled_at").head(1_000).collect()
    return found.sample(DIFFERENT, seed=0)


def scorers_bytes() -> int:
    """The memory of all actors that work on a batch, without what they share."""
    found = 0
    for process in psutil.process_iter(["name", "cmdline"]):
        with suppress(psutil.Error):
            if any("Scorer" in word for word in process.info["cmdline"] or ()):
                found += process.memory_full_info().uss
    return found


def main() -> int:
    bench = Bench()
    wanted = os.environ.get("RAYPIPE_BENCH_PARTS", ",".join(PARTS)).split(",")
    ways = {part: getattr(bench, part.replace("-", "_"), None) for part in PARTS}
    ways |= {"embedded": bench.in_process, "ray-fast": lambda: bench.ray(fast=True)}
    KEPT.parent.mkdir(exist_ok=True)
    kept = msgspec.json.decode(KEPT.read_bytes(), type=dict[str, list[Row]]) if KEPT.is_file() else {}
    for part in wanted:
        way = ways[part]
        assert way is not None
        kept[part] = []
        for row in way():
            print(row.system, "|", row.case, "|", row.figures, flush=True)
            kept[part].append(row)
        KEPT.write_bytes(msgspec.json.encode(kept))
    rows = [row for part in PARTS for row in kept.get(part, [])]
    notes = "Load average before: " + ", ".join(f"{load:.1f}" for load in os.getloadavg())
    write("serving", rows, aims(rows), versions("ray", "onnxruntime", "mlflow", "fastapi", "uvicorn"), notes)
    return 0


def aims(rows: list[Row]) -> list[Aim]:
    """The aims of the table of issue and README, judged at 64 connections and one row."""
    at = {row.system: row.figures for row in rows if row.case == "64 connections, 1 row"}
    by = {(row.system, row.case): row.figures for row in rows}
    found: list[Aim] = []
    ours = at.get("raypipe")
    wanted = {
        "FastAPI + uvicorn, model only": 1.0,
        "Ray Serve defaults, FastAPI": 10.0,
        "Ray Serve HAProxy + throughput, FastAPI": 1.5,
        "MLflow's server": 4.0,
        "BentoML, adaptive batching": 4.0,
        "MLServer": 4.0,
    }
    for system, times in wanted.items():
        if ours and system in at:
            ratio = _number(ours["requests_s"]) / max(1e-9, _number(at[system]["requests_s"]))
            found.append(Aim(f"requests/s against {system}", ratio, f"at least {times:g} times", ratio >= times))
    for count, times in ((1, 0.7), (100, 2.0)):
        pair = [by.get((f"raypipe {way}", f"16 callers in Python, {_rows(count)}")) for way in ("gRPC", "REST")]
        if pair[0] and pair[1]:
            ratio = _number(pair[0]["requests_s"]) / _number(pair[1]["requests_s"])
            found.append(Aim(f"gRPC against REST, {_rows(count)}", ratio, f"at least {times:g} times", ratio >= times))
    for row in rows:
        if row.system == "raypipe in process" and row.case.endswith(" 1 row"):
            p99 = _number(row.figures["p99_ms"])
            found.append(Aim("p99 in process, ms", p99, "under 1", p99 < 1))
        if row.system == "raypipe, open loop":
            p99 = _number(row.figures["p99_ms"])
            found.append(Aim("p99 at half of peak load, ms", p99, "under 20", p99 < 20))
        if row.system == "raypipe batch":
            speed, grown = _number(row.figures["rows_minute"]), _number(row.figures["grown"])
            found.append(Aim("batch, rows a minute", speed, "at least 1,000,000", speed >= 1e6))
            found.append(Aim("batch, memory of its second half by the first", grown, "at most 1.1", grown <= 1.1))
    if ours:
        p99 = _number(ours["p99_ms"])
        found.append(Aim("p99 at 64 connections, ms", p99, "under 100", p99 < 100))
    return found


def _number(figure: Figure) -> float:
    return float(figure or 0)


if __name__ == "__main__":
    sys.exit(main())
