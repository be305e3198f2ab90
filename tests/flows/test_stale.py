"""Windows over events that ended long ago are empty, which is said when a model goes into service."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import polars as pl
import pytest

from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Deployment, Snapshot
from raypipe.flows import Run
from raypipe.flows.stale import stale
from tests.spec.rides import pipeline_of, planted

NEWEST = datetime(2013, 5, 6, tzinfo=UTC)
#: Windows of 3 hours and a day (and the minute that their edges are rounded by), and an age of a day.
SHORT, LONG = ["zone_fare"], ["zone_fare", "zone_last", "zone_median"]


SNAPSHOT = Snapshot(table="rides", snapshot_id=1, definition="", rows=4, added=0, repeated=0, files=())


def told(folder, later, moments=None, text=None):
    pipeline = pipeline_of(folder, *([text] if text else []))
    done = [NEWEST - timedelta(days=9), NEWEST, None, NEWEST + timedelta(days=40)] if moments is None else moments
    rows = pl.LazyFrame({"done_at": pl.Series(done, dtype=pl.Datetime("us", "UTC"))})
    as_of = int((NEWEST + later).timestamp() * 1e6)
    return list(stale(pipeline, {"rides": SNAPSHOT}, lambda _, columns: rows.select(columns), as_of))


@pytest.mark.parametrize(
    ("later", "age", "empty"),
    [
        (timedelta(minutes=1), "", []),
        (timedelta(hours=3, minutes=1), "", []),
        (timedelta(hours=3, minutes=2), "3 h", SHORT),
        (timedelta(hours=30), "30 h", LONG),
        (timedelta(days=8, hours=12), "8 d", LONG),
    ],
)
def test_features_that_look_back_less_far_than_the_newest_event_are_named(tmp_path, later, age, empty):
    moment = (NEWEST + later).strftime("%Y-%m-%dT%H:%M:%SZ")
    verb = "is" if len(empty) == 1 else "are"
    what = f"{', '.join(empty)} {verb} empty until newer ones come"
    said = f"rides by done_at: the newest event is {age} before {moment}: {what}"
    assert told(tmp_path, later) == [said][: len(empty)]


def test_many_are_counted_and_what_sees_the_whole_past_is_never_empty(tmp_path):
    more = "\n    ".join(f"more_{n}=agg.count(hours({n}))," for n in (1, 2))
    found = told(tmp_path, timedelta(days=9), text=planted(("zone_last=agg", f"{more}\n    zone_last=agg")))
    assert found[0].endswith("zone_fare, more_1, more_2 and 2 more are empty until newer ones come")


def test_where_nothing_has_happened_nothing_is_said(tmp_path):
    assert told(tmp_path, timedelta(days=9), moments=[None, NEWEST + timedelta(days=40)]) == []


def test_a_run_says_so_below_which_version_answers(tmp_path):
    frame = pl.LazyFrame({"done_at": [NEWEST]}, schema={"done_at": pl.Datetime("us", "UTC")})
    platform = SimpleNamespace(lake=SimpleNamespace(frame=lambda _, columns: frame.select(columns)))
    as_of = int((NEWEST + timedelta(days=9)).timestamp() * 1e6)
    run = Run(pipeline_of(tmp_path), tmp_path / "pipeline.py", platform, Silent(), as_of)
    deployment = Deployment(name="rides", version=2, digest="d", url="http://h", at=as_of)
    first, second = run._served((SNAPSHOT,), deployment).splitlines()
    assert first == "rides/2 answers at http://h"
    assert second.startswith("  rides by done_at: the newest event is 9 d before 2013-05-15")
