"""What a clock on the wall says at a time, by the time zones that Polars has: no second list that could differ."""

from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import cache

import numpy as np
import polars as pl

from raypipe.stats.arrays import Ints

HOUR, DAY = 3_600_000_000, 86_400_000_000
#: No zone changes its clocks twice within so long.
_STEP = 6 * HOUR
_EPOCH = date(1970, 1, 1).toordinal()
FIRST, LAST = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000 for year in (1970, 2100))


@cache
def offsets(zone: str) -> Callable[[int], int]:
    """How far a zone's clocks are ahead of UTC at a time, both in microseconds.

    The function that comes back raises ValueError for times before 1970 and from 2100 on.

    >>> offsets("America/New_York")(0) // HOUR
    -5
    """
    grid = np.arange(FIRST, LAST + 1, _STEP)
    ahead = _ahead(zone, grid)
    changes = np.flatnonzero(np.diff(ahead))
    low, high = grid[changes], grid[changes + 1]
    while len(low) and (high - low).max() > 1:
        middle = (low + high) // 2
        before = _ahead(zone, middle) == ahead[changes]
        low, high = np.where(before, middle, low), np.where(before, high, middle)
    times: list[int] = high.tolist()
    steps: list[int] = [int(ahead[0]), *ahead[changes + 1].tolist()]

    def offset(time: int) -> int:
        if not FIRST <= time < LAST:
            raise ValueError(time)
        return steps[bisect_right(times, time)]

    return offset


def _ahead(zone: str, times: Ints) -> Ints:
    there = pl.Series(times).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(zone)
    both = there.dt.base_utc_offset() + there.dt.dst_offset()
    found: Ints = both.dt.total_microseconds().to_numpy()
    return found


def _day(local: int) -> date:
    return date.fromordinal(_EPOCH + local // DAY)


#: Parts of a local time in microseconds, by the names that Polars gives them.
parts: dict[str, Callable[[int], int]] = {
    "Date": lambda local: local // DAY,
    "Hour": lambda local: local // HOUR % 24,
    "Minute": lambda local: local // 60_000_000 % 60,
    "Second": lambda local: local // 1_000_000 % 60,
    "WeekDay": lambda local: (local // DAY + 3) % 7 + 1,
    "OrdinalDay": lambda local: _day(local).timetuple().tm_yday,
    "Day": lambda local: _day(local).day,
    "Month": lambda local: _day(local).month,
    "Year": lambda local: _day(local).year,
}
