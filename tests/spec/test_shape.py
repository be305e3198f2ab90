"""What columns a source has, and when each is known."""

from datetime import datetime

import polars as pl
import pytest
from polars.exceptions import PolarsError

from raypipe.spec import Stream, Table, csv, hours
from raypipe.spec.shape import is_known_at, known_from, schema

ports = Table(
    "ports", csv("p.csv"), key="port", columns={str: "port zone"}, derive={"size": pl.col("zone").str.len_chars()}
)
trips = Stream(
    "trips",
    csv("t.csv"),
    id=["trip"],
    time="booked_at",
    columns={str: "trip port", float: "delay price", datetime: "booked_at left_at arrived_at"},
    derive={
        "zone": ports.lookup("zone", by="port"),
        "late": pl.col("delay") > 15,
        "late_and_dear": pl.col("late") & (pl.col("price") > 10),
        "lasted": pl.col("arrived_at") - pl.col("left_at"),
        "left_hour": pl.col("left_at").dt.hour(),
        "declared_late": pl.col("trip").str.len_chars(),
        "listed_early": pl.col("price") * 2,
        "weekday": pl.col("booked_at").dt.weekday(),
    },
    reveals={"left_at": ["delay", "listed_early"], "arrived_at": ["price", "declared_late"]},
)


def test_types_are_known_without_a_row() -> None:
    found = schema(trips)
    assert found["late"] == pl.Boolean
    assert found["zone"] == pl.String
    assert found["lasted"] == pl.Duration("us")
    assert list(found)[:3] == ["trip", "port", "delay"]


@pytest.mark.parametrize(
    ("column", "moment"),
    [
        ("trip", None),
        ("booked_at", None),
        ("zone", None),
        ("weekday", None),
        ("delay", "left_at"),
        ("late", "left_at"),
        ("left_at", "left_at"),  # when it left is not known before it has left
        ("left_hour", "left_at"),
        ("price", "arrived_at"),
        ("late_and_dear", "arrived_at"),
        ("arrived_at", "arrived_at"),
        ("lasted", "arrived_at"),
        ("declared_late", "arrived_at"),  # listed there, although what it reads is known before
        ("listed_early", "arrived_at"),  # listed earlier than what it reads: the later moment holds
    ],
)
def test_when_a_column_is_known(column: str, moment: str | None) -> None:
    assert known_from(trips)[column] == moment
    assert is_known_at(trips, column, "booked_at") == (moment is None)
    assert is_known_at(trips, column, "left_at") == (moment in (None, "left_at"))
    assert is_known_at(trips, column, "arrived_at")


def test_a_table_is_known_from_the_start() -> None:
    assert set(known_from(ports).values()) == {None}


def test_a_derivation_that_does_not_fit() -> None:
    broken = Stream("b", csv("b.csv"), id=["a"], time="t", columns={str: "a"}, derive={"x": pl.col("nothing")})
    with pytest.raises(PolarsError):
        schema(broken)


def test_the_same_source_from_two_places_is_one() -> None:
    again = Stream("s", csv("s.csv"), id=["a"], time="t", columns={str: "a"}, delay=hours(1))
    assert again == Stream("s", csv("s.csv"), id=["a"], time="t", columns={str: "a"}, delay=hours(1))
