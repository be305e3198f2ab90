"""Whether the newest events lie so far back that windows over them are empty for whoever asks now."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TypeAlias

import polars as pl

from raypipe.clock import to_second
from raypipe.contracts.records import Snapshot
from raypipe.spec import FeatureGroup, Pipeline, days, hours, in_words, minutes
from raypipe.spec.agg import Aggregate

Rows: TypeAlias = Callable[[Snapshot, Sequence[str]], pl.LazyFrame]
#: Features that are named.
_NAMED = 3


def stale(pipeline: Pipeline, snapshots: Mapping[str, Snapshot], read: Rows, as_of: int) -> Iterator[str]:
    """In words, for each stream whose newest event is older than some feature of it looks back.

    Args:
        pipeline: has the features.
        snapshots: by table name.
        read: gives columns of the rows of a snapshot.
        as_of: when they are asked, microseconds UTC.
    """
    now = datetime.fromtimestamp(as_of / 1e6, UTC)
    events = sorted(pipeline.groups, key=_events)
    for (stream, moment), groups in groupby(events, _events):
        back = {name: reach for name, reach in _reaches(groups) if reach is not None}
        at = pl.col(moment)
        past = read(snapshots[stream], [moment]).filter(at < now)
        # Most often somebody has been seen just now: then no more than that is read.
        if not back or past.filter(at >= now - min(back.values())).head(1).collect().height:
            continue
        newest: datetime | None = past.select(at.max()).collect().item()
        if newest is not None:
            empty = [name for name, reach in back.items() if newest < now - reach]
            yield f"{stream} by {moment}: {_words(now - newest, as_of, empty)}"


def _words(age: timedelta, as_of: int, empty: list[str]) -> str:
    unit = next((one for one in (days(1), hours(1)) if age >= 2 * one), minutes(1))
    more = f" and {len(empty) - _NAMED} more" if len(empty) > _NAMED else ""
    what = f"{', '.join(empty[:_NAMED])}{more} {'is' if len(empty) == 1 else 'are'} empty until newer ones come"
    return f"the newest event is {in_words(age // unit * unit)} before {to_second(as_of)}: {what}"


def _events(group: FeatureGroup) -> tuple[str, str]:
    return group.moment.stream.name, group.moment.at


def _reaches(groups: Iterator[FeatureGroup]) -> Iterator[tuple[str, timedelta | None]]:
    for group in groups:
        yield from ((name, _reach(one)) for name, one in group.features.items())


def _reach(one: Aggregate) -> timedelta | None:
    """How far back it sees at most; None: the whole past."""
    return one.max_age if one.window is None else one.window + one.tail
