"""Derived columns, and when a row happened and was known."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from raypipe.contracts.progress import Silent
from raypipe.errors import DefinitionError, SourceError
from raypipe.lake import Lake
from raypipe.lake.columns import given_back, stored, widened
from raypipe.lake.derive import derive
from raypipe.spec import Stream, Table, csv, minutes
from raypipe.spec.shape import in_lake
from tests.lake.sources import HEADER, START, line, towns, trips

AT = datetime(2024, 1, 1, tzinfo=UTC)


def test_a_row_is_known_when_the_last_of_its_moments_came() -> None:
    stream = Stream(
        "s",
        csv("s.csv"),
        id=["id"],
        time="a",
        columns={int: "id", datetime: "a b c"},
        reveals={"b": [], "c": []},
        delay=minutes(20),
    )
    hour = timedelta(hours=1)
    rows = pl.DataFrame(
        {
            "id": [1, 2, 3, 4, 5],
            "a": [AT, AT, AT, None, None],
            "b": [AT + hour, None, None, AT + hour, None],
            "c": [AT + 2 * hour, AT + 2 * hour, None, None, None],
        },
        schema=dict(list(in_lake(stream).items())[:4]),
    )
    got = derive(rows, stream, {})
    late = timedelta(minutes=20)
    assert got["event_time"].to_list() == [AT, AT, AT, None, None]
    assert got["known_at"].to_list() == [AT + 2 * hour + late, AT + 2 * hour + late, AT + late, AT + hour + late, None]
    assert dict(got.schema) == in_lake(stream)


def test_a_look_up_keeps_rows_and_their_order() -> None:
    places = Table("towns", csv("t.csv"), key="town", columns={str: "town zone"})
    stream = trips(Path("s.csv"), at=places)
    found = pl.DataFrame({"town": ["Bern", "Rome"], "zone": ["CET", None]})
    asked = ["Rome", "Bern", None, "Oslo", "Bern"]
    rows = pl.DataFrame(
        {"id": range(5), "town": asked, "started": [AT] * 5, "minutes": [1.0] * 5, "fare": [None] * 5},
        schema=dict(list(in_lake(stream).items())[:5]),
    )
    got = derive(rows, stream, {"towns": found})
    assert got["id"].to_list() == [0, 1, 2, 3, 4]
    assert got["zone"].to_list() == [None, "CET", None, None, "CET"]


def test_a_derivation_that_fails_names_line_column_and_value(lake: Lake, data: Path) -> None:
    texts = {str: "id day", float: "minutes fare", datetime: "started"}
    stream = trips(
        data / "a.csv",
        columns=texts,
        derive={"ended_at": pl.col("started"), "date": pl.col("day").str.to_date("%Y-%m-%d")},
    )
    good = [f"{i},2024-01-0{i % 9 + 1},1,1,2024-01-01T00:00:00Z\n" for i in range(3000)]
    (data / "a.csv").write_text(
        "id,day,minutes,fare,started\n" + "".join(good) + "x,3rd of May,1,1,2024-01-01T00:00:00Z\n" + "".join(good)
    )
    sentence = r"a\.csv:3002: `date` cannot be derived: .*3rd of May.*\. Change the file, or the derivation at sources"
    with pytest.raises(SourceError, match=sentence):
        lake.ingest(stream, Silent())


def test_a_stream_may_not_hide_the_lakes_own_columns(lake: Lake, data: Path) -> None:
    (data / "a.csv").write_text(HEADER)
    clash = trips(data / "a.csv", derive={"ended_at": pl.col("started"), "known_at": pl.col("started")})
    with pytest.raises(SourceError, match=r"stream `trips` has a column `known_at`\. Give the column another name"):
        lake.ingest(clash, Silent())


def test_a_type_that_no_table_can_hold_is_refused_before_anything_is_read(lake: Lake, data: Path) -> None:
    derive_ = {"ended_at": pl.col("started"), "took": pl.duration(minutes=pl.col("minutes"))}
    with pytest.raises(
        DefinitionError, match=r"`trips\.took` is Duration.*, which a table cannot hold\. Derive a number"
    ):
        lake.ingest(trips(data / "gone.csv", derive=derive_), Silent())


def test_narrow_types_come_back_as_they_were(lake: Lake, data: Path) -> None:
    derive_ = {
        "ended_at": pl.col("started"),
        "hour": pl.col("started").dt.hour(),
        "year": pl.col("started").dt.year(),
        "length": pl.col("town").str.len_chars(),
        "date": pl.col("started").dt.date(),
        "small": pl.col("fare").cast(pl.Float32),
    }
    stream = trips(data / "a.csv", derive=derive_)
    (data / "a.csv").write_text(HEADER + line(1))
    assert {"hour", "length"} <= widened(in_lake(stream)).keys()
    assert given_back(widened(in_lake(stream))).items() <= in_lake(stream).items()
    assert stored(stream, in_lake(stream)).keys() == in_lake(stream).keys()
    snapshot = lake.ingest(stream, Silent())
    assert dict(lake.frame(snapshot).collect_schema()) == in_lake(stream)
    row = lake.frame(snapshot, ["hour", "length", "date"]).collect().row(0)
    assert row == (1, 4, (START + timedelta(hours=1)).date())


def test_an_empty_table_has_the_same_types(lake: Lake, data: Path) -> None:
    stream = trips(data / "a.csv", derive={"ended_at": pl.col("started"), "hour": pl.col("started").dt.hour()})
    (data / "a.csv").write_text(HEADER)
    snapshot = lake.ingest(stream, Silent())
    assert (snapshot.rows, snapshot.added) == (0, 0)
    frame = lake.frame(snapshot).collect()
    assert frame.height == 0
    assert dict(frame.schema) == in_lake(stream)


def test_a_look_up_needs_its_table_first(lake: Lake, data: Path) -> None:
    (data / "a.csv").write_text(HEADER)
    with pytest.raises(SourceError, match=r"table towns: is not in the lake yet\. Ingest it first"):
        lake.ingest(trips(data / "a.csv", at=towns(data / "t.csv")), Silent())
