"""When a new version takes over."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.registry import should_promote

numbers = st.floats(-1e6, 1e6)


@pytest.mark.parametrize(
    ("new", "champion", "higher", "margin", "expected"),
    [
        (0.75, 0.75, True, 0.0, True),
        (0.75, 0.75, False, 0.0, True),
        (0.7499, 0.75, True, 0.0, False),
        (0.76, 0.75, False, 0.0, False),
        (0.77, 0.75, True, 0.01, True),
        (0.755, 0.75, True, 0.01, False),
        (0.43, 0.45, False, 0.01, True),
        (0.445, 0.45, False, 0.01, False),
        (0.74, 0.75, True, -0.05, True),
        (0.1, None, True, 0.5, True),
        (math.nan, None, True, 0.0, False),
        (math.nan, 0.5, False, 0.0, False),
        (0.1, math.nan, True, 0.0, True),
    ],
)
def test_by_hand(new: float, champion: float | None, higher: bool, margin: float, expected: bool) -> None:
    assert should_promote(new, champion, higher, margin) is expected


@given(numbers, numbers, st.booleans(), st.floats(0, 10))
def test_more_and_less_are_mirror_images(new: float, champion: float, higher: bool, margin: float) -> None:
    assert should_promote(new, champion, higher, margin) == should_promote(-new, -champion, not higher, margin)


@given(numbers, numbers, st.booleans(), st.floats(1e-3, 10))
def test_two_versions_cannot_each_be_better_than_the_other(a: float, b: float, higher: bool, margin: float) -> None:
    assert not (should_promote(a, b, higher, margin) and should_promote(b, a, higher, margin))
