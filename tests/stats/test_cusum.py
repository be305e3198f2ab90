"""The cumulative sum against a walk label by label, and against the runs that it states beforehand."""

from bisect import bisect_left

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.stats.cusum import Cusum


@given(st.lists(st.booleans(), max_size=60), st.floats(0, 4))
def test_outcomes_in_their_order_are_those_taken_one_by_one(wrong, total):
    cusum = Cusum(0.1, 0.2, 3.0)
    end, peak = cusum.through(total, np.array(wrong, dtype=bool))
    walked = [total]
    for one in wrong:
        walked.append(cusum.add(walked[-1], int(one), 1))
    assert end == pytest.approx(walked[-1], abs=1e-9)
    assert peak == pytest.approx(max(walked[1:], default=total), abs=1e-9)


@pytest.mark.parametrize("low", [0.02, 0.1, 0.3])
def test_the_runs_are_as_long_as_stated(low):
    rng, cusum = np.random.default_rng(0), Cusum.designed(low, low * 1.25, 20_000)
    assert np.mean([_run(rng, cusum, cusum.high) for _ in range(300)]) == pytest.approx(cusum.delay, rel=0.2)
    assert 0.8 < np.mean([_run(rng, cusum, low) for _ in range(300)]) / 20_000 < 2


def _run(rng, cusum, rate):
    total, passed = 0.0, 0
    while True:
        wrong = rng.random(2_000) < rate
        end, peak = cusum.through(total, wrong)
        if peak >= cusum.limit:
            counts = range(1, len(wrong) + 1)
            found = bisect_left(counts, cusum.limit, key=lambda n: cusum.through(total, wrong[:n])[1])
            return passed + counts[found]
        total, passed = end, passed + len(wrong)
