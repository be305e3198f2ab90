"""Sums that were added up in another order are no skew; whatever is further off is one."""

import random
from datetime import timedelta

import polars as pl
import pytest

from raypipe.features import OnlineFeatures
from raypipe.features.parity import differing, from_used, replayed, sizes
from raypipe.features.reading import Tables
from raypipe.spec import derived
from tests.features import payments
from tests.features.memory import MemoryStore
from tests.features.test_online import AS_OF, NOON
from tests.features.test_update import History

HALF_HOUR = 1_800_000_000
RATIO = derived(ratio=pl.col("fading") / pl.col("faded_count"))


def charges_and_refunds(seed: int) -> pl.DataFrame:
    """Everything that is paid is paid back, so that what fades is next to nothing of what was added."""
    rng, rows = random.Random(seed), []
    for i in range(60):
        at = NOON - timedelta(hours=30, minutes=-20 * i, microseconds=rng.randrange(10**6))
        amount, same = round(rng.uniform(1, 500), 2), {"user": "u1", "shop": 1, "kind": "a", "units": 1}
        rows.append(same | {"id": f"a{i}", "amount": amount, "refund": False, "at": at})
        later = at + timedelta(microseconds=rng.choice([0, 0, 1]))
        rows.append(same | {"id": f"b{i}", "amount": -amount, "refund": True, "at": later})
    return payments.frame_of(rows)


def told(seed: int) -> tuple[Tables, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Tables, requests, what serving says after two updates, and what history says."""
    rng, rows = random.Random(seed), charges_and_refunds(seed)
    history, store = History(timedelta(0), RATIO), MemoryStore()
    first, second = sorted(rng.sample(range(61, 119), 2))
    history.add(rows[:first])
    history.add(history.versions[0][0], rows[first:second])
    history.add(*history.versions[1], rows[second:])
    for version in (1, 2, 3):
        history.materialize(store, version, AS_OF + version)
    asked = payments.asked_frame([("u1", 1, AS_OF + 3 - place * HALF_HOUR) for place in range(20)])
    requests = asked.select("user", (pl.col("asked_at") + payments.LEAD).alias("due"), "shop")
    tables = Tables(history.pipeline, history.snapshots(3), history.read)
    used = OnlineFeatures(history.pipeline, store).compute(requests)
    return tables, requests, used, replayed(tables, requests, AS_OF + 3)


def wrong(
    tables: Tables, requests: pl.DataFrame, used: pl.DataFrame, expected: pl.DataFrame, size: pl.DataFrame | None
) -> list[str]:
    found = differing(tables.pipeline, used, from_used(tables.pipeline, requests, used, expected), size)
    return [name for name in found.columns if found[name].any()]


def test_what_cancels_is_judged_by_what_was_added() -> None:
    for seed in (8, 12, 15, 22):
        tables, requests, used, expected = told(seed)
        assert wrong(tables, requests, used, expected, None) == ["fading", "faded_mean"], "this history shows nothing"
        assert wrong(tables, requests, used, expected, sizes(tables, requests, AS_OF + 3)) == []


ODD = [None, float("nan"), float("inf"), float("-inf"), 0.0, -0.0]


@pytest.mark.parametrize("name", ["max_3d", "last_amount", "sum_1h", "fading"])
def test_nothing_no_number_and_infinities_are_told_apart(name: str) -> None:
    """A tree or a network answers each of them with something else."""
    pairs = [(used, expected) for used in [*ODD, 1.5] for expected in [*ODD, 1.5]]
    used, expected = (pl.DataFrame({name: side}, schema={name: pl.Float64}) for side in zip(*pairs, strict=True))
    found = differing(payments.pipeline(timedelta(0)), used, expected)[name].to_list()
    one_zero = name in ("sum_1h", "fading")  # 0.0 and -0.0 are nearly the same
    zeros = {repr(0.0): repr(0.0), repr(-0.0): repr(0.0)} if one_zero else {}
    same = [zeros.get(repr(a), repr(a)) == zeros.get(repr(b), repr(b)) for a, b in pairs]
    assert found == [not one for one in same]


@pytest.mark.parametrize("name", ["fading", "faded_mean", "faded_count", "std_1h", "ratio"])
def test_a_share_of_a_hundred_millionth_of_what_was_added_is_a_skew(name: str) -> None:
    tables, requests, used, expected = told(0)
    size = sizes(tables, requests, AS_OF + 3)
    by = size[name] if name in size.columns else expected[name].abs()
    for times, skewed in ((1e-8, [name]), (1e-12, [])):
        off = used.with_columns((pl.col(name) + times * by).alias(name))
        if name != "ratio":
            off = off.with_columns(ratio=pl.col("fading") / pl.col("faded_count"))
        # What is made of a sum that is off is made right.
        assert wrong(tables, requests, off, expected, size) == skewed
