"""Cells against a count by hand; what is counted in parts adds up to the whole."""

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raypipe.contracts.bins import ABOVE, BELOW, CELLS, MISSING, SPECIAL, UNSEEN, Bins, Reference
from raypipe.contracts.signature import Signature

FLOATS = st.floats(-100, 100, width=32) | st.sampled_from([0.0, 1.0, float("nan")])


@given(arrays(np.float32, st.integers(1, 700), elements=FLOATS), arrays(np.float32, 60, elements=FLOATS))
def test_every_value_is_counted_once_in_the_cell_that_holds_it(reference, later):
    bins = Bins.of_numbers("n", reference)
    assert sum(bins.counts) == len(reference)
    assert bins.counts[BELOW] == bins.counts[ABOVE] == bins.counts[UNSEEN] == 0
    assert len(bins.starts) <= CELLS
    expected = np.zeros(bins.cells, dtype=int)
    for value in later.tolist():
        if value != value:
            cell = MISSING
        elif not bins.starts or value > bins.high:
            cell = ABOVE if bins.starts or value > bins.high else BELOW
        elif value < bins.starts[0]:
            cell = BELOW
        else:
            cell = len(SPECIAL) + max(i for i, start in enumerate(bins.starts) if start <= value)
        expected[cell] += 1
    counted = bins.count(later)
    if bins.starts:
        np.testing.assert_array_equal(counted, expected)
    np.testing.assert_array_equal(counted, bins.count(later[:20]) + bins.count(later[20:]))


def test_cells_are_quantiles_and_a_frequent_value_has_its_own():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=20_000), np.full(20_000, 0.25)]).astype(np.float32)
    bins = Bins.of_numbers("n", values)
    own = bins.starts.index(0.25) + len(SPECIAL)
    assert bins.counts[own] == 20_000
    others = np.delete(bins.counts[len(SPECIAL) :], own - len(SPECIAL))
    assert max(others) < 2 * 40_000 / CELLS


def test_a_reference_counts_gaps_and_values_that_were_never_seen():
    train = pl.DataFrame({"carrier": ["UA", "UA", "AA"], "delay": [1.0, 2.0, None]})
    signature = Signature.fit(train, ("carrier", "delay"))
    later = pl.DataFrame({"carrier": ["UA", None, "??", "AA"], "delay": [5.0, None, None, 6.0]})
    reference = Reference.of(later, signature, np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32))
    carrier, delay = reference.features
    assert (carrier.values, carrier.counts) == (("UA", "AA"), (1, 0, 0, 1, 1, 1))
    assert delay.counts == (2, 0, 0, 0, 1, 0, 1)
    assert Reference.from_json(reference.to_json()) == reference
    assert sum(reference.prediction.counts) == 4
