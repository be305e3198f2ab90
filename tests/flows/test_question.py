"""The question that is shown as an example is one that the service answers."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import polars as pl

from raypipe.contracts.records import Snapshot
from raypipe.flows.platform import Platform
from raypipe.flows.question import question
from tests.spec.rides import pipeline_of

NOON = datetime(2013, 5, 1, 12, tzinfo=UTC)
ROWS = pl.DataFrame(
    {
        "ride": ["a", "b", "c"],
        "zone": ["x", "y", "z"],
        "driver": ["1", "2", None],
        "asked_at": [NOON.replace(hour=11), NOON.replace(hour=13), NOON.replace(hour=14)],
    }
)


def ask(folder: Path, as_of: datetime) -> dict[str, object]:
    lake = SimpleNamespace(frame=lambda _, columns: ROWS.lazy().select(columns))
    platform = cast(Platform, SimpleNamespace(lake=lake))
    snapshot = cast(Snapshot, SimpleNamespace(table="rides"))
    return question(platform, pipeline_of(folder), [snapshot], int(as_of.timestamp() * 1e6))


def test_it_is_about_the_first_row_that_is_still_to_come(tmp_path: Path) -> None:
    assert ask(tmp_path, NOON) == {"ride": "b", "zone": "y", "driver": "2", "asked_at": NOON.replace(hour=13)}


def test_where_none_is_to_come_it_is_about_the_newest_at_the_end_of_what_is_known(tmp_path: Path) -> None:
    later = NOON.replace(hour=20)
    assert ask(tmp_path, later) == {"ride": "b", "zone": "y", "driver": "2", "asked_at": later}
