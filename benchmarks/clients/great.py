# mypy: ignore-errors
# It runs in an environment that has none of our types.
"""Great Expectations on the visits of `make bench-gates`, in an environment of its own.

Arguments: a folder, and how often to repeat. For each ``FOLDER/*.parquet`` but the reference it prints a line of JSON:
the file's stem, seconds from the file and in memory, and how many rows fail by check (0: it judges the whole).
"""

import json
import os
import sys
import time
import warnings
from pathlib import Path

os.environ["GX_ANALYTICS_ENABLED"] = "false"
warnings.filterwarnings("ignore")

import great_expectations as gx  # noqa: E402  # it reads the environment
import great_expectations.expectations as gxe  # noqa: E402
import pandas as pd  # noqa: E402

KINDS = {"id": "int64", "store": "int64", "units": "int64", "stock": "int64"}
KINDS |= dict.fromkeys(("price", "tax", "total", "weight", "lat", "lon", "score"), "float64")
AS_OF = pd.Timestamp("2025-01-01", tz="UTC")


def expectations(before, stores):
    """Each check under its name."""
    shares = before["town"].value_counts(normalize=True)
    edges = [float(v) for v in before["score"].quantile([i / 20 for i in range(21)])]
    edges[0], edges[-1] = edges[0] - 100, edges[-1] + 100
    rows = len(before)
    yield "schema", gxe.ExpectTableColumnsToMatchSet(column_set=[*before.columns], exact_match=True)
    for name, kind in KINDS.items():
        yield "schema", gxe.ExpectColumnValuesToBeOfType(column=name, type_=kind)
    for name in ("id", "store", "sku", "town"):
        yield f"not null {name}", gxe.ExpectColumnValuesToNotBeNull(column=name)
    yield "null share of email", gxe.ExpectColumnValuesToNotBeNull(column="email", mostly=0.9)
    for name, low, high in (
        ("price", 0, 1000),
        ("units", 1, 100),
        ("tax", 0, 500),
        ("lat", -90, 90),
        ("lon", -180, 180),
    ):
        yield name, gxe.ExpectColumnValuesToBeBetween(column=name, min_value=low, max_value=high)
    yield "channel", gxe.ExpectColumnValuesToBeInSet(column="channel", value_set=["web", "shop", "phone"])
    yield "status", gxe.ExpectColumnValuesToBeInSet(column="status", value_set=["new", "paid", "sent", "back"])
    yield "sku", gxe.ExpectColumnValuesToMatchRegex(column="sku", regex=r"^[A-Z]{3}-[0-9]{4}$")
    yield "email", gxe.ExpectColumnValuesToMatchRegex(column="email", regex=r"^[a-z0-9.]+@[a-z]+\.[a-z]{2,3}$")
    yield "unique id", gxe.ExpectColumnValuesToBeUnique(column="id")
    yield (
        "median price",
        gxe.ExpectColumnQuantileValuesToBeBetween(
            column="price", quantile_ranges={"quantiles": [0.5], "value_ranges": [[20, 60]]}
        ),
    )
    yield "towns", gxe.ExpectColumnUniqueValueCountToBeBetween(column="town", min_value=10, max_value=50)
    yield "like before", gxe.ExpectTableRowCountToBeBetween(min_value=int(0.9 * rows), max_value=int(1.1 * rows))
    newest = AS_OF - pd.Timedelta(hours=6)
    yield "fresh", gxe.ExpectColumnMaxToBeBetween(column="known_at", min_value=newest)
    yield "lag", gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="deadline", column_B="known_at", or_equal=True)
    yield "store", gxe.ExpectColumnValuesToBeInSet(column="store", value_set=stores)
    yield "total", gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="total", column_B="price", or_equal=True)
    # Bins without a value are given some weight; it refuses that for words.
    for name, partition, inside in (
        ("score", {"bins": edges, "weights": [1 / 20] * 20}, 1e-6),
        ("town", {"values": list(shares.index), "weights": list(shares)}, 0),
    ):
        yield (
            f"drift of {name}",
            gxe.ExpectColumnKLDivergenceToBeLessThan(
                column=name,
                partition_object=partition,
                threshold=0.1,
                tail_weight_holdout=1e-6,
                internal_weight_holdout=inside,
            ),
        )


def read(path):
    """A frame with the column by which GE, which cannot subtract, tells a lag."""
    frame = pd.read_parquet(path)
    return frame.assign(deadline=frame["event_time"] + pd.Timedelta(hours=2))


def main(folder, repeats):
    """Judge every file."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = gx.data_context.types.base.ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("visits").add_dataframe_asset("visits")
    definition = asset.add_batch_definition_whole_dataframe("all")
    stores = [int(store) for store in pd.read_parquet(folder / "stores.parquet")["store"]]
    suite = gx.ExpectationSuite(name="gate")
    for name, expectation in expectations(read(folder / "before.parquet"), stores):
        expectation.meta = {"name": name}
        suite.add_expectation(expectation)
    for path in sorted(folder.glob("*.parquet")):
        if path.stem in ("before", "stores"):
            continue
        whole, memory, failed = [], [], {}
        for _ in range(repeats):
            began = time.perf_counter()
            frame = read(path)
            loaded = time.perf_counter()
            result = definition.get_batch(batch_parameters={"dataframe": frame}).validate(suite)
            done = time.perf_counter()
            whole.append(done - began)
            memory.append(done - loaded)
        for one in result.results:
            if not one.success:
                name = one.expectation_config.meta["name"]
                failed[name] = max(failed.get(name, 0), int(one.result.get("unexpected_count") or 0))
        print(json.dumps([path.stem, min(whole), min(memory), failed]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
