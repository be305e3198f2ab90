"""A short form of `make bench-ingest_kills`: ingestion is killed again and again, and nothing is lost or doubled."""

from pathlib import Path

from benchmarks.ingest_kills.campaign import campaign, windows


def test_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    found = campaign(tmp_path, kills=6, a_lake=6)
    assert (found["lost"], found["doubled"]) == (0, 0)
    assert found["kills"] == 6
    assert found["races"] > 0


def test_with_pyicebergs_own_retry_rows_are_doubled(tmp_path: Path) -> None:
    """What the other test would see if a lost commit were tried again instead of looked at."""
    found = campaign(tmp_path, kills=4, a_lake=4, retry=True)
    assert found["races"] > 0
    assert found["lost"] + found["doubled"] > 0


def test_every_window_is_among_them() -> None:
    assert {"ingest.after_commit", "live.before_commit", "quarantine.after_rows", "upkeep.after_expiry"} < {*windows()}
