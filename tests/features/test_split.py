"""Which rows of history end up in which part of a training set."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Snapshot
from raypipe.features import OnlineFeatures, build_training_set, materialize
from raypipe.spec import Pipeline, Search, Stream, Table, csv, days, fingerprint, models, periods, request, shares
from tests.features.memory import MemoryStore

WINES = Table("wines", csv("w.csv"), key="id", columns={int: "id", str: "grower", float: "acid score"})
ROWS = 4_000


def rows() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": range(ROWS),
            "grower": [None if i % 50 == 0 else f"g{i % 97}" for i in range(ROWS)],
            "acid": [None if i == 7 else float(i % 13) for i in range(ROWS)],
            "score": [None if i == 9 else float(i % 10) for i in range(ROWS)],
        }
    )


def wines(split) -> Pipeline:
    return Pipeline(
        "wines",
        ask=WINES.rows(),
        inputs=[request("acid", optional=("grower",)).with_features(acid="acid", grower="grower")],
        label=WINES.label(pl.col("score") > 6),
        split=split,
        search=Search([models.Linear()]),
    )


def snapshot_of(source) -> Snapshot:
    return Snapshot(
        table=source.name, snapshot_id=1, definition=fingerprint(source), rows=ROWS, added=0, repeated=0, files=()
    )


def built(pipeline, frame, folder, as_of=0):
    snapshots = {source.name: snapshot_of(source) for source in pipeline.sources}
    return build_training_set(pipeline, snapshots, lambda _: frame.lazy(), folder, as_of, Silent())


def parts(record) -> dict[str, pl.DataFrame]:
    return {name: pl.read_parquet(f"{record.folder}/{name}.parquet") for name in ("train", "tune", "holdout")}


def test_rows_without_time_are_split_by_chance_and_for_good(tmp_path):
    record = built(wines(shares()), rows(), tmp_path / "a")
    assert record.left_out == {"no acid": 1, "no label": 1}
    total = sum(record.rows.values())
    assert total == ROWS - 2
    assert [record.rows[name] / total for name in ("train", "tune", "holdout")] == pytest.approx(
        [0.7, 0.2, 0.1], abs=0.03
    )
    assert parts(record)["train"]["asked_at"].null_count() == record.rows["train"]
    # The order in which rows come from the lake does not matter, nor do rows that come later.
    again = built(wines(shares()), rows().reverse(), tmp_path / "b")
    assert again.digest == record.digest
    other = built(wines(shares(seed=1)), rows(), tmp_path / "c")
    assert other.digest != record.digest


def test_rows_that_belong_together_stay_together(tmp_path):
    found = parts(built(wines(shares(together="grower")), rows(), tmp_path))
    growers = [set(part["grower"].drop_nulls()) for part in found.values()]
    assert all(growers)
    assert sum(map(len, growers)) == len(set().union(*growers))


def test_what_has_no_time_is_answered_online(tmp_path):
    pipeline, store = wines(shares()), MemoryStore()
    materialize(pipeline, {"wines": snapshot_of(WINES)}, lambda _: rows().lazy(), store, 5, Silent())
    asked = pl.DataFrame({"acid": [1.5], "grower": ["g3"]})
    assert OnlineFeatures(pipeline, store).compute(asked).rows() == [(1.5, "g3")]


VISITS = Stream(
    "visits",
    csv("v.csv"),
    id=["id"],
    time="at",
    columns={int: "id", str: "user", datetime: "at done", bool: "bought"},
    reveals={"done": ["bought"]},
)


def test_a_value_that_an_earlier_period_has_is_kept_apart(tmp_path):
    start = datetime(2013, 1, 1, tzinfo=UTC)
    at = [start + timedelta(days=i) for i in range(90)]
    frame = pl.DataFrame(
        {
            "id": range(90),
            "user": [None if i in {40, 80} else f"u{i % 40}" for i in range(90)],
            "at": pl.Series(at, dtype=pl.Datetime("us", "UTC")),
            "done": pl.Series(at, dtype=pl.Datetime("us", "UTC")),
            "bought": [i % 3 == 0 for i in range(90)],
        }
    )
    pipeline = Pipeline(
        "visits",
        ask=VISITS.before("at"),
        inputs=[request("at", optional=("user",)).with_features(user="user")],
        label=VISITS.label("bought", settled_after=timedelta(hours=1)),
        split=periods(train="2013-01", tune="2013-02", holdout="2013-03", apart="user"),
        search=Search([models.Linear()]),
    )
    record = built(pipeline, frame, tmp_path, as_of=round((start + days(120)).timestamp() * 1e6))
    found = parts(record)
    seen: set[str] = set()
    for part in found.values():
        users = set(part["user"].drop_nulls())
        assert not users & seen
        seen |= users
    # By hand: January has users 0-30, February adds 31-39 and nobody else, March has nobody new but for the unknown.
    assert [found[name].height for name in ("tune", "holdout")] == [9 + 1, 1]
    assert record.left_out["user is in an earlier period"] == 90 - 31 - 10 - 1
