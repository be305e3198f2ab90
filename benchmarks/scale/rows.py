"""A stream of so many rows taken in, judged and made a training set: ``python -m benchmarks.scale.rows FOLDER ROWS``.

The same three months, the same thousand rides a driver: ten times the rows are ten times the drivers. One process a
size, so that its peak of memory is its own.
"""

import json
import resource
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from benchmarks.memory import take_memory
from benchmarks.report import QUICK, Row
from benchmarks.scale.command import timed
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import GateReport, Ingested, TrainingSet
from raypipe.flows.gate import gate
from raypipe.flows.ingest import ingest
from raypipe.flows.run import as_of
from raypipe.flows.train import build
from raypipe.settings import load_settings
from raypipe.spec import Pipeline, Search, Stream, agg, checks, days, hours, models, parquet, periods, request
from raypipe.wiring import connect

SIZES = (2_000, 20_000) if QUICK else (20_000, 200_000, 2_000_000)
HOME = Path(__file__).parents[2]
BEGAN, ENDED = (datetime(2024, month, 1, tzinfo=UTC) for month in (1, 4))
RIDES_A_DRIVER, FILE_ROWS = 1_000, 500_000
#: Every so many rows has a fare that the gate sets aside.
BAD = 1_000


def write(folder: Path, rows: int) -> pl.DataFrame:
    """The stream as Parquet files, in the order of time; gives the times and fares of all rows."""
    dice, span = np.random.default_rng(7), int((ENDED - BEGAN).total_seconds() * 1e6)
    ids = np.arange(rows)
    frame = pl.DataFrame(
        {
            "id": ids,
            "driver": pl.Series(dice.integers(0, max(1, rows // RIDES_A_DRIVER), rows)).cast(pl.String),
            "at": pl.Series(int(BEGAN.timestamp() * 1e6) + ids * (span // rows)).cast(pl.Datetime("us", "UTC")),
            "minutes": dice.gamma(3.0, 5.0, rows).round(1),
            "fare": np.where(ids % BAD == 0, -1.0, dice.gamma(4.0, 4.0, rows).round(2)),
        }
    )
    folder.mkdir()
    for place, start in enumerate(range(0, rows, FILE_ROWS)):
        frame.slice(start, FILE_ROWS).write_parquet(folder / f"{place:03}.parquet")
    return frame.select("at", "fare")


def pipeline_of(folder: Path) -> Pipeline:
    """Five checks; windows over an hour, a day and a month of a driver."""
    rides = Stream(
        "rides",
        parquet(str(folder)),
        id=["id"],
        time="at",
        columns={int: "id", str: "driver", float: "minutes fare", datetime: "at"},
        gate=[
            checks.not_null("driver"),
            checks.between("minutes", 0, 10_000),
            checks.between("fare", 0, 500).quarantine(),
            checks.cardinality("driver", 1, 100_000),
            checks.fresh(within=days(1)),
        ],
    )
    past = rides.by("driver").features(
        rides_1h=agg.count(hours(1)),
        fare_1d=agg.mean("fare", days(1)),
        minutes_30d=agg.max("minutes", days(30)),
    )
    return Pipeline(
        "rides",
        ask=rides.before("at"),
        inputs=[request("driver", "at"), past],
        label=rides.label(pl.col("fare") > 16, settled_after=hours(1)),
        split=periods(train="2024-01", tune="2024-02", holdout="2024-03"),
        search=Search([models.Linear()]),
        as_of="2024-04-01",
    )


def worker(folder: Path, rows: int) -> dict[str, float]:
    """Each stage as a run does it, in this process; its seconds, and what is kept."""
    sent = write(folder / "sent", rows)
    pipeline = pipeline_of(folder / "sent")
    platform = replace(connect(load_settings(workspace=folder / "ws")), tracking_uri="")  # nobody mirrors it
    moment, quiet, base = as_of(pipeline, None, 0), Silent(), _peak()
    taken, ingest_s = timed(lambda: ingest(platform, quiet, pipeline=pipeline))
    report, gate_s = timed(
        lambda: gate(platform, quiet, pipeline=pipeline, snapshots=taken.snapshots, as_of=moment, quiet=True)
    )
    made, features_s = timed(
        lambda: build(platform, quiet, pipeline=pipeline, snapshots=report.snapshots, as_of=moment)
    )
    peak = _peak()
    require(sent, taken, report, made)
    kept = {path: path.stat().st_size for path in (folder / "ws" / "lake").rglob("*") if path.is_file()}
    data = sum(size for path, size in kept.items() if path.suffix == ".parquet")
    return {
        "ingest_s": ingest_s,
        "gate_s": gate_s,
        "features_s": features_s,
        "peak_mb": peak,
        "above_start_mb": peak - base,
        "data_mb": data / 2**20,
        "metadata_kb": (sum(kept.values()) - data) / 2**10,
    }


def require(sent: pl.DataFrame, taken: Ingested, report: GateReport, rows: TrainingSet) -> None:
    """Every row that was sent came in, the bad ones were set aside, the others asked about in their month."""
    bad = -(-sent.height // BAD)
    assert taken.snapshots[0].rows == sent.height, taken
    assert (report.passed, report.quarantined) == (True, bad), report
    good = sent.filter(pl.col("fare") >= 0).with_columns(month=pl.col("at").dt.month())
    # What was asked in the last hour of a month was not settled when the next began.
    late = pl.col("at") >= pl.col("at").dt.month_end().dt.truncate("1d").dt.offset_by("23h")
    months = dict(good.filter(~late).group_by("month").len().iter_rows())
    for month, period in enumerate(("train", "tune", "holdout"), 1):
        assert rows.rows[period] == months[month], (rows.rows, months)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure() -> list[Row]:
    """A row for each size."""
    found = []
    for rows in SIZES:
        with TemporaryDirectory(prefix="raypipe-scale-") as folder:
            take_memory(4_096)
            command = [sys.executable, "-m", "benchmarks.scale.rows", folder, str(rows)]
            said = subprocess.run(command, cwd=HOME, stdout=subprocess.PIPE, text=True, check=True).stdout
        found.append(Row("raypipe", f"{rows:,} rows", json.loads(said.splitlines()[-1])))
    return found


if __name__ == "__main__":
    print(json.dumps(worker(Path(sys.argv[1]), int(sys.argv[2]))))
