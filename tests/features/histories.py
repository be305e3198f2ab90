"""A made-up history for the tests of ways: many keys, one of them hot; times that often meet."""

from datetime import UTC, datetime, timedelta
from random import Random

import polars as pl

from raypipe.spec import days
from tests.features import payments
from tests.features.oracle import EPOCH, micros

START = micros(datetime(2013, 1, 1, tzinfo=UTC))
DAY = micros(days(1))
AS_OF = START + 40 * DAY


def history(seed: int, events: int, questions: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events, and questions about them."""
    random = Random(seed)
    users = [f"u{i}" for i in range(40)] + ["hot"] * 20 + [None]
    span = AS_OF - START
    rows = [
        {
            "id": f"{i:05}",
            "user": random.choice(users),
            "shop": random.choice([1, 2, 3]),
            "kind": random.choice("abc"),
            "units": random.randrange(9),
            "amount": random.choice([None, random.gauss(0, 100), 0.1, 1e300]),
            "refund": random.random() < 0.3,
            "at": EPOCH + timedelta(microseconds=START + random.randrange(span) // 60_000_000 * 60_000_000),
        }
        for i in range(events)
    ]
    shops = [1, 2, 9, None]
    asked = [(random.choice(users), random.choice(shops), START + random.randrange(span)) for _ in range(questions)]
    return payments.frame_of(rows), payments.asked_frame(asked)
