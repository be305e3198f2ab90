"""Questions to serving that are asked before all that is stored was known: as history answers them, and only those."""

from datetime import UTC, datetime
from random import Random

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raypipe.contracts.progress import Silent
from raypipe.errors import RequestError
from raypipe.features import OnlineFeatures, early, events, keys, materialize
from raypipe.features.plan import plan
from raypipe.features.seen import Seen
from raypipe.features.states import group_states
from raypipe.spec import Stream, agg, csv, days, hours, kafka, minutes
from raypipe.spec.shape import in_lake
from tests.features import payments
from tests.features.memory import MemoryStore
from tests.features.oracle import micros
from tests.features.test_late import BASE, OWN, STEP, long_histories, payment
from tests.features.test_update import DAY, History, agree

HOUR = micros(hours(1))
#: Most rows are known at once, others until a day or two later; some are older than any window.
LAGS = [0, 0, 0, 1, 5 * STEP, 7 * HOUR, DAY - 1, DAY, 2 * DAY, 33 * DAY, None]
STEPS = [0, 1, 1, 2, 5, 40, 140, 150, 500, 4_300, 4_480, 4_640, 9_000]
AMOUNTS = [1.5, -2.5, 0.1, 1e300, None, float("nan"), 7.0, float("inf"), float("-inf")]


def asked_of(users: str, times: list[int]) -> pl.DataFrame:
    return payments.asked_frame([(user, 1, time) for user in users for time in times])


def requests(asked: pl.DataFrame) -> pl.DataFrame:
    return asked.select("user", (pl.col("asked_at") + payments.LEAD).alias("due"), "shop")


def stored(rows: list[dict], as_of: int) -> OnlineFeatures:
    tables, store = payments.tables_of(OWN, payments.frame_of(rows)), MemoryStore()
    materialize(tables.pipeline, tables.snapshots, tables.read, store, as_of, Silent())
    return OnlineFeatures(tables.pipeline, store)


@st.composite
def payments_of_years(draw: st.DrawFn) -> list[dict]:
    return [
        payment(
            number,
            draw(st.sampled_from("aaab")),
            draw(st.sampled_from(STEPS)),
            draw(st.sampled_from([-1, 0, 0, 1])),
            draw(st.sampled_from(LAGS)),
            draw(st.sampled_from(AMOUNTS)),
        )
        for number in range(draw(st.integers(0, 14)))
    ]


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(payments_of_years(), st.sampled_from([0, 1, HOUR, DAY // 2]))
def test_what_is_cut_off_is_seen_as_before(rows: list[dict], later: int) -> None:
    """Last values, decayed sums and tenure reach beyond what is stored, with events among it that were not known."""
    as_of = BASE + later
    asked = asked_of("ab", [as_of - DAY, as_of - DAY // 2, as_of - 5 * STEP, as_of - 1, as_of])
    frame = payments.frame_of(rows)
    assert not payments.differences(
        payments.online(OWN, frame, asked, as_of), payments.expected(OWN, frame, asked, as_of)
    )


@pytest.mark.parametrize("nudge", [-1, 0, 1])
def test_every_edge_of_the_cut_lies_where_it_must(nudge: int) -> None:
    """Events at the beginning of the longest window, and older ones known about when the earliest question is asked."""
    oldest, edge = BASE - DAY, 31 * DAY // STEP
    old = [edge + 144 * days_before for days_before in (1, 2, 5, 9)]
    at_once = [(edge, 0), (edge, 0), (edge, -1), (edge, -1), (old[1], 0), (old[3], 0)]
    rows = [payment(i, "a", steps, back, -micros(OWN), i + 0.5) for i, (steps, back) in enumerate(at_once)]
    for number, steps in ((10, old[0]), (11, old[2])):
        lag = oldest + nudge - micros(OWN) - (BASE - steps * STEP)
        for user in "abb":
            rows.append(payment(10 * number + len(rows), user, steps, 0, lag, 2.0 * number))
    asked, frame = asked_of("ab", [oldest, oldest + 1, BASE]), payments.frame_of(rows)
    truth = payments.expected(OWN, frame, asked, BASE)
    assert not payments.differences(payments.online(OWN, frame, asked, BASE), truth)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(payments_of_years(), st.lists(st.sampled_from([0, 1, 2]), min_size=14, max_size=14), st.integers(0, 3))
def test_updates_know_when_each_event_was_known(rows: list[dict], parts: list[int], pace: int) -> None:
    """Rows come into the lake in three parts, whenever they are known; the state is brought up to date with each."""
    history, store, frame = History(OWN), MemoryStore(), payments.frame_of(rows)
    whose = pl.Series(parts[: frame.height], dtype=pl.Int64)
    files = [frame.filter(whose == part) for part in range(3)]
    for version in (1, 2, 3):
        history.add(*files[:version])
        as_of = BASE - (3 - version) * [1, STEP, 5 * HOUR, DAY][pace]
        history.materialize(store, version, as_of)
        asked = asked_of("ab", [as_of - DAY, as_of - 7 * HOUR, as_of - 5 * STEP, as_of - 1, as_of])
        truth = payments.expected(OWN, pl.concat(files[:version]), asked, as_of)
        assert not payments.differences(OnlineFeatures(history.pipeline, store).compute(requests(asked)), truth)


@pytest.mark.parametrize("seed", range(3))
def test_updates_of_many_entities_are_as_good_as_loads(seed: int) -> None:
    """Of values of all sizes, so that what is stored of some is laid out otherwise than that of others."""
    random = Random(seed)
    users = [f"u{i}" for i in range(8)]
    rows = [
        payment(
            i, random.choice(users), random.randrange(5_000 if i % 4 else 300), 0, random.choice(LAGS),
            random.choice([random.gauss(0, 9), float(i), 2.0 ** random.randrange(-300, 300), float("inf")]),
        )
        for i in range(900)
    ]  # fmt: skip
    frame, history, store = payments.frame_of(rows), History(OWN), MemoryStore()
    files = [frame[:800], frame[800:860], frame[860:]]
    for version in (1, 2, 3):
        history.add(*files[:version])
        as_of = BASE - (3 - version) * 3 * HOUR
        assert history.materialize(store, version, as_of).generation == 1
        agree(history, store, version, as_of)
        features = OnlineFeatures(history.pipeline, store)
        asked = payments.asked_frame([(user, 1, as_of - i * 89 * STEP // 60) for user in users for i in range(96)])
        found = features.compute(requests(asked))
        few = random.sample(range(asked.height), 48)
        alone = pl.concat(features.compute(requests(asked[place : place + 1])) for place in few)
        assert alone.equals(found[few])
        seen = pl.concat(files[:version])
        training = payments.offline(OWN, seen, asked, as_of)
        exact = [name for name in found.columns if not name.startswith("fad")]
        assert payments.bits(found.select(exact)).equals(payments.bits(training.select(exact)))


def test_only_questions_that_a_late_event_touches_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those about its own entity, from before it was known: others see all that is stored, and are answered at once."""
    came = BASE - STEP
    late = payment(1, "a", 5, 0, 4 * STEP - micros(OWN), 2.0)
    at_once = [payment(i, "ab"[i % 2], i, 0, -micros(OWN), 1.0) for i in range(2, 8)]
    features = stored([late, *at_once], BASE)
    touched: list[object] = []
    answers = early.answers
    monkeypatch.setattr(early, "answers", lambda *args: touched.append(args[2]) or answers(*args))
    for many in (1, 100):
        for user, q, early_ones in (
            ("b", came - 1, 0),
            ("b", BASE - 4 * STEP, 0),
            ("a", came, 0),
            ("nobody", came - 1, 0),
            ("a", came - 1, 1),
        ):
            # Many different ones are answered by arrays.
            times = [q - i if early_ones else q + i for i in range(many)]
            asked = asked_of(user if len(user) == 1 else "x", times)
            touched.clear()
            found = features.compute(requests(asked))
            assert len(touched) == early_ones * 2, (user, q)
            assert found.row(0) == payments.offline(OWN, payments.frame_of([late, *at_once]), asked, BASE).row(0)
    features.compute(requests(asked_of("ab", [came - 1, came] * 30)))
    assert set(touched[-1]) < set(features._seen._values), "only the entity that it is about"


def test_what_nothing_overtook_is_merely_not_seen_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are all known equally late, and a question before the last ones were: it is answered at once, too."""
    rows = [payment(i, "a", i, 0, 3 * STEP, 1.5 * i) for i in range(40)]
    asked = asked_of("a", [BASE - i * STEP // 2 for i in range(40)])
    truth = payments.expected(OWN, payments.frame_of(rows), asked, BASE)
    features = stored(rows, BASE)
    monkeypatch.setattr(early, "answers", None)
    found = pl.concat(features.compute(one) for one in requests(asked).iter_slices(1))
    assert found["tenure"].null_count() == 0
    assert found["sum_1h"].n_unique() > 1
    assert not payments.differences(found, truth)


@pytest.mark.parametrize("seed", range(2))
def test_dense_histories_are_seen_as_training_sees_them(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit, also where values are too many to tell all apart."""
    monkeypatch.setattr("raypipe.stats.distinct.EXACT_UP_TO", 5)
    monkeypatch.setattr("raypipe.stats.percentile.EXACT_UP_TO", 5)
    rows, _ = long_histories(seed, 600)
    random = Random(seed)
    asked = payments.asked_frame([("ab"[i % 2], 1, BASE - random.randrange(145) * STEP) for i in range(100)])
    found, training = payments.online(OWN, rows, asked, BASE), payments.offline(OWN, rows, asked, BASE)
    exact = [name for name in found.columns if not name.startswith("fad")]
    assert payments.bits(found.select(exact)).equals(payments.bits(training.select(exact)))
    assert payments.bits(payments.online(OWN, rows, asked[:8], BASE)).equals(payments.bits(found[:8]))


def test_rows_that_came_live_and_late_are_seen_from_when_they_came() -> None:
    """In a group with a delay, which all other rows have in common."""
    stream = Stream(
        "trips",
        csv("trips.csv"),
        id=["id"],
        time="start",
        columns={str: "id user", int: "n", datetime: "start"},
        delay=minutes(3),
        live=kafka("trips"),
        late_by=hours(1),
    )
    group = stream.by("user").features(
        trips=agg.count(hours(2)), last_n=agg.last("n"), tenure=agg.tenure(), mean_n=agg.mean("n", days(2))
    )
    random, compiled, start = Random(1), plan(group), datetime(2013, 3, 10, 7, tzinfo=UTC)
    rows = []
    for i in range(300):
        time, late = start - minutes(7 * random.randrange(700)), i % 3 == 0
        came = time + (minutes(random.randrange(61, 900)) if late else minutes(3))
        user = "ab"[i % 2]
        rows.append(
            {"id": str(i), "user": user, "n": i, "start": time, "event_time": time, "known_at": came, "late": late}
        )
    frame, as_of = pl.DataFrame(rows, schema=in_lake(stream)), micros(start)
    found = events.events(compiled, frame.lazy(), as_of).collect()
    values = dict(group_states(0, compiled, found, as_of))
    asks = [(user, as_of - i * STEP) for i in range(140) for user in "abx"]
    column, times = [keys.stored(0, [user]) for user, _ in asks], np.array([q for _, q in asks])
    seen = Seen([compiled])
    seen.add(list(dict.fromkeys(column)), [values.get(key) for key in dict.fromkeys(column)])
    many = list(zip(*(answer.plain() for answer in seen.answers(0, column, times)), strict=True))
    alone = [tuple(seen.rows(0, [question])[0]) for question in zip(column, times.tolist(), strict=True)]
    assert many == alone
    for (user, q), answer in zip(asks, many, strict=True):
        mine = sorted((micros(r["start"]), r["n"]) for r in rows if r["user"] == user and micros(r["known_at"]) <= q)
        assert answer[0] == sum(time >= (q - 2 * HOUR) // 60_000_000 * 60_000_000 for time, _ in mine), (user, q)
        times_of = [time for time, _ in mine]
        assert answer[2] == ((q - min(times_of)) / 1e6 if mine else None)
        if times_of.count(max(times_of, default=0)) == 1:
            assert answer[1] == mine[-1][1]
        lately = [n for time, n in mine if time >= (q - 48 * HOUR) // HOUR * HOUR]
        assert answer[3] == (sum(lately) / len(lately) if lately else None)


def test_of_another_entity_a_late_event_changes_nothing() -> None:
    rows = [payment(i, "a", 3 * i, 0, LAGS[i % 7], 1.5 * i) for i in range(60)]
    others = [payment(100 + i, "b", i, 0, LAGS[i % 11], 1.0) for i in range(50)]
    asked = requests(asked_of("a", [BASE - i * STEP for i in range(80)]))
    alone, beside = stored(rows, BASE), stored(rows + others, BASE)
    assert beside.materialized().oldest == alone.materialized().oldest == BASE - DAY
    assert beside.compute(asked).equals(alone.compute(asked))


def test_questions_are_answered_for_a_day_however_late_events_come() -> None:
    rows = [payment(i, "a", i, 0, micros(minutes(1)), 1.0) for i in range(200)]
    features = stored(rows, BASE)
    asked = asked_of("a", [BASE - DAY])
    truth = payments.expected(OWN, payments.frame_of(rows), asked, BASE)
    assert not payments.differences(features.compute(requests(asked)), truth)
    with pytest.raises(RequestError, match=r"^due: is older than the stored features, .* 2013-03-09T07:10:00Z"):
        features.compute(requests(asked_of("a", [BASE - DAY - 1])))
