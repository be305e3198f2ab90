"""A short form of `make bench-ingest_kills`: ingestion is killed again and again, and nothing is lost or doubled."""

from collections import Counter
from pathlib import Path

import pytest
import ray

from benchmarks.ingest_kills.campaign import Way, campaign, windows
from benchmarks.ingest_kills.ways import s3
from tests.processes import processes_with

processes_with("benchmarks.ingest_kills.campaign")  # as its own wish is lost where other tests have theirs


def test_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    found = campaign(tmp_path, kills=6, a_lake=6)
    assert (found["lost"], found["doubled"], found["marked otherwise"]) == (0, 0, 0)
    assert (found["kills"], found["stops"]) == (6, 1)
    assert found["races"] > 0


@pytest.mark.parametrize(
    "way",
    [Way(follow=True), Way(database=True), Way(follow=True, database=True)],
    ids=["following a log", "reading a database", "following a database"],
)
def test_nor_by_those_who_take_in_otherwise(tmp_path: Path, way: Way) -> None:
    still_right(campaign(tmp_path, kills=5, a_lake=5, way=way))


def test_nor_where_files_lie_in_s3(tmp_path: Path) -> None:
    with s3() as way:
        still_right(campaign(tmp_path, kills=3, a_lake=3, way=way))


@pytest.mark.usefixtures("ray_local")
def test_nor_where_the_cluster_reads(tmp_path: Path) -> None:
    way = Way(ray=ray.get_runtime_context().gcs_address)
    still_right(campaign(tmp_path, kills=2, a_lake=2, way=way))


def still_right(found: Counter[str]) -> None:
    assert (found["lost"], found["doubled"], found["marked otherwise"], found["stops"]) == (0, 0, 0, 1)
    assert found["kills"] >= 2


def test_with_pyicebergs_own_retry_rows_are_doubled(tmp_path: Path) -> None:
    """What the other test would see if a lost commit were tried again instead of looked at."""
    found = campaign(tmp_path, kills=4, a_lake=4, retry=True)
    assert found["races"] > 0
    assert found["lost"] + found["doubled"] > 0


def test_every_window_is_among_them() -> None:
    assert {"ingest.after_commit", "live.before_commit", "quarantine.after_rows", "upkeep.after_expiry"} < {*windows()}
