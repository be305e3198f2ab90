"""raypipe's own ways to answer: the service over HTTP and gRPC, in a caller's process, and batches."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc as grpc_io
import httpx
import numpy as np
import polars as pl
import psutil

import raypipe
from benchmarks.clients import callers
from benchmarks.report import QUICK, Row
from benchmarks.serving import peers
from benchmarks.serving.asked import DIFFERENT, Asked
from benchmarks.serving.load import h2load, one_and_many, wrk
from raypipe.serving.oip_messages import SERVICE, message
from raypipe.words import amount

#: How long requests arrive at a rate: longer than it takes until the log is collected once.
RATE_SECONDS = 4 if QUICK else 40
INFER = f"/{SERVICE}/ModelInfer"


def service(asked: Asked) -> Iterator[Row]:
    """The service as `raypipe run` leaves it; it answers what a model in process does."""
    answer = httpx.post(_url(asked), json={"rows": asked.questions}).json()
    told = [one["probability"] for one in answer["predictions"]]
    assert told == [one.probability for one in raypipe.load("flights").predict_many(asked.questions)]
    yield from one_and_many(_url(asked), "raypipe", asked.fields)


def in_process(asked: Asked) -> Iterator[Row]:
    """`raypipe.load`."""
    model = raypipe.load("flights")
    for rows, calls in ((1, 500), (DIFFERENT, 20)) if QUICK else ((1, 3_000), (DIFFERENT, 300)):
        times = []
        for number in range(calls):
            part = [asked.questions[number % DIFFERENT]] if rows == 1 else asked.questions
            began = time.perf_counter()
            model.predict_many(part)
            times.append(time.perf_counter() - began)
        p50, p99 = np.quantile(times, [0.5, 0.99]) * 1e3
        figures = {"requests_s": calls / sum(times), "p50_ms": float(p50), "p99_ms": float(p99)}
        yield Row("raypipe in process", f"1 thread, {amount(rows, 'row')}", figures)


def grpc(asked: Asked) -> Iterator[Row]:
    """Raw tensors over gRPC and JSON over REST, both by the same program in C."""
    target = f"127.0.0.1:{asked.settings.grpc_port}"
    as_json = ("--h1", "-H", "content-type: application/json")
    as_grpc = ("-H", "content-type: application/grpc", "-H", "te: trailers")
    for rows in (1, DIFFERENT):
        yield h2load(_url(asked), asked.fields(rows)[0], rows, "raypipe REST", *as_json)
        content = asked.tensors(rows)
        with grpc_io.insecure_channel(target) as channel:
            told = message("ModelInferResponse").FromString(channel.unary_unary(INFER)(content))  # type: ignore[attr-defined]
        assert told.outputs[0].shape == [rows]
        before = _refused(asked)
        # A message stands behind its length. Whatever comes of it has status 200 in HTTP.
        framed = b"\0" + len(content).to_bytes(4, "big") + content
        yield h2load(f"http://{target}{INFER}", framed, rows, "raypipe gRPC", *as_grpc)
        assert _refused(asked) == before, "errors were answered, too"


def _refused(asked: Asked) -> object:
    return httpx.get(_url(asked).removesuffix("/predict")).json()["counts"]["refused"]


def rate(asked: Asked) -> Iterator[Row]:
    """Open loop: so many requests a second arrive, whatever the service does; and the same at others, to compare."""
    bodies = asked.fields(1)
    peak = float(wrk(_url(asked), bodies, 64, 1, "raypipe").figures["requests_s"] or 0)
    at = peak * 0.5, RATE_SECONDS, f"half of {peak:.0f}/s"
    yield callers.open_loop("raypipe", _url(asked), bodies, *at)
    yield from peers.open_loop(asked, *at)


def batch(asked: Asked) -> Iterator[Row]:
    """`raypipe predict --batch`, its start included: rows a minute, and what its actors hold."""
    rows = 100_000 if QUICK else 2_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "questions.parquet")
        # Another moment for each row: no row is another one's repetition.
        later = pl.col("scheduled_at") + pl.duration(microseconds=pl.int_range(pl.len()))
        many = asked.frame.sample(rows, with_replacement=True, seed=0).with_columns(later)
        many.write_parquet(path)
        command = [sys.executable, "-m", "raypipe.cli", "predict", "flights", "--batch", str(path), "--json"]
        began, held = time.monotonic(), []
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            while process.poll() is None:
                held.append(_scorers_bytes())
                time.sleep(0.5)
            took, told = time.monotonic() - began, json.loads(process.stdout.read() if process.stdout else "{}")
    assert (told["rows"], told["refused"], told["added"]) == (rows, 0, True), told
    working = [one for one in held if one]
    half = len(working) // 2
    grown = max(working[half:]) / max(working[:half]) if half else 0.0
    figures = {"rows_minute": rows / took * 60, "seconds": took, "peak_mb": max(working) / 2**20, "grown": grown}
    yield Row("raypipe batch", amount(rows, "row"), figures)


def _url(asked: Asked) -> str:
    return f"http://127.0.0.1:{asked.settings.serve_port}/flights/predict"


def _scorers_bytes() -> int:
    """The memory of all actors that work on a batch, without what they share."""
    found = 0
    for process in psutil.process_iter(["name", "cmdline"]):
        with suppress(psutil.Error):
            if any("Scorer" in word for word in process.info["cmdline"] or ()):
                found += process.memory_full_info().uss
    return found
