"""Runs each system on each case in a process of its own, checks the table that came of it, and reports.

The Kafka cluster is the mock of confluent-kafka's own client: real TCP on loopback, nothing on disk. It lives in this
process, so it is beside the process that is measured.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from pyiceberg.catalog.sql import SqlCatalog

from benchmarks.ingest import data
from benchmarks.report import QUICK, Aim, Figure, Row, versions, write

MESSAGES = 200_000 if QUICK else 1_000_000
SIZES = (250_000,) if QUICK else (1_000_000, 10_000_000)
SYSTEMS = ("raypipe", "by hand")
#: The better of so many runs counts: other work on the machine makes a run slower, never faster.
RUNS = 1 if QUICK else 2
ALIKE, FLAT = 0.8, 1.5
NOTES = """
`by hand` is a loop of confluent-kafka, pyarrow's JSON reader and pyiceberg's `append` in batches of 100,000 messages,
or a script of Polars and pyiceberg, one append a file: no offsets in the commit, no ids looked at, no strict types.
Rows and sums of every table are compared with what was sent. Kafka is librdkafka's mock on loopback, on the same cores.
"""


def main() -> None:
    """Every case in turn."""
    rows: list[Row] = []
    with TemporaryDirectory(prefix="raypipe-bench-") as folder:
        producer, address = data.cluster(MESSAGES)
        for cores in (1, 2):
            rows += [_best(system, "kafka", address, Path(folder), MESSAGES, cores) for system in SYSTEMS]
        del producer
        for size in SIZES:
            origin = Path(folder) / f"{size}"
            data.files(origin, size)
            for kind in ("csv", "parquet"):
                rows += [
                    _best(system, kind, str(origin), Path(folder), size, os.cpu_count() or 1) for system in SYSTEMS
                ]
            shutil.rmtree(origin)
    used = versions("polars", "pyarrow", "pyiceberg", "confluent-kafka")
    write("ingest", rows, _aims(rows), used, NOTES)


def _best(system: str, case: str, origin: str, folder: Path, size: int, cores: int) -> Row:
    found = min(
        (_run(system, case, origin, folder / "lake", size, cores) for _ in range(RUNS)), key=lambda f: f["seconds"]
    )
    figures = {"rows_per_s": size / found["seconds"], **found}
    named = f"{case}, {size // 1000:,}k rows, {cores} core{'s' * (cores > 1)}"
    print(system, named, figures, file=sys.stderr)
    return Row(system, named, figures)


def _run(system: str, case: str, origin: str, lake: Path, size: int, cores: int) -> dict[str, float]:
    shutil.rmtree(lake, ignore_errors=True)
    command = [sys.executable, "-m", "benchmarks.ingest.worker", system, case, origin, str(lake), str(size), str(cores)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{system}, {case}:\n{done.stderr}")
    _require_whole(lake, size)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _require_whole(lake: Path, size: int) -> None:
    """Every row that was sent is there once, asked of Iceberg itself."""
    catalog = SqlCatalog("raypipe", uri=f"sqlite:///{lake}/catalog.db", warehouse=str(lake / "warehouse"))
    paths = [task.file.file_path for task in catalog.load_table("lake.trips").scan().plan_files()]
    asked = [pl.len(), pl.col("id").n_unique().alias("ids"), pl.col("fare").sum()]
    found = pl.scan_parquet(paths).select(asked).collect(engine="streaming").row(0)
    fares = _fares(size)
    if found[:2] != (size, size) or abs(found[2] - fares) > 1e-6 * fares:
        raise RuntimeError(f"{found} is not {size} rows with {fares} in fares")


@cache
def _fares(size: int) -> float:
    return sum(float(block["fare"].sum()) for block in data.blocks(size))


def _aims(rows: list[Row]) -> list[Aim]:
    aims, found = [], {(row.system, row.case): row.figures for row in rows}
    for case in dict.fromkeys(case for _, case in found):
        ratio = _number(found["raypipe", case], "rows_per_s") / _number(found["by hand", case], "rows_per_s")
        least = 1.0 if case.startswith("kafka") and "2 cores" in case else ALIKE
        aims.append(Aim(case, ratio, f"at least {least} of a script by hand", ratio >= least))
    for kind in ("csv", "parquet"):
        peaks = [
            _number(figures, "peak_mb")
            for (system, case), figures in found.items()
            if system == "raypipe" and kind in case
        ]
        if len(peaks) > 1:
            ratio = peaks[-1] / peaks[0]
            aims.append(Aim(f"peak memory of {kind}, 10 times the rows", ratio, f"at most {FLAT} times", ratio <= FLAT))
    return aims


def _number(figures: Mapping[str, Figure], name: str) -> float:
    found = figures[name]
    assert isinstance(found, float | int)  # a figure by this name is a number
    return float(found)


if __name__ == "__main__":
    main()
