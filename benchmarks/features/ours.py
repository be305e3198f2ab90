"""raypipe's own run, in a process of its own like every peer's.

``python -m benchmarks.features.ours windows|as-of FOLDER OUT`` does what ``peers.py`` does.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from time import perf_counter

import polars as pl
import pyarrow.parquet as pq

from benchmarks.features.peers import LENGTHS, OPS, SAMPLE, peak_mb
from raypipe.contracts.records import Snapshot
from raypipe.features.plan import plan
from raypipe.features.reading import Tables
from raypipe.features.training_set import group_features
from raypipe.spec import FeatureGroup, Pipeline, Search, Stream, agg, models, parquet, periods, request, seconds
from raypipe.spec.agg import Aggregate

EXACT = seconds(0)
#: Later than every event.
END = 2_000_000_000_000_000


def groups(work: str, folder: Path) -> list[FeatureGroup]:
    """The features of a case: one group a file."""
    made = []
    for path in sorted(folder.glob("events.parquet" if work == "windows" else "view*.parquet")):
        shipped = pq.read_schema(path)
        values = [name for name in shipped.names if name not in ("id", "key", "at")]
        keys = {str: "key", int: "id"} if str(shipped.field("key").type) == "string" else {int: "id key"}
        columns = keys | {float: " ".join(values), datetime: "at"}
        stream = Stream(path.stem, parquet(str(path)), id=["id"], time="at", columns=columns)
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


def features(made: Sequence[FeatureGroup], folder: Path) -> pl.DataFrame:
    """All features of all questions, in the order of the questions."""
    files = {group.moment.stream.name: folder / f"{group.moment.stream.name}.parquet" for group in made}
    rows = {name: pq.read_metadata(path).num_rows for name, path in files.items()}
    tables = Tables(pipeline(made), _snapshots(rows | {"asks": 0}), lambda one: pl.scan_parquet(files[one.table]))
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


def main() -> None:
    """Work out one case and print what it took."""
    work, folder, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    made = groups(work, folder)
    # What a definition costs is paid once, when its file is read.
    for group in made:
        plan(group)
    began = perf_counter()
    found = features(made, folder)
    took = perf_counter() - began
    found.head(SAMPLE).write_parquet(out)
    print(json.dumps({"seconds": took, "rss_mb": peak_mb(), "rows": found.height}))


if __name__ == "__main__":
    main()
