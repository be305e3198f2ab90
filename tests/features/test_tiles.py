"""Events may be added up where they are read: what questions see is the same to the bit, and far less is sent."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from raypipe.features import events, spread, tiles
from raypipe.features.plan import GroupPlan, plan
from raypipe.features.training_set import group_features
from raypipe.spec import FeatureGroup, agg, days, hours, minutes, seconds
from tests.features import payments
from tests.features.histories import AS_OF, history

TAILS = {"grid": None, "exact": seconds(0)}


def sums(delay: timedelta, tail: timedelta | None) -> FeatureGroup:
    """All that tiles can tell, of values with nulls, infinities and texts among them."""
    rate = pl.col("amount") * 1e10  # too large now and then
    made = {
        f"{op}_{span}": getattr(agg, op)(value, span, tail=tail)
        for op, value in (("sum", "amount"), ("mean", rate), ("std", "units"), ("min", "amount"), ("max", "amount"))
        for span in (hours(3), days(9))
    }
    counts = {"count": agg.count(days(2), tail=tail), "kinds": agg.count(days(2), "kind", tail=tail)}
    counts |= {f"different_{of}": agg.distinct(of, days(4), tail=tail) for of in ("kind", "units", "amount")}
    # The latest payment of which something is known is often not the latest of its tile.
    ages = {"since": agg.since(max_age=days(1)), "tenure": agg.tenure()}
    return payments.payments(delay).by("user").features(**made, **counts, **ages)


def through_blocks(plan: GroupPlan, rows: pl.DataFrame, asked: pl.DataFrame, size: int) -> tuple[pl.DataFrame, int]:
    """What the cluster does, block by block; and how many rows it sends around."""
    keys = asked.select(pl.col(name).alias(f"k{i}") for i, name in enumerate(plan.group.asked))
    times = asked["asked_at"].cast(pl.Int64).to_numpy()
    cut = tiles.cells(plan, keys, times, rows.height)
    kinds = spread._kinds(plan, cut)
    found = [events.events(plan, part.lazy(), AS_OF).collect() for part in rows.reverse().iter_slices(size)]
    blocks = [spread._arrow(spread._placed(plan, one, cut, 1), kinds) for one in found]
    number = pl.int_range(asked.height, dtype=pl.Int64).alias(spread.ROW)
    asks = keys.with_columns(number, pl.lit(0, pl.Int64).alias(spread.PART), pl.Series(events.TIME, times))
    together = pl.concat([pl.DataFrame(one) for one in [*blocks, spread._arrow(asks, kinds)]])
    made = pl.DataFrame(spread._features(plan, together, of_tiles=cut is not None))
    return made.sort(spread.ROW).drop(spread.ROW), together.height - asked.height


@pytest.mark.parametrize("tail", TAILS)
def test_tiles_of_any_blocks_give_the_same_bytes(tail: str) -> None:
    rows, asked = history(8, 6_000, 60)
    one = plan(sums(minutes(20), TAILS[tail]))
    whole = pl.DataFrame(group_features(one, payments.tables_of(minutes(20), rows), asked, AS_OF))
    assert whole.null_count().sum_horizontal().item() < whole.height * whole.width / 2
    (found, sent), (other, more) = (through_blocks(one, rows, asked, size) for size in (2_000, 700))
    assert found.equals(whole)
    assert other.equals(whole)
    assert sent < more < rows.height / 2


@pytest.mark.parametrize("delay", [minutes(20), payments.EACH_ITS_OWN])
def test_events_of_any_blocks_give_the_same_bytes(delay: timedelta) -> None:
    rows, asked = history(6, 3_000, 400)
    late = pl.col("at") + pl.duration(minutes=pl.col("units") * 7)
    rows = rows.with_columns(out=pl.when(pl.col("units") > 0).then(late))
    for group in payments.groups(payments.payments(delay)):
        one = plan(group)
        whole = pl.DataFrame(group_features(one, payments.tables_of(delay, rows), asked, AS_OF))
        assert through_blocks(one, rows, asked, 1_000)[0].equals(whole)


def test_where_tiles_save_nothing_or_cannot_tell_events_are_sent() -> None:
    _, asked = history(9, 10, 50)
    keys, times = asked.select(k0="user"), asked["asked_at"].cast(pl.Int64).to_numpy()

    def possible(group: FeatureGroup, events: int = 10**6) -> bool:
        return tiles.cells(plan(group), keys, times, events) is not None

    stream = payments.payments(minutes(0))
    assert possible(sums(minutes(0), None))
    assert not possible(sums(minutes(0), None), events=300)
    assert not possible(sums(payments.EACH_ITS_OWN, None))
    for more in (agg.last("amount"), agg.percentile("amount", 0.9, days(1)), agg.decayed_count(half_life=days(1))):
        assert not possible(stream.by("user").features(count=agg.count(days(1)), more=more))


def test_a_tail_on_a_grid_is_shared_by_the_questions_of_an_hour() -> None:
    times = np.arange(0, 6 * 3_600_000_000, 60_000_000, dtype=np.int64)
    keys = pl.DataFrame({"k0": ["u"] * len(times)})
    grid, exact = (tiles.cells(plan(sums(minutes(0), tail)), keys, times, 10**6) for tail in (hours(1), seconds(0)))
    assert grid is not None
    assert exact is not None
    assert len(grid.edges) < len(exact.edges) / 2
