"""What was usual while a model was watched: how much is asked at which hour, and what columns are alike for how long.

A break keeps a model from being trained, so that it is better to miss one than to see one in a holiday or in a night:
nothing is said before a week has been seen, and only what is far beyond all that there ever was at that time of day.
"""

import msgspec
import numpy as np

from raypipe.stats.arrays import Ints
from raypipe.stats.bins import ABOVE, FIRST
from raypipe.stats.seasonal import HOUR

#: Hours that must have been seen, and that are remembered.
_WEEK, _KEPT = 7 * 24, 28 * 24
#: So many times less, or more, than there ever was is no season.
_TIMES = 10
#: Fewer rows say nothing: neither of what should have come nor of what is usual.
_LEAST = 100
#: Ticks of more hours than that say nothing of a time of day.
_LONGEST = 48


class Usual(msgspec.Struct):
    """Of fixed size, however long it goes on.

    Attributes:
        began: the hour in which watching began, counted from 1970; -1: it has not.
        hours: rows by the hour, of the newest four weeks.
        largest: of each column the largest share of a tick that one value ever had.
        held: of each column the cell that all rows of a tick were in when that happened last; -1: it never did.
        slow: columns that were the same for a tick, and then another one: a calendar, not a fault.
    """

    began: int = -1
    hours: dict[int, float] = {}
    largest: list[float] = []
    held: list[int] = []
    slow: set[int] = set()

    @property
    def acquainted(self) -> bool:
        """Whether a week has been seen."""
        return bool(self.hours) and max(self.hours) - self.began >= _WEEK

    def volume(self, rows: int, start: int, end: int) -> str | None:
        """What is wrong with the number of rows from ``start`` to ``end`` (microseconds UTC), in words; None: nothing.

        Too few are told by the same hours of all days that are remembered and those beside them, too many by any hour.
        """
        first, last = start // HOUR, (end - 1) // HOUR
        if self.began < 0 or first - self.began < _WEEK or not 0 <= last - first < _LONGEST:
            return None
        least = 0.0
        for hour in range(first, last + 1):
            part = (min(end, (hour + 1) * HOUR) - max(start, hour * HOUR)) / HOUR
            same = (near - day for day in range(24, _KEPT + 1, 24) for near in (hour - 1, hour, hour + 1))
            least += part * min((self.hours.get(one, 0.0) for one in same if self.began < one < first), default=0.0)
        most = max(self.hours.values()) * max((end - start) / HOUR, 1.0)
        if least >= _LEAST and rows * _TIMES < least:
            return f"volume: {rows:,} rows, where {least:,.0f} were the fewest at that time of day"
        if rows > max(most, _LEAST) * _TIMES:
            return f"volume: {rows:,} rows, where {most:,.0f} were the most in such a time"
        return None

    def count(self, rows: int, start: int, end: int) -> None:
        """Remember the rows of a tick, as if they had come evenly."""
        first, last = start // HOUR, max(end - 1, start) // HOUR
        if self.began < 0:
            self.began = first if last - first < _LONGEST else last
        for hour in range(max(first, last - _KEPT), last + 1):
            part = (min(end, (hour + 1) * HOUR) - max(start, hour * HOUR)) / max(end - start, 1)
            self.hours[hour] = self.hours.get(hour, 0.0) + rows * (part if end > start else 1.0)
        self.hours = {hour: count for hour, count in self.hours.items() if hour > last - _KEPT - 2}

    def see(self, window: Ints, stuck: set[int]) -> None:
        """Remember how alike the values of a tick were, but of columns that are said to be stuck.

        Args:
            window: counts of the tick, shape (columns, cells).
            stuck: those columns.
        """
        own, rows = window[:, FIRST:ABOVE], int(window[-1].sum())
        if rows < _LEAST:
            return
        most = own.max(axis=1)
        largest, held = self.largest or [0.0] * len(own), self.held or [-1] * len(own)
        self.largest = np.maximum(largest, np.where(np.isin(np.arange(len(own)), list(stuck)), 0, most / rows)).tolist()
        for i in np.flatnonzero(most == rows).tolist():
            cell = int(own[i].argmax())
            if held[i] not in (-1, cell):
                self.slow = self.slow | {i}
            held[i] = cell
        self.held = held
