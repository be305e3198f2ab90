"""Faults of a split: time mixed up, a model chosen on its own test, parts that hold nothing."""

import pytest

from tests.spec.rides import RIDES, faults_of, pipeline_of

WINES = """
import polars as pl

from raypipe import Pipeline, Search, Table, csv, models, request, shares

wines = Table("wines", csv("w.csv"), key="id", columns={int: "id", str: "grower", float: "acid sugar score"})
pipeline = Pipeline(
    "wines",
    ask=wines.rows(),
    inputs=[request("acid", "sugar", "grower").with_features(acid="acid", sugar="sugar", grower="grower")],
    label=wines.label(pl.col("score") > 6),
    split=shares(train=70, tune=20, holdout=10),
    search=Search([models.Linear()]),
)
"""


def planted(text, old, new):
    assert old in text
    return text.replace(old, new).replace("periods, request", "periods, request, shares")


@pytest.mark.parametrize(
    ("text", "old", "new", "told"),
    [
        (
            RIDES,
            'periods(train="2013-01..2013-02", tune="2013-03", holdout="2013-04")',
            "shares()",
            "a random split of rows with a time",
        ),
        (RIDES, 'tune="2013-03"', 'tune="2013-03..2013-04"', "a model would be chosen on rows of its own test"),
        (RIDES, 'holdout="2013-04"', 'holdout="2013-04", apart="drivr"', "has no column `drivr`"),
        (RIDES, 'holdout="2013-04"', 'holdout="2013-04", walk_forward=0', "goes nowhere"),
        (RIDES, 'holdout="2013-04"', 'holdout="2013-04", walk_forward=40', "shorter than labels take to settle"),
        (WINES, "holdout=10", "holdout=0", "no rows are kept for `holdout`: a model would be chosen on its own test"),
        (WINES, "holdout=10", "holdout=20", "add up to 110"),
        (WINES, "holdout=10", 'holdout=10, together="growr"', "has no column `growr`"),
        (WINES, '"grower").with', '"grower", "score").with', "the label reads only columns that the caller sends"),
        (
            WINES,
            "split=shares(train=70, tune=20, holdout=10)",
            "split=__import__('raypipe').periods(train='2013-01', tune='2013-02', holdout='2013-03')",
            "its rows have no time to be split by",
        ),
    ],
)
def test_each_fault_is_told(tmp_path, text, old, new, told):
    faults = faults_of(tmp_path, planted(text, old, new))
    assert any(told in fault.what for fault in faults), faults
    assert all(fault.where.startswith("pipeline.py:") for fault in faults)


def test_what_is_right_has_no_fault(tmp_path):
    assert faults_of(tmp_path, WINES) == ()
    forward = planted(RIDES, 'holdout="2013-04"', 'holdout="2013-04", walk_forward=3, apart="driver"')
    assert faults_of(tmp_path, forward) == ()


def test_a_split_survives_being_stored(tmp_path):
    from raypipe.spec import from_json, to_json

    wines = pipeline_of(tmp_path, WINES)
    assert from_json(to_json(wines), type(wines)) == wines
