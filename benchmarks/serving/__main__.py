"""`make bench-serving`: the flights winner behind HTTP, gRPC and in process, beside bare and packaged servers.

It needs a workspace in which `raypipe run examples/flights/pipeline.py` has been run, its service up, the setting
`grpc_port`, and the programs `wrk` and `h2load` (of nghttp2). raypipe does all of its work: strict reading, 26 features
from the store, the prediction log. Each peer serves the same ONNX file alone: its callers send the 26 numbers, nothing
is looked up and nothing is written. Load generator and server share the machine. Peers with pins of their own get
environments below `.raypipe-bench/`.

`RAYPIPE_BENCH_PARTS=raypipe,fastapi` runs some parts and keeps what earlier runs have found of the others. A peer that
does not answer has a row that says why, and the exit code is 1.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from benchmarks.report import QUICK, Row, versions, write
from benchmarks.serving import ours, peers
from benchmarks.serving.aims import SILENT, aims
from benchmarks.serving.asked import Asked
from benchmarks.serving.server import PeerError

PARTS: dict[str, Callable[[Asked], Iterator[Row]]] = {
    "raypipe": ours.service,
    "embedded": ours.in_process,
    "grpc": ours.grpc,
    "rate": ours.rate,
    "batch": ours.batch,
    "fastapi": peers.fastapi,
    "ray": peers.ray,
    "ray-fast": partial(peers.ray, fast=True),
    "mlflow": peers.mlflow,
    "bentoml": peers.bentoml,
    "mlserver": peers.mlserver,
}
KEPT = Path(".raypipe-bench") / ("serving.quick.json" if QUICK else "serving.json")


def main() -> int:
    """The parts that are wanted, and the report on all that is known."""
    asked = Asked.in_workspace()
    KEPT.parent.mkdir(exist_ok=True)
    kept = msgspec.json.decode(KEPT.read_bytes(), type=dict[str, list[Row]]) if KEPT.is_file() else {}
    wanted = os.environ.get("RAYPIPE_BENCH_PARTS", ",".join(PARTS)).split(",")
    for part in wanted:
        kept[part] = []
        for row in _told(PARTS[part](asked)):
            print(row.system, "|", row.case, "|", row.figures, flush=True)
            kept[part].append(row)
        KEPT.write_bytes(msgspec.json.encode(kept))
    rows = [row for part in PARTS for row in kept.get(part, [])]
    write("serving", rows, aims(rows), versions("ray", "onnxruntime", "mlflow", "fastapi", "uvicorn"), _notes(kept))
    return int(any(row.case == SILENT for part in wanted for row in kept[part]))


def _told(rows: Iterator[Row]) -> Iterator[Row]:
    """The rows of one part; of a peer that does not answer the reason, for the others are measured all the same."""
    try:
        yield from rows
    except PeerError as error:
        print(error, file=sys.stderr, flush=True)
        yield Row(error.system, SILENT, {"failed": error.why})


def _notes(kept: Mapping[str, Sequence[Row]]) -> str:
    missing = ", ".join(part for part in PARTS if not kept.get(part))
    load = "Load average after: " + ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return load + (f". Not measured: {missing}." if missing else "")


if __name__ == "__main__":
    sys.exit(main())
