"""What a good engineer writes by hand for the same features; run as a script, in an environment without raypipe.

``python peers.py SYSTEM windows|as-of FOLDER OUT`` reads the folder, works out the features of every question in the
order of the questions, writes the first of them to OUT, and prints what it took.
"""

import json
import sys
from datetime import timedelta
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

LENGTHS = {"1h": timedelta(hours=1), "1d": timedelta(days=1), "30d": timedelta(days=30)}
OPS = ("count", "sum", "mean", "min", "max")
SAMPLE = 3_000


def polars_windows(folder: Path) -> Any:
    """Questions between the events, then Polars' own rolling kernels over each key."""
    import polars as pl

    events = pl.scan_parquet(folder / "events.parquet").select("key", "at", "amount", row=pl.lit(None, pl.Int64))
    asked = pl.scan_parquet(folder / "questions.parquet").select("key", "at", pl.lit(None, pl.Float64), "row")
    asked = asked.rename({"literal": "amount"})
    stacked = pl.concat([events, asked]).sort("key", "at")
    made, means = [], []
    for name, length in LENGTHS.items():
        # A mean that rolls by itself costs a pass more.
        means.append((pl.col(f"sum_{name}") / pl.col(f"count_{name}")).alias(f"mean_{name}"))
        for op in (one for one in OPS if one != "mean"):
            value = pl.col("amount") if op != "count" else pl.col("amount").is_not_null().cast(pl.Float64)
            rolling = getattr(value, f"rolling_{'sum' if op == 'count' else op}_by")
            column = rolling("at", window_size=length, min_samples=0 if op == "count" else 1, closed="left").over("key")
            made.append(column.fill_null(0).cast(pl.Int64) if op == "count" else column)
            made[-1] = made[-1].alias(f"{op}_{name}")
    asked_about = stacked.with_columns(made).filter(pl.col("row").is_not_null()).with_columns(means)
    return asked_about.sort("row").collect()


def polars_as_of(folder: Path) -> Any:
    """One as-of join a view."""
    import polars as pl

    found = pl.scan_parquet(folder / "questions.parquet").sort("at")
    for path in sorted(folder.glob("view*.parquet")):
        view = pl.scan_parquet(path).drop("id").sort("at")
        found = found.join_asof(view, on="at", by="key", check_sortedness=False)
    return found.sort("row").collect()


def duckdb_windows(folder: Path) -> Any:
    """RANGE frames over the stacked union; a frame takes in its own time, so it ends a microsecond before."""
    import duckdb

    frames = ", ".join(
        f'w_{name} AS (PARTITION BY key ORDER BY "at" RANGE BETWEEN INTERVAL'
        f" {int(length.total_seconds())} SECOND PRECEDING AND INTERVAL 1 MICROSECOND PRECEDING)"
        for name, length in LENGTHS.items()
    )
    made = ", ".join(
        f"{'avg' if op == 'mean' else op}(amount) OVER w_{name} AS {op}_{name}" for name in LENGTHS for op in OPS
    )
    found: Any = duckdb.sql(
        f"""WITH stacked AS (SELECT key, "at", amount, NULL::BIGINT AS "row" FROM '{folder}/events.parquet'
        UNION ALL SELECT key, "at", NULL, "row" FROM '{folder}/questions.parquet')
        SELECT * FROM (SELECT "row", {made} FROM stacked WINDOW {frames}) WHERE "row" IS NOT NULL ORDER BY 1"""
    )
    return found.arrow()


def duckdb_as_of(folder: Path) -> Any:
    """One ASOF join a view."""
    import duckdb

    views = sorted(folder.glob("view*.parquet"))
    joins = " ".join(
        f'ASOF LEFT JOIN \'{path}\' AS v{i} ON q.key = v{i}.key AND q."at" >= v{i}."at"' for i, path in enumerate(views)
    )
    chosen = ", ".join(f'v{i}.* EXCLUDE (id, key, "at")' for i in range(len(views)))
    found: Any = duckdb.sql(f"SELECT q.\"row\", {chosen} FROM '{folder}/questions.parquet' q {joins} ORDER BY 1")
    return found.arrow()


def pandas_windows(folder: Path) -> Any:
    """Grouped by key and rolling over the stacked frame."""
    import pandas as pd

    events = pd.read_parquet(folder / "events.parquet", columns=["key", "at", "amount"])
    stacked = pd.concat([events, pd.read_parquet(folder / "questions.parquet")], ignore_index=True)
    stacked = stacked.sort_values(["key", "at"], kind="stable").set_index("at")
    asked = stacked["row"].notna().to_numpy()
    made = {"row": stacked["row"].to_numpy()[asked].astype("int64")}
    for name, length in LENGTHS.items():
        rolled = stacked.groupby("key")["amount"].rolling(length, closed="left", min_periods=1)
        for op in OPS:
            values = getattr(rolled, op)().to_numpy()[asked]
            made[f"{op}_{name}"] = values if op != "count" else pd.Series(values).fillna(0).astype("int64").to_numpy()
    return pd.DataFrame(made).sort_values("row")


def pandas_as_of(folder: Path) -> Any:
    """merge_asof, which wants everything in the order of time."""
    import pandas as pd

    found = pd.read_parquet(folder / "questions.parquet").sort_values("at")
    for path in sorted(folder.glob("view*.parquet")):
        view = pd.read_parquet(path).drop(columns="id").sort_values("at")
        found = pd.merge_asof(found, view, on="at", by="key")
    return found.sort_values("row")


def feast_as_of(folder: Path) -> Any:
    """Feast's own point-in-time join of views that hold the values already; it makes no windows."""
    import pandas as pd
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType  # type: ignore[import-not-found]
    from feast.types import Float64  # type: ignore[import-not-found]

    config = {"path": str(folder / "registry.db"), "cache_ttl_seconds": 0}
    store = FeatureStore(
        config=RepoConfig(project="bench", provider="local", registry=config, entity_key_serialization_version=3)
    )
    asked = pd.read_parquet(folder / "questions.parquet").rename(columns={"at": "event_timestamp"})
    text = str(asked["key"].dtype) in ("object", "str", "string")
    kind = ValueType.STRING if text else ValueType.INT64
    entity = Entity(name="key", join_keys=["key"], value_type=kind)
    names = []
    views = []
    for path in sorted(folder.glob("view*.parquet")):
        columns = [name for name in pd.read_parquet(path).columns if name not in ("id", "key", "at")]
        source = FileSource(name=f"{path.stem}_source", path=str(path), timestamp_field="at")
        fields = [Field(name=name, dtype=Float64) for name in columns]
        views.append(FeatureView(name=path.stem, entities=[entity], schema=fields, source=source, ttl=timedelta(0)))
        names += [f"{path.stem}:{name}" for name in columns]
    store.apply([entity, *views])
    began, cpu = perf_counter(), process_time()
    frame = store.get_historical_features(entity_df=asked, features=names).to_df()
    return frame.drop(columns="event_timestamp").sort_values("row"), perf_counter() - began, process_time() - cpu


def main() -> None:
    """Run one system on one folder."""
    system, work, folder, out = sys.argv[1:]
    makers = {
        ("polars", "windows"): polars_windows, ("polars", "as-of"): polars_as_of,
        ("duckdb", "windows"): duckdb_windows, ("duckdb", "as-of"): duckdb_as_of,
        ("pandas", "windows"): pandas_windows, ("pandas", "as-of"): pandas_as_of,
        ("feast", "as-of"): feast_as_of,
    }  # fmt: skip
    __import__(system)
    began, cpu = perf_counter(), process_time()
    found = makers[system, work](Path(folder))
    seconds, cpu = perf_counter() - began, process_time() - cpu
    if isinstance(found, tuple):
        found, seconds, cpu = found
    rows = _kept(found, Path(out))
    print(json.dumps({"seconds": seconds, "cpu_s": cpu, "rss_mb": peak_mb(), "rows": rows}))


def peak_mb() -> float:
    """The most memory that this process ever had; what getrusage says begins at the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _kept(found: Any, out: Path) -> int:
    """Write the first answers, whatever kind of frame they are in."""
    if hasattr(found, "read_all"):
        found = found.read_all()
    rows = len(found) if not hasattr(found, "num_rows") else found.num_rows
    if hasattr(found, "write_parquet"):
        found.head(SAMPLE).write_parquet(out)
    elif hasattr(found, "to_parquet"):
        found.head(SAMPLE).to_parquet(out, index=False)
    else:
        import pyarrow.parquet as pq

        pq.write_table(found.slice(0, SAMPLE), out)
    return rows


if __name__ == "__main__":
    main()
