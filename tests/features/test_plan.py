"""A group is compiled once, however it is asked for and however wide its stream is."""

from datetime import datetime

import polars as pl
import pytest

from raypipe.features.plan import plan
from raypipe.spec import Stream, agg, csv, days, seconds

NAMES = [f"v{i}" for i in range(40)]


def wide():
    columns = {int: "id key", datetime: "at", float: " ".join(NAMES)}
    stream = Stream("wide", csv("wide.csv"), id=["id"], time="at", columns=columns)
    made = {f"last_{name}": agg.last(name) for name in NAMES}
    made |= {"twice": agg.sum(pl.col("v0") * 2, days(1)), "kind": agg.first(pl.col("key").cast(str), days(1))}
    return stream.by("key").features(**made, many=agg.count(seconds(60)))


def test_polars_is_asked_in_one_go_what_the_values_of_a_group_are(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, ask = [], pl.LazyFrame.collect_schema
    monkeypatch.setattr(pl.LazyFrame, "collect_schema", lambda frame: asked.append(1) or ask(frame))
    group = wide()
    made = plan(group)
    assert len(asked) <= 2  # the other time, what the columns of the stream are
    assert plan(group, punctual=False) is made
    assert plan(wide()) is made
    assert plan(group, punctual=True) is not made
    kinds = {feature.name: feature.dtype for feature in made.features}
    assert (kinds["last_v3"], kinds["twice"], kinds["kind"], kinds["many"]) == (
        pl.Float64(), pl.Float64(), pl.String(), pl.Int64()
    )  # fmt: skip
