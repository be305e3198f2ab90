"""Which rows of history become questions, and how a training set comes into its folder."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from raypipe.contracts.progress import Silent
from raypipe.contracts.records import TrainingSet
from raypipe.errors import FeatureError
from raypipe.failpoints import FailpointError
from raypipe.features import build_training_set
from raypipe.features.spine import spine
from raypipe.spec import Pipeline, agg, changed, days, hours, micros, minutes, request
from tests.features import payments

TIME = pl.Datetime("us", "UTC")


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000_000)


def asks(*rows: tuple[str, str | None, str | None, bool | None]) -> pl.LazyFrame:
    columns = {"id": pl.String(), "user": pl.String(), "due": pl.String(), "late": pl.Boolean()}
    due = pl.col("due").str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", time_zone="UTC")
    return (
        pl.DataFrame(rows, schema=columns, orient="row")
        .with_columns(due, pl.lit(1, dtype=pl.Int64).alias("shop"))
        .with_columns(settled=pl.col("due"))
        .lazy()
    )


AS_OF = at("2013-04-02T00:00:00")


def test_a_question_belongs_to_the_period_in_which_it_is_asked() -> None:
    # Asked ten minutes before it is due: this is January's last question, and February's first.
    rows = asks(("1", "a", "2013-02-01T00:09:59", True), ("2", "a", "2013-02-01T00:10:00", False))
    found = spine(payments.pipeline(minutes(0)), rows, AS_OF)
    assert found.left_out == {"label not settled": 1}
    assert found.frame["__period"].to_list() == ["tune"]


def test_a_label_counts_from_the_moment_at_which_it_is_settled() -> None:
    # It takes an hour: asked at 23:00 it is settled as February begins, a second later it is not.
    rows = asks(("1", "a", "2013-01-31T23:10:00", True), ("2", "a", "2013-01-31T23:10:01", True))
    found = spine(payments.pipeline(minutes(0)), rows, AS_OF)
    assert found.frame["asked_at"].to_list() == [datetime(2013, 1, 31, 23, tzinfo=UTC)]
    assert found.frame.columns == ["user", "due", "shop", "asked_at", "label", "__period"]
    assert found.left_out == {"label not settled": 1}


@pytest.mark.parametrize(("delay", "counts"), [(0, 2), (1, 1)])
def test_a_label_counts_from_the_moment_at_which_its_columns_are_known(delay: int, counts: int) -> None:
    """Whatever `settled_after` says: nobody knew it before."""
    made = payments.pipeline(minutes(0))
    stream = changed(made.ask.stream, delay=timedelta(microseconds=delay))
    late = changed(made, ask=changed(made.ask, stream=stream), label=changed(made.label, stream=stream))
    day, known = "2013-03-10T12:00:00", AS_OF // 1_000_000 * 1_000_000
    rows = asks(("1", "a", day, True), ("2", "a", day, True), ("3", "a", day, False), ("4", "a", day, False))
    settled = pl.Series("settled", [None, known, known + 1, known + 10**6], dtype=pl.Int64).cast(TIME)
    found = spine(late, rows.with_columns(settled), AS_OF)
    assert found.frame.height == counts
    assert found.left_out == {"label not settled": 4 - counts}


def test_a_label_counts_from_when_its_row_was_published() -> None:
    made = payments.pipeline(minutes(0))
    stream = changed(made.ask.stream, published="out")
    late = changed(made, ask=changed(made.ask, stream=stream), label=changed(made.label, stream=stream))
    rows = asks(*[(str(i), "a", "2013-03-10T12:00:00", True) for i in range(3)])
    found = spine(late, rows.with_columns(pl.Series("out", [None, AS_OF, AS_OF + 1]).cast(TIME)), AS_OF)
    assert (found.frame.height, found.left_out) == (2, {"label not settled": 1})


def test_the_last_period_ends_when_the_run_pretends_to_be() -> None:
    rows = asks(("1", "a", "2013-03-10T12:00:00", True), ("2", "a", "2013-03-10T12:00:01", True))
    settled = at("2013-03-10T12:00:00") - micros(minutes(10)) + micros(hours(1))
    found = spine(payments.pipeline(minutes(0)), rows, settled)
    assert found.frame.height == 1
    assert found.left_out == {"label not settled": 1}
    rows = asks(("1", "a", "2013-01-10T12:00:00", True))
    early = spine(payments.pipeline(minutes(0)), rows, at("2013-01-10T12:00:00"))
    assert early.left_out == {"label not settled": 1}


def test_every_row_left_out_has_its_reason() -> None:
    rows = asks(
        ("1", None, None, True),
        ("2", "a", None, True),
        ("3", "a", "2012-12-31T12:00:00", True),
        ("4", "a", "2013-04-01T00:10:00", True),
        ("5", "a", "2013-01-15T12:00:00", None),
        ("6", "a", "2013-01-15T12:00:00", True),
    )
    found = spine(payments.pipeline(minutes(0)), rows, AS_OF)
    assert found.left_out == {"no due": 1, "no label": 1, "no user": 1, "outside the periods": 2}
    assert found.frame.height == 1


def test_rows_keep_their_order_and_their_number() -> None:
    rows = asks(*((str(i % 7), "a", f"2013-01-{10 + i % 3}T12:00:00", i % 2 == 0) for i in range(21)))
    found = spine(payments.pipeline(minutes(0)), rows, AS_OF).frame
    assert found.height == 21
    again = spine(payments.pipeline(minutes(0)), rows.reverse(), AS_OF).frame
    assert again.drop("label").equals(found.drop("label"))


@pytest.fixture
def tables() -> payments.Tables:
    return made_tables()


def made_tables() -> payments.Tables:
    rows = payments.frame_of(
        [
            {"id": str(i), "user": "a", "shop": 1, "amount": i / 3, "at": datetime(2013, 1, 10, i, tzinfo=UTC)}
            for i in range(20)
        ]
    )
    made = payments.tables_of(minutes(0), rows)
    asked = asks(*((str(i), "a", f"2013-0{1 + i % 3}-10T12:00:{i:02}", i % 2 == 0) for i in range(30)))
    events = made.read
    made.read = lambda one: asked if one.table == "asks" else events(one)
    return made


def build(tables: payments.Tables, folder: Path) -> TrainingSet:
    return build_training_set(tables.pipeline, tables.snapshots, tables.read, folder, AS_OF, Silent())


def test_what_is_there_is_not_built_again(tables: payments.Tables, tmp_path: Path) -> None:
    first = build(tables, tmp_path)
    tables.read = lambda one: pytest.fail(f"reads {one.table} again")
    assert build(tables, tmp_path) == first
    assert first.rows == {"train": 10, "tune": 10, "holdout": 10}
    assert first.positives == {"train": 5, "tune": 5, "holdout": 5}


def test_another_moment_is_another_training_set(tables: payments.Tables, tmp_path: Path) -> None:
    first = build(tables, tmp_path)
    later = build_training_set(tables.pipeline, tables.snapshots, tables.read, tmp_path, AS_OF + 1, Silent())
    assert later.folder != first.folder
    assert later.digest == first.digest, "nothing happened in that microsecond"


def test_it_appears_whole_or_not_at_all(
    tables: payments.Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYPIPE_FAILPOINT", "features.before_publish=raise")
    with pytest.raises(FailpointError):
        build(tables, tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.delenv("RAYPIPE_FAILPOINT")
    assert build(tables, tmp_path).rows["train"] == 10


KILLED = """
import sys
from pathlib import Path
from tests.features import test_training_set as here
here.build(here.made_tables(), Path(sys.argv[1]))
"""


def test_a_killed_build_is_built_by_the_next(tables: payments.Tables, tmp_path: Path) -> None:
    environment = os.environ | {"RAYPIPE_FAILPOINT": "features.before_publish=kill"}
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path], env=environment, timeout=60, check=False)
    assert killed.returncode == -9
    clean = build(tables, tmp_path / "elsewhere")
    built = build(tables, tmp_path)
    assert built.digest == clean.digest


def test_two_builders_at_once_make_one(
    tables: payments.Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = build(tables, tmp_path)
    known = iter([None, other, other])
    monkeypatch.setattr("raypipe.features.training_set.known", lambda _: next(known))
    assert build(tables, tmp_path).digest == other.digest
    assert [path.name for path in tmp_path.iterdir()] == [Path(other.folder).name]


def test_a_damaged_record_is_named(tables: payments.Tables, tmp_path: Path) -> None:
    record = Path(build(tables, tmp_path).folder) / "training_set.json"
    record.write_text(record.read_text()[:-20])
    with pytest.raises(FeatureError, match=r"is damaged\. Delete the folder and run again"):
        build(tables, tmp_path)


def test_a_missing_snapshot_is_named(tables: payments.Tables, tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=r"there is no snapshot of `payments`\. Ingest it first"):
        build_training_set(tables.pipeline, {"asks": tables.snapshots["asks"]}, tables.read, tmp_path, AS_OF, Silent())


@pytest.mark.parametrize("name", ["label", "asked_at"])
def test_names_of_a_training_sets_own_columns_are_refused(tables: payments.Tables, tmp_path: Path, name: str) -> None:
    tables.pipeline = Pipeline(
        "payments",
        ask=tables.pipeline.ask,
        inputs=[*tables.pipeline.inputs, pl.col("count_10m").alias(name)],
        label=tables.pipeline.label,
        split=tables.pipeline.split,
        search=tables.pipeline.search,
    )
    with pytest.raises(FeatureError, match=f"`{name}` is a column of every training set"):
        build(tables, tmp_path)


def test_nothing_to_ask_is_an_empty_training_set(tables: payments.Tables, tmp_path: Path) -> None:
    events = tables.read
    tables.read = lambda one: asks() if one.table == "asks" else events(one)
    built = build(tables, tmp_path)
    assert sum(built.rows.values()) == 0
    columns = pl.read_parquet(Path(built.folder) / "train.parquet").columns
    assert columns == ["user", "due", "shop", "asked_at", *built.features, "label"]


@pytest.mark.parametrize("made", ["row logic", "a window"])
def test_a_value_that_an_expression_does_not_fit_is_told_by_its_place(
    tables: payments.Tables, tmp_path: Path, made: str
) -> None:
    number, asked = pl.col("user").cast(pl.Int64), request("user", "due", optional=("shop",))
    a_day = payments.payments(minutes(0)).by("user").features(number=agg.sum(number, days(1)))
    inputs = [asked, a_day] if made == "a window" else [asked.with_features(number=number)]
    tables.pipeline = changed(tables.pipeline, inputs=tuple(inputs))
    told = r"test_training_set\.py:\d+: an expression does not fit what is there: conversion from `str` to `i64` failed"
    with pytest.raises(FeatureError, match=told):
        build(tables, tmp_path)
