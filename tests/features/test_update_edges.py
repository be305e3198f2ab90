"""What an update could get wrong of few events: their order at one moment, infinities, and how far back it reaches."""

from datetime import timedelta
from itertools import permutations
from math import inf, nan

import polars as pl
import pytest

from raypipe.contracts.records import Materialized
from raypipe.errors import RequestError
from raypipe.features import OnlineFeatures
from raypipe.spec import days, hours, minutes
from tests.features import payments
from tests.features.memory import MemoryStore
from tests.features.test_online import AS_OF, NOON, requests, some_events
from tests.features.test_update import DAY, History, agree

DELAYS = [timedelta(0), minutes(20), payments.EACH_ITS_OWN]


def paid(number: str, age: timedelta, amount: float, user: str = "u1") -> pl.DataFrame:
    row = {"id": number, "user": user, "shop": 1, "kind": number, "units": 1, "amount": amount, "refund": False}
    return payments.frame_of([{**row, "at": NOON - age, "out": NOON - age}])


def updated(history: History, store: MemoryStore, *files: pl.DataFrame) -> Materialized:
    """The next version, of these files; an update, which never loads anew."""
    version = history.add(*files)
    record = history.materialize(store, version, AS_OF + version)
    assert record.generation == 1
    return record


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_of_events_at_one_moment_ids_tell_the_order(delay: timedelta, order: tuple[int, ...]) -> None:
    history, store = History(delay), MemoryStore()
    rows = [paid(number, minutes(40), float(i)) for i, number in enumerate("abc")]
    files = [paid(str(i), hours(i), 1.0, "u2") for i in range(6)]
    for i in order:
        files.append(rows[i])
        updated(history, store, *files)
        agree(history, store, len(history.versions), AS_OF + len(history.versions))
    found = OnlineFeatures(history.pipeline, store).compute(requests(NOON + timedelta(minutes=1)))
    assert found.select("first_1h", "last_1h", "last_kind").row(0) == (0.0, 2.0, "c")


#: Amounts of 41 and 39 days ago, before every window; of 35 days, 6 and half an hour ago.
INFINITE = [
    (inf, 1.0, 3.0, 2.0, 5.0),
    (-inf, 1.0, 3.0, 2.0, inf),
    (1.0, inf, nan, 2.0, -1.0),
    (1.0, 2.0, 3.0, inf, 5.0),
    (inf, inf, -inf, 2.0, 5.0),
]


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("amounts", INFINITE, ids=str)
def test_an_infinity_never_fades(delay: timedelta, amounts: tuple[float, ...]) -> None:
    """All at once or update by update, in whatever order events come: training and serving say what the oracle says."""
    ages = [days(41), days(39), days(35), hours(6), minutes(30)]
    rows = [paid(f"p{i}", age, amount) for i, (age, amount) in enumerate(zip(ages, amounts, strict=True))]
    asked = payments.asked_frame([("u1", 1, AS_OF - DAY), ("u1", 1, AS_OF)])
    frame = pl.concat(rows)
    truth = payments.expected(delay, frame, asked, AS_OF)
    assert not payments.differences(payments.offline(delay, frame, asked, AS_OF), truth)
    assert not payments.differences(payments.online(delay, frame, asked, AS_OF), truth)
    for first in range(len(rows)):
        history, store = History(delay), MemoryStore()
        files = [paid(str(i), hours(i), 1.0, "u2") for i in range(10)]
        for row in [*rows[first:], *rows[:first]]:
            files.append(row)
            updated(history, store, *files)
        questions = requests(NOON - timedelta(days=1) + timedelta(microseconds=5), NOON + timedelta(microseconds=5))
        asked = payments.asked_frame([("u1", 1, AS_OF - DAY + 5), ("u1", 1, AS_OF + 5)])
        truth = payments.expected(delay, pl.concat(files), asked, AS_OF + 5)
        online = OnlineFeatures(history.pipeline, store)
        assert not payments.differences(online.compute(questions), truth)
        many = pl.concat([questions] * 100)  # more than are answered one by one
        assert not payments.differences(online.compute(many), truth * 100)


def test_an_update_answers_no_question_from_before_what_it_keeps() -> None:
    history, store = History(), MemoryStore()
    history.add(some_events(50))
    later = AS_OF + 7 * DAY
    assert [history.materialize(store, 1, as_of).oldest for as_of in (AS_OF, later)] == [AS_OF - DAY, later - DAY]
    online = OnlineFeatures(history.pipeline, store)
    assert online.compute(requests(NOON + timedelta(days=6))).height == 1
    with pytest.raises(RequestError, match=r"^due: is older than the stored features"):
        online.compute(requests(NOON + timedelta(days=6, microseconds=-1)))
