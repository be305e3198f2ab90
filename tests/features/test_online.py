"""Serving features: what is refused, what is read again, and how state comes into a store."""

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import polars.selectors as cs
import pytest

from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Materialized
from raypipe.errors import FeatureError, RequestError
from raypipe.failpoints import FailpointError
from raypipe.features import OnlineFeatures, materialize, parity
from raypipe.features.materialize import name
from raypipe.features.reading import Tables
from raypipe.features.seen import FEW_LOOKS, Seen
from raypipe.features.stores.lmdb import LmdbStore
from raypipe.spec import derived, minutes
from tests.features import payments
from tests.features.memory import MemoryStore
from tests.features.oracle import EPOCH, micros

NOON = datetime(2013, 1, 10, 12, tzinfo=UTC)
AS_OF = micros(NOON)
DAY = 86_400_000_000


def some_events(many: int = 50) -> pl.DataFrame:
    return payments.frame_of(
        [
            {
                "id": str(i), "user": f"u{i % 7}", "shop": i % 3, "kind": "x", "units": i, "amount": i / 3,
                "refund": False, "at": NOON - timedelta(minutes=i),
            }
            for i in range(many)
        ]
    )  # fmt: skip


def fill(store: object, rows: pl.DataFrame, as_of: int = AS_OF, version: int = 1) -> Materialized:
    tables = payments.tables_of(minutes(0), rows)
    snapshots = {key: payments.snapshot(key, version, rows) for key in tables.snapshots}
    return materialize(tables.pipeline, snapshots, tables.read, store, as_of, Silent())


def requests(*times: datetime, user: str = "u1") -> pl.DataFrame:
    asked = [(user, 1, micros(time)) for time in times]
    return payments.asked_frame(asked).select("user", (pl.col("asked_at") + payments.LEAD).alias("due"), "shop")


PIPELINE = payments.pipeline(minutes(0))


def test_nothing_stored_is_said(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=r"no features are stored for this version\. Run `raypipe run`"):
        OnlineFeatures(PIPELINE, LmdbStore(tmp_path)).compute(requests(NOON))


def test_questions_older_than_the_state_are_refused() -> None:
    store = MemoryStore()
    record = fill(store, some_events())
    features = OnlineFeatures(PIPELINE, store)
    assert record.oldest == micros(NOON - timedelta(days=1))
    assert features.compute(requests(NOON - timedelta(days=1))).height == 1
    with pytest.raises(RequestError, match=r"^due: is older than the stored features, .* 2013-01-09T12:10:00Z"):
        features.compute(requests(NOON, NOON - timedelta(days=1, microseconds=1)))


@pytest.mark.parametrize("past", [0, 1, 1_800_000_000, 3_599_999_999])
def test_who_asks_as_early_as_may_be_sees_what_lies_at_the_edge_of_the_longest_window(past: int) -> None:
    """Also past the hour, when the edge lies further back than the window is long."""
    asked, grid = AS_OF - DAY + past, 3_600_000_000
    low = (asked - 30 * DAY) // grid * grid
    rows = [
        {
            "id": str(i), "user": "a", "shop": 1, "kind": "x", "units": 1, "amount": float(i + 1), "refund": False,
            "at": EPOCH + timedelta(microseconds=time),
        }
        for i, time in enumerate([low - 1, low, low, asked - 5])
    ]  # fmt: skip
    question = payments.asked_frame([("a", 1, asked)])
    found = payments.online(timedelta(0), payments.frame_of(rows), question, AS_OF + past)
    assert found["sum_30d"].to_list() == [2.0 + 3.0 + 4.0]


def test_a_request_without_its_time_is_refused() -> None:
    store = MemoryStore()
    fill(store, some_events())
    request = requests(NOON).with_columns(due=pl.lit(None, dtype=pl.Datetime("us", "UTC")))
    with pytest.raises(RequestError, match=r"^due: is missing"):
        OnlineFeatures(PIPELINE, store).compute(request)


def test_many_requests_are_answered_as_one_by_one() -> None:
    store = MemoryStore()
    fill(store, some_events(400))
    features = OnlineFeatures(PIPELINE, store)
    users = ["u1", "u2", "nobody", "u3", "u1", None, "u6"] * 40  # more than are answered one by one
    many = pl.concat(requests(NOON - timedelta(minutes=i), user=user) for i, user in enumerate(users))
    whole = features.compute(many)
    assert pl.concat(features.compute(one) for one in many.iter_slices(1)).equals(whole)
    assert pl.concat(features.compute(some) for some in many.iter_slices(9)).equals(whole)
    assert features.compute(many.clear()).schema == whole.schema


def test_with_frames_or_without_and_as_in_history() -> None:
    amount, due = pl.col("last_amount"), pl.col("due")
    logic = derived(
        share=pl.col("sum_1h") / (pl.col("mean_3d") + 1),
        third=amount / 3,
        rounded=(amount / 7).round(3),
        hour=due.dt.convert_time_zone("America/New_York").dt.hour(),
        refunded=pl.col("pair_last_refund").fill_null(value=True),
        next_day=due + timedelta(days=1),
        kind=pl.concat_str("user", "last_kind", separator=":"),
        after=pl.col("third") * pl.col("rounded"),
    )
    rows, pipeline = some_events(400), payments.pipeline(minutes(0), logic)
    lake = payments.tables_of(minutes(0), rows)
    tables = Tables(pipeline, lake.snapshots, lake.read)
    store = MemoryStore()
    materialize(pipeline, tables.snapshots, tables.read, store, AS_OF, Silent())
    features = OnlineFeatures(pipeline, store)
    users = ["u1", "u2", "nobody", None, "u3"] * 52
    many = pl.concat(requests(NOON - timedelta(minutes=i), user=user) for i, user in enumerate(users))
    expected = parity.replayed(tables, many, AS_OF)
    assert features.compute(many).equals(expected)
    assert pl.concat(features.compute(one) for one in many.iter_slices(1)).equals(expected)
    assert pl.concat(features.compute(some) for some in many.iter_slices(3)).equals(expected)
    plain = expected.with_columns(cs.datetime().cast(pl.Int64)).rows()
    assert [tuple(row) for row in features.answer(many.rows())] == plain
    # Of one group so many different questions are worked on as arrays.
    assert [tuple(row) for row in features.answer(many.head(2 * FEW_LOOKS).rows())] == plain[: 2 * FEW_LOOKS]
    assert [tuple(features.answer([row])[0]) for row in many.rows()] == plain
    with pytest.raises(RequestError, match=r"^due: is missing"):
        features.answer([("u1", None, 1)])


def test_the_same_again_is_no_work() -> None:
    store, rows = MemoryStore(), some_events()
    first = fill(store, rows)
    assert fill(store, rows) == first
    assert len(store.generations) == 1
    again = fill(store, rows.reverse(), version=2)
    assert (again.digest, again.generation) == (first.digest, 2)
    later = fill(store, rows, AS_OF + 60_000_000, version=2)
    assert (later.generation, later.watermark) == (3, AS_OF + 60_000_000)


def test_a_changed_definition_has_its_own_state() -> None:
    store = MemoryStore()
    fill(store, some_events())
    other = payments.pipeline(minutes(20))
    assert name(other) != name(PIPELINE)
    with pytest.raises(FeatureError, match="no features are stored"):
        OnlineFeatures(other, store).compute(requests(NOON))


def test_events_known_later_are_not_in_it() -> None:
    store, rows = MemoryStore(), some_events()
    half = micros(NOON - timedelta(minutes=20))
    fill(store, rows, half)
    known = rows.filter(pl.col("at").cast(pl.Int64) <= half)
    assert payments.online(minutes(0), known, payments.asked_frame([("u1", 1, AS_OF)]), half).equals(
        OnlineFeatures(PIPELINE, store).compute(requests(NOON))
    )


class Moving(MemoryStore):
    """A store that gets another state, of the same content or not, before each of the first few looks."""

    def __init__(self, *moves: pl.DataFrame) -> None:
        super().__init__()
        self.moves = list(moves)

    def fetch(self, name: str, keys: Sequence[bytes]) -> tuple[bytes, list[bytes | None]] | None:
        if self.moves and self.heads:
            fill(self, self.moves.pop(), version=9 + len(self.moves))
        return super().fetch(name, keys)


@pytest.mark.parametrize("moves", [1, 2, 3, 20])
def test_what_was_read_before_the_store_moved_is_read_again(moves: int) -> None:
    still, store, rows = MemoryStore(), Moving(), some_events(400)
    fill(still, rows)
    fill(store, some_events(30))
    features = OnlineFeatures(PIPELINE, store)
    features.compute(requests(NOON, user="u1"))
    asked = pl.concat([requests(NOON, user="u1"), requests(NOON, user="u2")])
    store.moves = [rows, *[some_events(50)] * (moves - 1)]
    while store.moves:
        found = features.compute(asked)
    assert found.equals(OnlineFeatures(PIPELINE, still).compute(asked))
    assert features.state() == (len(store.generations), AS_OF)


def test_no_more_is_kept_than_may_be() -> None:
    store = MemoryStore()
    fill(store, some_events(400))
    whole, little = OnlineFeatures(PIPELINE, store), OnlineFeatures(PIPELINE, store)
    little._seen = Seen(little._plans, most_bytes=1)
    for user in ("u1", "u2", "u1", "nobody", "u3"):
        asked = pl.concat([requests(NOON, user=user), requests(NOON, user="u4")])
        assert little.compute(asked).equals(whole.compute(asked))
    assert len(little._seen._stored) == 4


@pytest.mark.parametrize("window", ["features.lmdb_between_batches", "features.before_flip"])
def test_a_load_that_fails_changes_nothing(tmp_path: Path, window: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LmdbStore(tmp_path)
    fill(store, some_events(10))
    before = OnlineFeatures(PIPELINE, store).compute(requests(NOON))
    monkeypatch.setenv("RAYPIPE_FAILPOINT", f"{window}=raise")
    with pytest.raises(FailpointError):
        fill(store, some_events(), version=2)
    assert OnlineFeatures(PIPELINE, store).compute(requests(NOON)).equals(before)


KILLED = """
import sys
from pathlib import Path
from raypipe.features.stores.lmdb import LmdbStore
from tests.features import test_online as here
here.fill(LmdbStore(Path(sys.argv[1])), here.some_events(), version=2)
"""


@pytest.mark.parametrize("window", ["features.lmdb_between_batches", "features.before_flip"])
def test_after_a_kill_the_next_run_gives_a_clean_runs_state(tmp_path: Path, window: str) -> None:
    folder = tmp_path / "online"
    fill(LmdbStore(folder), some_events(10))
    environment = os.environ | {"RAYPIPE_FAILPOINT": f"{window}=kill"}
    killed = subprocess.run([sys.executable, "-c", KILLED, folder], env=environment, timeout=60, check=False)
    assert killed.returncode == -9
    clean = fill(LmdbStore(tmp_path / "clean"), some_events(), version=2)
    assert fill(LmdbStore(folder), some_events(), version=2).digest == clean.digest
    stores = [LmdbStore(folder), LmdbStore(tmp_path / "clean")]
    found = [OnlineFeatures(PIPELINE, store).compute(requests(NOON)) for store in stores]
    assert found[0].equals(found[1])
