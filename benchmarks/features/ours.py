"""raypipe's own run, in a process of its own like every peer's.

``python -m benchmarks.features.ours raypipe|ray-data windows|as-of FOLDER OUT`` does what ``peers.py`` does, and
``ray-data`` the same in the way of histories beyond one machine: on a Ray cluster of two cores, which is up before.
"""

import json
import logging
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from tempfile import mkdtemp
from threading import Event, Thread
from time import perf_counter, process_time
from typing import TYPE_CHECKING

import polars as pl
import psutil
import pyarrow.parquet as pq

from benchmarks.features.peers import LENGTHS, OPS, SAMPLE, peak_mb
from raypipe.contracts.records import Snapshot
from raypipe.features.plan import plan
from raypipe.features.reading import Tables
from raypipe.features.training_set import group_features
from raypipe.spec import FeatureGroup, Pipeline, Search, Stream, agg, models, parquet, periods, request, seconds
from raypipe.spec.agg import Aggregate

if TYPE_CHECKING:
    from ray.data import Dataset

EXACT = seconds(0)
CORES = 2
#: Later than every event.
END = 2_000_000_000_000_000


def groups(work: str, folder: Path) -> list[FeatureGroup]:
    """The features of a case: one group a file."""
    made = []
    for path in sorted(folder.glob("events.parquet" if work == "windows" else "view*.parquet")):
        shipped = pq.read_schema(path)
        published = "published" if "published" in shipped.names else None
        values = [name for name in shipped.names if name not in ("id", "key", "at", "published")]
        keys = {str: "key", int: "id"} if str(shipped.field("key").type) == "string" else {int: "id key"}
        columns = keys | {float: " ".join(values), datetime: "at published" if published else "at"}
        stream = Stream(path.stem, parquet(str(path)), id=["id"], time="at", columns=columns, published=published)
        made.append(stream.by("key").features(**(_windows() if work == "windows" else _latest(values))))
    return made


def pipeline(made: Sequence[FeatureGroup]) -> Pipeline:
    """A pipeline that asks for nothing else."""
    stream = made[0].moment.stream
    asks = Stream("asks", parquet("asks"), id=["key"], time="at", columns={bool: "truth", str: "key", datetime: "at"})
    return Pipeline(
        stream.name,
        ask=asks.before("at"),
        inputs=[request("key", "at"), *made],
        label=asks.label(pl.col("truth"), settled_after=seconds(1)),
        split=periods(train="2023-11", tune="2023-12", holdout="2024-01"),
        search=Search([models.Linear()], trials=1),
    )


def features(made: Sequence[FeatureGroup], folder: Path, *, spread: bool) -> pl.DataFrame:
    """All features of all questions, in the order of the questions; in this process, or through Ray Data."""
    files = {group.moment.stream.name: folder / f"{group.moment.stream.name}.parquet" for group in made}
    rows = {name: pq.read_metadata(path).num_rows for name, path in files.items()}
    tables = Tables(pipeline(made), _snapshots(rows | {"asks": 0}), lambda one: pl.scan_parquet(files[one.table]))
    if spread:
        tables.scan, tables.spread_rows = lambda one, columns: _dataset(files[one.table], columns), 0
    asked = pl.read_parquet(folder / "questions.parquet").rename({"at": "asked_at"})
    columns = [column for group in made for column in group_features(plan(group), tables, asked, END)]
    return pl.DataFrame([asked["row"], *columns])


def _snapshots(rows: Mapping[str, int]) -> dict[str, Snapshot]:
    return {
        name: Snapshot(table=name, snapshot_id=1, definition="", rows=many, added=many, repeated=0, files=())
        for name, many in rows.items()
    }


def _windows() -> dict[str, Aggregate]:
    made: dict[str, Aggregate] = {}
    for name, length in LENGTHS.items():
        made[f"count_{name}"] = agg.count(length, tail=EXACT)
        for op in OPS[1:]:
            made[f"{op}_{name}"] = getattr(agg, op)("amount", length, tail=EXACT)
    return made


def _latest(values: Sequence[str]) -> dict[str, Aggregate]:
    return {name: agg.last(name) for name in values}


def _dataset(path: Path, columns: Sequence[str]) -> "Dataset":
    import ray.data

    return ray.data.read_parquet(str(path)).select_columns(list(columns))


@contextmanager
def cluster() -> Iterator[None]:
    """A Ray cluster of this process, whose workers are up."""
    import ray
    import ray.data

    folder = mkdtemp(prefix="rp-", dir="/tmp")  # sockets lie there: their paths must be short
    ray.init(
        address="local", num_cpus=CORES, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING,
        object_store_memory=4 * 2**30, _temp_dir=folder,
    )  # fmt: skip
    try:
        ray.data.range(CORES, override_num_blocks=CORES).materialize()
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


class Together:
    """What this process and all below it take, looked at while they work."""

    def __init__(self) -> None:
        self.peak_mb, self._over = 0.0, Event()
        self._thread = Thread(target=self._watch, daemon=True)
        self._before = self._look()[1]
        self._thread.start()

    def end(self) -> float:
        """Stop looking; seconds of CPU since the beginning."""
        self._over.set()
        self._thread.join()
        return self._look()[1] - self._before

    def _watch(self) -> None:
        while not self._over.wait(0.25):
            self.peak_mb = max(self.peak_mb, self._look()[0])

    def _look(self) -> tuple[float, float]:
        """Private memory in MB, and seconds of CPU."""
        me, size, cpu = psutil.Process(), 0, 0.0
        for one in (me, *me.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                cpu += times.user + times.system
                size += one.memory_full_info().uss
        return size / 2**20, cpu


def main() -> None:
    """Work out one case and print what it took."""
    way, work, folder, out = sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
    made = groups(work, folder)
    # What a definition costs is paid once, when its file is read.
    for group in made:
        plan(group)
    with cluster() if way == "ray-data" else nullcontext():
        all_ = Together() if way == "ray-data" else None
        began, cpu = perf_counter(), process_time()
        found = features(made, folder, spread=way == "ray-data")
        took, cpu = perf_counter() - began, process_time() - cpu if all_ is None else all_.end()
    found.head(SAMPLE).write_parquet(out)
    size = peak_mb() if all_ is None else all_.peak_mb
    print(json.dumps({"seconds": took, "cpu_s": cpu, "rss_mb": size, "rows": found.height}))


if __name__ == "__main__":
    main()
