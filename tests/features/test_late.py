"""Rows that say when they were published: each question sees what was known, in training and in serving."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raypipe.features import events, gaps, late
from raypipe.features.plan import plan
from raypipe.spec import Stream, agg, csv, days, hours, kafka, minutes
from raypipe.spec.shape import in_lake
from tests.features import payments
from tests.features.oracle import EPOCH, micros
from tests.features.test_meaning import VALUES

OWN = payments.EACH_ITS_OWN
BASE = micros(datetime(2013, 3, 10, 7, tzinfo=UTC))
STEP = micros(minutes(10))
#: Published before it happened, at once, a moment later, after the next question, after all of them; not said.
LAGS = [-micros(hours(1)), 0, 1, STEP - micros(OWN), STEP, micros(hours(2)), micros(days(40)), None]


def payment(number: int, user: str | None, steps: int, nudge: int, lag: int | None, amount: float | None) -> dict:
    time = BASE - steps * STEP + nudge
    return {
        "id": str(number), "user": user, "shop": 1, "kind": "ab"[steps % 2], "units": steps, "amount": amount,
        "refund": steps % 3 == 0, "at": EPOCH + timedelta(microseconds=time),
        "out": None if lag is None else EPOCH + timedelta(microseconds=time + lag),
    }  # fmt: skip


@st.composite
def histories(draw: st.DrawFn) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows = [
        payment(
            number,
            draw(st.sampled_from(["a", "a", "a", "b", None])),
            draw(st.sampled_from([0, 0, 1, 1, 2, 6, 12, 13, 72, 144, 145, 432, 4320])),
            draw(st.sampled_from([-1, 0, 0, 1])),
            draw(st.sampled_from(LAGS)),
            draw(st.sampled_from(VALUES)),
        )
        for number in range(draw(st.integers(0, 16)))
    ]
    nudges = st.sampled_from([-1, 0, 0, 1, micros(OWN)])
    asks = [BASE - draw(st.sampled_from([0, 0, 1, 2, 12])) * STEP + draw(nudges) for _ in range(4)]
    return payments.frame_of(rows), payments.asked_frame([(draw(st.sampled_from("aab")), 1, q) for q in asks])


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(histories(), st.sampled_from([0, 1, STEP, micros(days(50))]), st.integers(0, 3))
def test_training_sees_what_was_known_then(history: tuple[pl.DataFrame, pl.DataFrame], later: int, order: int) -> None:
    rows, asked = history
    as_of = BASE + later
    truth = payments.expected(OWN, rows, asked, as_of)
    rows = rows.sample(fraction=1.0, shuffle=True, seed=order)
    assert not payments.differences(payments.offline(OWN, rows, asked, as_of), truth)


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(histories(), st.sampled_from([-STEP, -1, 0, 1, STEP, micros(hours(3)), micros(hours(20))]))
def test_serving_sees_what_was_known_then(history: tuple[pl.DataFrame, pl.DataFrame], later: int) -> None:
    """One by one, and among so many that they are answered by arrays; also from long before the state was made."""
    rows, asked = history
    as_of = asked["asked_at"].cast(pl.Int64).min() + later
    truth = payments.expected(OWN, rows, asked, as_of)
    online = payments.online(OWN, rows, asked, as_of)
    assert not payments.differences(online, truth)
    many = payments.online(OWN, rows, pl.concat([asked] * 80), as_of)
    exact = [name for name in online.columns if not name.startswith("fad")]
    training = payments.offline(OWN, rows, asked, as_of).select(exact)
    assert payments.bits(online.select(exact)).equals(payments.bits(training))
    assert payments.bits(many).equals(payments.bits(pl.concat([online] * 80)))


def test_rows_that_came_live_and_late_are_known_from_when_they_came() -> None:
    stream = Stream(
        "trips",
        csv("trips.csv"),
        id=["id"],
        time="start",
        columns={str: "id", int: "n", datetime: "start end"},
        reveals={"end": ["n"]},
        delay=minutes(1),
        live=kafka("trips"),
        late_by=hours(1),
    )
    group = stream.at("start").by("id").features(trips=agg.count(hours(2)))
    noon = datetime(2013, 1, 1, 12, tzinfo=UTC)
    shipped = {"id": "a", "n": 1, "start": noon, "end": noon + minutes(30), "event_time": noon}
    came = noon + hours(1)
    rows = pl.DataFrame(
        [
            shipped | {"known_at": noon + minutes(31), "late": False},
            shipped | {"known_at": noon + minutes(31), "late": True},  # from a file
            shipped | {"known_at": came, "late": True},
        ],
        schema=in_lake(stream),
    )
    known = rows.select(plan(group).known_at()).to_series().to_list()
    assert known == [micros(noon + minutes(1)), micros(noon + minutes(1)), micros(came)]
    asked = pl.DataFrame({"id": ["a"] * 3, "asked_at": [noon + minutes(1), came - timedelta(microseconds=1), came]})
    found = events.events(plan(group), rows.lazy(), micros(noon + days(1))).collect()
    times = asked["asked_at"].cast(pl.Int64).to_numpy()
    answers = late.answer(plan(group), found, asked.select(k0="id"), times)
    assert answers[0].values.tolist() == [2, 2, 3]


def test_many_keys_in_parts_and_in_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(5)
    users = [f"u{i}" for i in range(20)] + ["hot"] * 10
    rows = payments.frame_of(
        [
            payment(i, random.choice(users), random.randrange(4_400), 0, random.choice(LAGS), random.gauss(0, 9))
            for i in range(2_700)
        ]
    )
    asks = [(random.choice([*users, "nobody", None]), 1, BASE - random.randrange(4_000) * STEP) for _ in range(100)]
    asked, as_of = payments.asked_frame(asks), BASE + micros(days(50))
    whole = payments.offline(OWN, rows, asked, as_of)
    assert not payments.differences(whole.head(12), payments.expected(OWN, rows, asked.head(12), as_of))
    monkeypatch.setattr(gaps, "AT_ONCE", 700)
    assert payments.offline(OWN, rows, asked, as_of).equals(whole)
    for rows_at_once in (2_500, 900):
        assert payments.offline(OWN, rows, asked, as_of, rows_at_once).equals(whole)


def long_histories(seed: int, many: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events of two keys, some overtaken by many others, some by none, and questions between all of them."""
    random, lags = Random(seed), [0, 0, 1, micros(OWN), STEP, 5 * STEP, 100 * STEP, None]
    amounts = [1.5, 2.5, float("inf"), float("nan"), None, 1e300]
    rows = []
    for i in range(many):
        amount = random.choice(amounts) if i % 3 == 0 else random.gauss(0, 9)
        lag = lags[i % 8] if seed % 2 else random.choice(lags)
        rows.append(payment(i, "ab"[i % 5 == 0], random.randrange(600), random.choice([0, 0, 0, 1]), lag, amount))
    asks = [("ab"[i % 3 == 0], 1, BASE - random.randrange(-60, 620) * STEP + random.choice([0, 1])) for i in range(80)]
    return payments.frame_of(rows), payments.asked_frame(asks)


@pytest.mark.parametrize("seed", range(4))
def test_what_was_not_known_is_as_if_it_had_never_been(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit, in every kind of feature, and where values are too many to tell all apart."""
    monkeypatch.setattr("raypipe.stats.distinct.EXACT_UP_TO", 5)
    monkeypatch.setattr("raypipe.stats.percentile.EXACT_UP_TO", 5)
    rows, asked = long_histories(seed, 500)
    as_of, known = BASE + micros(days(50)), plan(payments.groups(payments.payments(OWN))[0]).known_at()
    whole = payments.offline(OWN, rows, asked, as_of)
    gone = 0
    for place, q in enumerate(asked["asked_at"].cast(pl.Int64)):
        seen = rows.filter(known <= q)
        gone += rows.filter(pl.col("at").cast(pl.Int64) < q).height - seen.height
        assert payments.offline(OWN, seen, asked[place : place + 1], as_of).equals(whole[place : place + 1])
    assert gone > 400


def test_late_events_cost_what_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what their windows hold: events that are late but overtaken by none cost nothing more."""
    held: list[int] = []
    work = gaps.answers

    def counted(*args: Any) -> Any:
        held.append(len(args[3].places))
        return work(*args)

    monkeypatch.setattr(gaps, "answers", counted)
    random = Random(3)
    lags = {"all alike": lambda _: 3 * STEP, "some": lambda i: 40 * STEP if i % 50 == 0 else 0}
    for name, lag in lags.items():
        rows = payments.frame_of([payment(i, "a", i, 0, lag(i), 1.0) for i in range(4_000)])
        asks = [("a", 1, BASE - random.randrange(4_000) * STEP) for _ in range(2_000)]
        held.clear()
        whole = payments.offline(OWN, rows, payments.asked_frame(asks), BASE + micros(days(50)))
        assert whole["sum_30d"].n_unique() > 1
        # A question sees 4,000 events, of which 40 steps hold one that is late or none.
        assert sum(held) <= (0 if name == "all alike" else 2 * 2 * 2_000), name


def test_what_becomes_known_later_changes_nothing() -> None:
    """A leak canary, and the promise that a training set rebuilt after late rows came in is the same."""
    rows = payments.frame_of([payment(i, "a", i % 50, 0, LAGS[i % 7], 1.5 * i) for i in range(200)])
    asked = payments.asked_frame([("a", 1, BASE - i * STEP) for i in range(20)])
    as_of = BASE + micros(days(1))
    built = payments.offline(OWN, rows, asked, as_of)
    unknown = pl.col("out").cast(pl.Int64) + micros(OWN) > as_of
    assert rows.filter(unknown).height > 10
    assert payments.offline(OWN, rows.filter(~unknown), asked, as_of).equals(built)
    changed = rows.with_columns(pl.when(unknown).then(-1.0).otherwise("amount").alias("amount"))
    assert payments.offline(OWN, changed, asked, as_of).equals(built)


def test_a_correction_is_no_event_and_the_first_that_was_known_counts() -> None:
    first, second = payment(1, "a", 5, 0, 0, 2.0), payment(1, "a", 6, 0, micros(hours(1)), 99.0)
    asked = payments.asked_frame([("a", 1, BASE + micros(hours(3)))])
    alone = payments.offline(OWN, payments.frame_of([first]), asked, BASE + micros(days(1)))
    for rows in ([first, second], [second, first]):
        assert payments.offline(OWN, payments.frame_of(rows), asked, BASE + micros(days(1))).equals(alone)
        assert payments.online(OWN, payments.frame_of(rows), asked, BASE + micros(hours(2))).equals(alone)
