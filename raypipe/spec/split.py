"""Which rows are learned from, which are chosen on, and which are judged on once."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from raypipe.errors import DefinitionError, Fault
from raypipe.spec.values import place, written_at

#: The parts of every split, in the order in which they are used.
PARTS = ("train", "tune", "holdout")


@dataclass(frozen=True)
class Periods:
    """Split by time: fit on ``train``, choose on ``tune``, judge once on ``holdout``; each from a start to an end.

    A prediction belongs to the period in which it is asked.

    Attributes:
        train, tune, holdout: start and end of each.
        folds: more than one: walk forward. ``tune`` is cut into so many parts of equal length; a trial forecasts each
            by a model fitted on everything that was settled before it, and its metric is the mean over them.
        apart: a column of the asked stream of which no value is in two periods, such as the customer: rows whose value
            an earlier period has are left out and counted. Empty: values may come again.
    """

    train: tuple[datetime, datetime]
    tune: tuple[datetime, datetime]
    holdout: tuple[datetime, datetime]
    folds: int = 1
    apart: str = ""
    where: str = place()

    def items(self) -> Iterator[tuple[str, tuple[datetime, datetime]]]:
        """Name, start and end of each period, in order of time."""
        return iter((("train", self.train), ("tune", self.tune), ("holdout", self.holdout)))

    @property
    def fold_starts(self) -> tuple[datetime, ...]:
        """Where each part of the tuning period begins."""
        start, end = self.tune
        return tuple(start + (end - start) * i / self.folds for i in range(self.folds))


@dataclass(frozen=True)
class Shares:
    """Split rows that have no time at random, by a hash of their key: the same row is always in the same part.

    Attributes:
        train, tune, holdout: how many of a hundred rows are in each.
        together: a column whose values are never torn apart, such as the patient: all its rows are in one part.
        seed: another one is another split.
    """

    train: float
    tune: float
    holdout: float
    together: str = ""
    seed: int = 0
    where: str = place()


Split: TypeAlias = Periods | Shares


def periods(
    *, train: str, tune: str, holdout: str, zone: str = "UTC", walk_forward: int = 1, apart: str = ""
) -> Periods:
    """Periods from texts such as ``2013-05``, ``2013-01..2013-04`` or ``2013-05-01..2013-05-14``, both ends included.

    Args:
        train: what to learn from.
        tune: what to choose on.
        holdout: what to judge on, once.
        zone: whose days these are.
        walk_forward: see `Periods.folds`.
        apart: see `Periods.apart`.

    >>> periods(train="2013-01..2013-04", tune="2013-05", holdout="2013-06").tune[1].isoformat()
    '2013-06-01T00:00:00+00:00'
    """
    _require_zone(zone)
    return Periods(_period(train, zone), _period(tune, zone), _period(holdout, zone), walk_forward, apart)


def shares(*, train: float = 70, tune: float = 20, holdout: float = 10, together: str = "", seed: int = 0) -> Shares:
    """A random split, of data without time only: see `Shares`.

    >>> shares(together="patient").train
    70
    """
    return Shares(train, tune, holdout, together, seed)


def _period(text: str, zone: str) -> tuple[datetime, datetime]:
    first, _, last = text.partition("..")
    try:
        return _edges(first, zone)[0], _edges(last or first, zone)[1]
    except ValueError:
        cure = "Write it as `2013-05`, `2013-01..2013-04` or `2013-05-01..2013-05-14`"
        raise DefinitionError([Fault(written_at(), f"`{text}` is not a period", cure)]) from None


def _require_zone(zone: str) -> None:
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, ZoneInfoNotFoundError):  # a folder of zones, such as `Europe`, cannot be opened
        cure = "Write it as `Europe/Paris` or `UTC`"
        raise DefinitionError([Fault(written_at(), f"`{zone}` is not a time zone", cure)]) from None


def _edges(text: str, zone: str) -> tuple[datetime, datetime]:
    whole_month = text.count("-") == 1
    start = date.fromisoformat(f"{text}-01" if whole_month else text)
    end = (start.replace(day=28) + timedelta(days=4)).replace(day=1) if whole_month else start + timedelta(days=1)
    at = [datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC) for day in (start, end)]
    return at[0], at[1]
