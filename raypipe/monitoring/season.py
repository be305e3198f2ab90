"""What is usual at which hour, learned from a reference by the hour in the ticks that a plan makes of it."""

from collections.abc import Iterator

from raypipe.contracts.hours import Hourly
from raypipe.contracts.watched import Watched
from raypipe.monitoring.monitor import Plan
from raypipe.stats.seasonal import HOUR, Seasonal


def season(hourly: Hourly | None, watched: Watched, plan: Plan) -> Seasonal | None:
    """Learn it; None: there is no such reference, or too few of its days hold a tick."""
    if hourly is None:
        return None
    ends = list(_ends(hourly, plan))
    return Seasonal.fit(hourly.counts, hourly.at, ends, watched.is_category, plan.budget, is_tested=~watched.is_clock)


def _ends(hourly: Hourly, plan: Plan) -> Iterator[int]:
    """After how many hours each tick is closed, by the plan that closes those of what is served."""
    rows, opened = 0, int(hourly.at[0])
    for i, (at, more) in enumerate(zip(hourly.at.tolist(), hourly.counts[:, 0].sum(axis=1).tolist(), strict=True)):
        rows, over = rows + int(more), at + HOUR
        if plan.closes(rows, over - opened):
            yield i + 1
            rows, opened = 0, over
