"""One clock, in microseconds UTC."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from raypipe.clock import ManualClock, SystemClock, iso

moments = st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1))  # noqa: DTZ001  # made aware below


@given(moments)
def test_iso_says_what_datetime_says(moment: datetime) -> None:
    aware = moment.replace(tzinfo=UTC)
    microseconds = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert datetime.fromisoformat(iso(microseconds)) == aware
    assert iso(microseconds).endswith("Z")


def test_the_system_clock_is_the_machines(tmp_path: Path) -> None:
    """Oracle: the file system stamps by the same clock, at the kernel's tick."""
    before = SystemClock().now()
    (tmp_path / "stamped").touch()
    stamped = (tmp_path / "stamped").stat().st_mtime_ns // 1_000
    assert before - 100_000 <= stamped <= SystemClock().now() + 100_000


def test_a_manual_clock_may_step_back() -> None:
    clock = ManualClock(100)
    clock.advance(-30)
    assert clock.now() == 70
