"""The small example is sound, and its file holds what its definition declares."""

import polars as pl

from examples.orders.data import orders
from raypipe.spec import lint, load
from tests.architecture.source import ROOT

PIPELINE = load(ROOT / "examples/orders/pipeline.py")


def test_it_has_no_faults() -> None:
    lint(PIPELINE)


def test_its_file_has_the_declared_columns_and_passes_its_gate() -> None:
    [stream] = PIPELINE.streams
    rows = orders()
    assert set(rows.columns) == set(stream.columns)
    assert rows["amount"].is_between(0, 5_000).all()
    assert set(rows["shop"]) == {"north", "south", "east"}
    assert rows.null_count().row(0) == (0,) * rows.width
    assert rows["order_id"].is_unique().all()


def test_there_is_something_to_learn() -> None:
    shares = orders().group_by("kind").agg(pl.col("returned").mean()).sort("kind")["returned"]
    assert shares[1] - shares[0] > 0.15
