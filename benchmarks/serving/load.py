"""What systems are loaded with: `wrk`, and `h2load` for HTTP/2."""

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import polars as pl

from benchmarks.report import QUICK, Figure, Row
from benchmarks.serving.asked import DIFFERENT
from raypipe.words import amount

CONNECTIONS = (64,) if QUICK else (1, 16, 64, 256, 512)
SECONDS = 2 if QUICK else 4
#: Of `h2load`.
H2_CONNECTIONS = 16
#: The requests of so many rows each.
Bodies: TypeAlias = Callable[[int], Sequence[bytes]]
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
    return Row(system, f"{connections} connections, {amount(rows, 'row')}", figures)


def one_and_many(url: str, system: str, bodies: Bodies) -> Iterator[Row]:
    """All connections with 1 row, and 64 with 100 rows."""
    subprocess.run(["wrk", "-t1", "-c16", "-d1s", url], capture_output=True, check=False)
    for connections in CONNECTIONS:
        yield wrk(url, bodies(1), connections, 1, system)
    yield wrk(url, bodies(DIFFERENT), 64, DIFFERENT, system)


def h2load(url: str, body: bytes, rows: int, system: str, *options: str) -> Row:
    """Closed loop like `wrk`'s, over HTTP/2 (gRPC) or, with ``--h1``, HTTP/1.1: one body again and again."""
    with tempfile.TemporaryDirectory() as folder:
        sent, log = Path(folder, "body"), Path(folder, "log")
        sent.write_bytes(body)
        load = f"-t1 -c{H2_CONNECTIONS} -m1 -D{SECONDS} --warm-up-time=1 -d {sent} --log-file={log}"
        said = subprocess.run(["h2load", *load.split(), *options, url], capture_output=True, text=True, check=True)
        # Without another word from it, those of the warm-up stand there, too.
        times = pl.read_csv(log, separator="\t", has_header=False, new_columns=["began", "status", "took"])
    rate = re.search(r"finished in [\d.]+\w+, ([\d.]+) req/s", said.stdout)
    p50, p99 = (float(times["took"].quantile(share) or 0) / 1e3 for share in (0.5, 0.99))
    figures: dict[str, Figure] = {"requests_s": float(rate[1]) if rate else 0.0, "p50_ms": p50, "p99_ms": p99}
    if failed := times.filter(pl.col("status") != 200).height:
        figures["failed"] = failed
    return Row(system, h2_case(rows), figures)


def h2_case(rows: int) -> str:
    """What `h2load` does."""
    return f"{H2_CONNECTIONS} connections by h2load, {amount(rows, 'row')}"
