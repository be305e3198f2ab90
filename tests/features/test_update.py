"""Updates of stored state: what came late, was corrected or became known is in it, exactly as after a load of all."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from raypipe.contracts.changes import Changes
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Materialized, Snapshot
from raypipe.contracts.stores import OnlineStore
from raypipe.errors import FeatureError
from raypipe.features import OnlineFeatures, materialize
from raypipe.features.materialize import name
from raypipe.features.plan import plan
from raypipe.features.reading import Tables
from raypipe.features.stores.lmdb import LmdbStore
from raypipe.features.training_set import group_features
from raypipe.spec import FeatureGroup, agg, days, minutes
from tests.features import payments
from tests.features.memory import MemoryStore
from tests.features.oracle import micros
from tests.features.test_online import AS_OF, NOON, requests, some_events

DAY = 86_400_000_000


class History:
    """Snapshots of the payments, each a list of files of rows."""

    def __init__(self, delay: timedelta = timedelta(0), *more: FeatureGroup) -> None:
        self.pipeline = payments.pipeline(delay, *more)
        self.versions: list[list[pl.DataFrame]] = []

    def add(self, *files: pl.DataFrame) -> int:
        self.versions.append(list(files))
        return len(self.versions)

    def snapshots(self, version: int) -> dict[str, Snapshot]:
        rows = sum(file.height for file in self.versions[version - 1])
        made = {"payments": payments.snapshot("payments", version, pl.DataFrame({"n": range(rows)}))}
        return made | {"asks": payments.snapshot("asks", 1, pl.DataFrame())}

    def read(self, snapshot: Snapshot) -> pl.LazyFrame:
        files = [payments.frame_of([]), *self.versions[snapshot.snapshot_id - 1]]
        return pl.concat(files).lazy()

    def since(self, old: Snapshot, new: Snapshot) -> Changes | None:
        nothing = payments.frame_of([])
        if old.table != "payments":
            return Changes(nothing.lazy(), nothing.lazy(), None, anew=False)
        before, after = self.versions[old.snapshot_id - 1], self.versions[new.snapshot_id - 1]
        ids = {id(file) for file in before}, {id(file) for file in after}
        kept = [file for file in after if id(file) in ids[0]]
        gained = [file for file in after if id(file) not in ids[0]]
        lost = [file for file in before if id(file) not in ids[1]]
        frames = [pl.concat([nothing, *files]).lazy() for files in (kept, gained, lost)]
        return Changes(frames[0], frames[1], frames[2] if lost else None, anew=bool(before) and not kept)

    def materialize(
        self, store: MemoryStore, version: int, as_of: int, *, anew: bool = False, back: bool = True
    ) -> Materialized:
        since, snapshots = None if anew else self.since, self.snapshots(version)
        return materialize(self.pipeline, snapshots, self.read, store, as_of, Silent(), since=since, back=back)


def answers(history: History, store: MemoryStore, as_of: int) -> pl.DataFrame:
    times = [as_of - DAY // 2, as_of - 1, as_of, as_of + 1, as_of + 3_600_000_000]
    asked = [(f"u{i}", shop, q) for i in range(8) for shop in (0, 1, 2) for q in times]
    frame = payments.asked_frame(asked).select("user", (pl.col("asked_at") + payments.LEAD).alias("due"), "shop")
    return OnlineFeatures(history.pipeline, store).compute(frame)


def agree(history: History, store: MemoryStore, version: int, as_of: int) -> None:
    """The same answers as after a load of everything: the same bits, but for what fades."""
    fresh = MemoryStore()
    history.materialize(fresh, version, as_of, anew=True)
    found, expected = answers(history, store, as_of), answers(history, fresh, as_of)
    fading = [column for column in found.columns if column.startswith("fad")]
    assert found.drop(fading).equals(expected.drop(fading)), differing(found, expected)
    for column in fading:
        close = (found[column] - expected[column]).abs() <= 1e-9 * expected[column].abs() + 1e-9
        assert (found[column].eq_missing(expected[column]) | close.fill_null(False)).all(), column


def differing(found: pl.DataFrame, expected: pl.DataFrame) -> list[str]:
    return [name for name in found.columns if not found[name].equals(expected[name])]


def some(first: int, end: int) -> pl.DataFrame:
    return some_events(1000)[first:end]


def without(file: pl.DataFrame, user: str) -> pl.DataFrame:
    return file.filter(pl.col("user") != user)


#: Files of the first and the later snapshots, from three pieces of the rows, the latest first.
CASES: dict[str, Callable[[pl.DataFrame, pl.DataFrame, pl.DataFrame], list[list[pl.DataFrame]]]] = {
    "appended": lambda a, b, c: [[c, b], [c, b, a]],
    "late": lambda a, b, c: [[a, b], [a, b, c]],
    "corrected": lambda a, b, c: [[a, c, b], [a, c, b.with_columns(amount=pl.col("amount") + 1)]],
    "set aside": lambda a, b, c: [[a, b, c], [a, b[:20], c]],
    "set aside and late": lambda a, b, c: [[a, b], [a, b[20:], c]],
    "all of an entity gone": lambda a, b, c: [
        [a, b, c],
        [a, without(b, "u2"), without(c, "u2")],
    ],
    "written anew": lambda a, b, c: [[a, b, c], [a, b.clone(), c]],
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("delay", [timedelta(0), minutes(20)])
def test_an_update_is_as_good_as_a_load(case: str, delay: timedelta) -> None:
    history, store = History(delay), MemoryStore()
    rows = some_events(400).with_columns(
        amount=pl.when(pl.col("units") % 11 == 0).then(None).otherwise(pl.col("amount")),
        kind=pl.when(pl.col("units") % 5 == 0).then(None).otherwise("k" + (pl.col("units") % 9).cast(pl.String)),
    )
    loads = 0
    for version, files in enumerate(CASES[case](rows[:100], rows[100:250], rows[250:]), 1):
        history.add(*files)
        as_of = AS_OF + (version - 3) * 3_600_000_000
        record = history.materialize(store, version, as_of)
        assert (record.watermark, record.generation) == (as_of, 1)
        agree(history, store, version, as_of)
        assert history.materialize(store, version, as_of) == record, "replay is no work"
        loads = max(loads, len(store.generations))
    assert loads == 1


def test_what_only_became_known_is_in_the_update() -> None:
    history, store = History(minutes(20)), MemoryStore()
    history.add(some_events(400))
    for as_of in (AS_OF - DAY // 8, AS_OF - DAY // 9, AS_OF, AS_OF + 1_200_000_000, AS_OF + 3 * DAY):
        record = history.materialize(store, 1, as_of)
        assert record.generation == 1
        agree(history, store, 1, as_of)


def test_what_was_known_at_the_watermark_itself_is_added_up_once() -> None:
    """A group without an order of its events has nothing that would notice an event which comes twice."""
    sums = payments.payments(minutes(20)).by("user").features(all_units=agg.sum("units", days(30)))
    assert not plan(sums).ordered
    history, store = History(minutes(20), sums), MemoryStore()
    history.add(some_events(60))
    history.add(history.versions[0][0], some_events(70)[60:])
    edge = micros(NOON - timedelta(minutes=25))  # event 45 is known at this very microsecond
    history.materialize(store, 1, edge)
    for version, as_of in ((1, edge + 1), (2, edge + 2)):
        assert history.materialize(store, version, as_of).generation == 1
        agree(history, store, version, as_of)


@pytest.mark.parametrize("delay", [timedelta(0), minutes(20)])
def test_a_first_event_is_known_beyond_what_is_kept_of_its_entity(delay: timedelta) -> None:
    """Update by update: of long ago, newer ones, one that came late and was before all, and the first ones erased."""
    history, store = History(delay), MemoryStore()

    def one(number: int, days_ago: float, user: str = "u1") -> pl.DataFrame:
        at = NOON - timedelta(days=days_ago)
        return payments.frame_of([{"id": str(number), "user": user, "shop": 1, "at": at}])

    first, middle, new, late = one(1, 40), one(2, 20), one(3, 0.5), one(4, 400)
    steps = [[first, middle], [first, middle, new], [first, middle, new, late], [middle, new, late], [middle, new]]
    sizes = []
    for version, (files, days_ago) in enumerate(zip(steps, (40, 40, 400, 400, 20), strict=True), 1):
        history.add(*files, *(one(10 + i, 2 + i, "u2") for i in range(4)))
        as_of = AS_OF + version * 3_600_000_000
        assert history.materialize(store, version, as_of).generation == 1
        rows = history.read(history.snapshots(version)["payments"]).collect()
        asked = payments.asked_frame([(user, 1, q) for user in ("u1", "u2", "nobody") for q in (as_of - DAY, as_of)])
        requests = asked.select("user", (pl.col("asked_at") + payments.LEAD).alias("due"), "shop")
        online = OnlineFeatures(history.pipeline, store)
        found = online.compute(requests)
        assert found["tenure"].to_list()[1] == (as_of - micros(NOON)) / 1e6 + 86_400 * days_ago
        assert not payments.differences(found, payments.expected(delay, rows, asked, as_of))
        many = pl.concat([requests] * 50)  # more than are answered one by one
        assert online.compute(many).equals(pl.concat([found] * 50))
        agree(history, store, version, as_of)
        sizes.append(sum(map(len, store.generations[name(history.pipeline), 1].values())))
    assert sizes[1] == sizes[2], "what is older than any window is not kept"


def test_the_value_of_a_row_that_comes_alone_has_the_bits_that_it_has_among_others() -> None:
    """Polars divides a piece of one row otherwise than a longer one."""
    seventh = pl.col("amount") / 7
    group = payments.payments(timedelta(0)).by("user").features(
        seventh=agg.last(seventh), sevenths=agg.sum(seventh, days(3)), largest=agg.max(seventh, days(3))
    )  # fmt: skip
    history, store = History(timedelta(0), group), MemoryStore()
    rows = some_events(200)
    odd = rows.filter(amount / 7 != amount * (1 / 7) for amount in rows["amount"])
    assert odd.height > 10
    alone = list(odd.head(8).reverse().iter_slices(1))
    history.add(rows.join(odd.head(8), on="id", how="anti"))
    asked = payments.asked_frame([(f"u{i}", 1, AS_OF - at) for i in range(7) for at in (0, DAY // 8)])
    requests = asked.select("user", (pl.col("asked_at") + payments.LEAD).alias("due"), "shop")
    history.materialize(store, 1, AS_OF)
    for version, row in enumerate(alone, 2):
        history.add(*history.versions[-1], row)
        assert history.materialize(store, version, AS_OF + version).generation == 1
        tables = Tables(history.pipeline, history.snapshots(version), history.read)
        expected = pl.DataFrame(group_features(plan(group), tables, asked, AS_OF))
        found = OnlineFeatures(history.pipeline, store).compute(requests)
        assert found.select(expected.columns).equals(expected), row


def test_only_entities_that_gained_events_are_written() -> None:
    history, store = History(), MemoryStore()
    rows = some_events(400).sort("at")
    one = rows.filter(pl.col("user") == "u3").tail(1)
    history.add(rows.join(one, on="id", how="anti"))
    history.add(history.versions[0][0], one)
    before = history.materialize(store, 1, AS_OF)
    state = dict(store.generations[name(history.pipeline), 1])
    after = history.materialize(store, 2, AS_OF + 1)
    now = store.generations[name(history.pipeline), 1]
    changed = [key for key in {*state, *now} if state.get(key) != now.get(key)]
    assert len(changed) == 2, "the user, and the user with the shop"
    assert after.bytes - before.bytes == sum(len(now[key]) - len(state[key]) for key in changed)
    assert (after.entities, after.digest != before.digest) == (before.entities, True)


def test_a_reader_that_only_looked_at_the_time_reads_everything_again() -> None:
    history, store = History(), MemoryStore()
    history.add(some(100, 300))
    history.add(history.versions[0][0], some(0, 100))
    history.materialize(store, 1, AS_OF - 1)
    features = OnlineFeatures(history.pipeline, store)
    before = features.compute(requests(NOON))
    history.materialize(store, 2, AS_OF)
    assert features.watermark() == AS_OF
    after = features.compute(requests(NOON))
    assert not after.equals(before)
    assert after.equals(OnlineFeatures(history.pipeline, store).compute(requests(NOON)))


def test_who_steps_back_or_doubles_the_rows_loads_anew() -> None:
    history, store = History(), MemoryStore()
    history.add(some(0, 100))
    history.add(history.versions[0][0], some(100, 150))
    history.add(history.versions[0][0], some(100, 400))
    history.add(some(0, 90), some(100, 400))
    generations = []
    for version, as_of in ((1, AS_OF), (2, AS_OF + 1), (1, AS_OF), (2, AS_OF), (3, AS_OF + 2), (4, AS_OF + 3)):
        generations.append(history.materialize(store, version, as_of).generation)
        agree(history, store, version, as_of)
    assert generations == [1, 1, 2, 3, 4, 5]


def test_whoever_was_overtaken_looks_again() -> None:
    history, store = History(), MemoryStore()
    history.add(some(0, 300))
    history.add(history.versions[0][0], some(300, 400))
    history.materialize(store, 1, AS_OF)
    update, raced = store.update, []

    def late(*args: object, **kwargs: object) -> bool:
        if not raced:
            raced.append(True)
            history.materialize(store, 2, AS_OF + 5)
        return update(*args, **kwargs)

    store.update = late
    assert history.materialize(store, 2, AS_OF + 9).watermark == AS_OF + 9
    agree(history, store, 2, AS_OF + 9)


def overtaken(history: History, store: OnlineStore, meanwhile: Callable[[], object]) -> OnlineStore:
    """The store, in which something else happens between the load of a generation and its being published."""
    load = store.load

    def slow(name: str, items: Iterable[tuple[bytes, bytes]]) -> int:
        number = load(name, items)
        store.load = load
        meanwhile()
        return number

    store.load = slow
    return store


@pytest.mark.parametrize("other", ["load", "update"])
@pytest.mark.parametrize("kind", ["memory", "lmdb"])
def test_an_older_load_never_replaces_what_was_published_meanwhile(tmp_path: Path, kind: str, other: str) -> None:
    history = History()
    history.add(some(0, 300))
    history.add(history.versions[0][0], some(300, 400))
    store = MemoryStore() if kind == "memory" else LmdbStore(tmp_path)
    history.materialize(store, 1, AS_OF - 7_200_000_000)
    later = partial(history.materialize, store, 2, AS_OF, anew=other == "load")
    with pytest.raises(
        FeatureError, match=r"^payments: another run published a later state, known up to 2013-01-10T12"
    ):
        history.materialize(overtaken(history, store, later), 1, AS_OF - 3_600_000_000, anew=True)
    agree(history, store, 2, AS_OF)
    with store.read(name(history.pipeline)) as reading:
        assert Materialized.from_json(reading.head).watermark == AS_OF


def test_a_first_load_that_was_overtaken_by_an_earlier_one_goes_on() -> None:
    history, store = History(), MemoryStore()
    history.add(some(0, 300))
    history.add(history.versions[0][0], some(300, 400))
    earlier = partial(history.materialize, store, 1, AS_OF - 9)
    assert history.materialize(overtaken(history, store, earlier), 2, AS_OF).watermark == AS_OF
    agree(history, store, 2, AS_OF)


def test_of_two_runs_for_the_same_moment_the_first_stays() -> None:
    history, store = History(), MemoryStore()
    history.add(some(0, 300))
    history.add(history.versions[0][0], some(300, 400))
    same = partial(history.materialize, store, 2, AS_OF)
    assert history.materialize(overtaken(history, store, same), 2, AS_OF).generation == 2
    newer = partial(history.materialize, store, 2, AS_OF + 1)
    history.materialize(store, 1, AS_OF)
    with pytest.raises(FeatureError, match="another run published a later state"):
        history.materialize(overtaken(history, store, newer), 1, AS_OF + 1, anew=True)


def test_of_many_runs_at_once_the_latest_moment_stays(tmp_path: Path) -> None:
    history, store = History(), LmdbStore(tmp_path)
    history.add(some(0, 100))
    history.add(history.versions[0][0], some(100, 150))
    history.materialize(store, 1, AS_OF)

    def run(seconds: int) -> None:
        with suppress(FeatureError):
            history.materialize(store, 2, AS_OF + seconds * 1_000_000, back=False)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, (4, 1, 3, 2)))
    with store.read(name(history.pipeline)) as reading:
        assert Materialized.from_json(reading.head).watermark == AS_OF + 4_000_000
    agree(history, store, 2, AS_OF + 4_000_000)


def test_only_who_names_an_earlier_moment_goes_back() -> None:
    history, store = History(), MemoryStore()
    history.add(some(0, 100))
    history.materialize(store, 1, AS_OF)
    with pytest.raises(FeatureError, match=r"known up to 2013-01-10T12:00:00Z\. Name an earlier moment with `--as-of`"):
        history.materialize(store, 1, AS_OF - 1, back=False)
    assert history.materialize(store, 1, AS_OF, back=False).generation == 1
    assert history.materialize(store, 1, AS_OF - 1).watermark == AS_OF - 1


@settings(max_examples=25, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["u1", "u2", "u3"]),
            st.integers(-40, 40),
            st.sampled_from([0.0, 0.1, -2.5, 1e300, -1e300, float("inf"), float("-inf"), float("nan"), None, 7.0]),
            st.sampled_from(["a", "bb", "", None, "ü"]),
            st.integers(0, 3),
        ),
        max_size=40,
    ),
    st.lists(st.integers(0, 50), min_size=3, max_size=3),
)
def test_any_history_in_any_parts(rows: list[tuple[str, int, float | None, str | None, int]], gaps: list[int]) -> None:
    frame = payments.frame_of(
        [
            {
                "id": str(i), "user": user, "shop": i % 2, "kind": kind, "units": i, "amount": amount,
                "refund": bool(i % 3), "at": NOON + timedelta(minutes=30 * at),
            }
            for i, (user, at, amount, kind, _) in enumerate(rows)
        ]
    )  # fmt: skip
    parts = [frame.filter(pl.Series([row[4] <= part for row in rows], dtype=pl.Boolean)) for part in range(4)]
    history, store = History(minutes(20)), MemoryStore()
    as_of = micros(NOON) - 3_600_000_000
    for version, (before, after) in enumerate(pairwise([parts[0].clear(), *parts]), 1):
        gained = after.join(before, on="id", how="anti")
        history.add(*(history.versions[-1] if history.versions else []), gained)
        as_of += 60_000_000 * (gaps[version - 2] if version > 1 else 0) + 1
        history.materialize(store, version, as_of)
        agree(history, store, version, as_of)


def test_a_plan_says_when_order_matters() -> None:
    assert plan(History().pipeline.groups[0]).ordered


def test_requests_and_rows_of_this_file_fit_together() -> None:
    history, store = History(), MemoryStore()
    history.add(some_events(50))
    history.materialize(store, 1, AS_OF)
    assert OnlineFeatures(history.pipeline, store).compute(requests(NOON))["count_10m"][0] >= 0
