"""Cells against one value at a time, against the record in a bundle, and against scipy on the values themselves."""

from bisect import bisect_right

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from raypipe.contracts.bins import Bins, Reference
from raypipe.contracts.signature import Signature
from raypipe.contracts.watched import Watched
from raypipe.stats.bins import ABOVE, BELOW, BINS, CELLS, FIRST, MISSING, UNSEEN, Binning

NUMBERS = st.lists(st.floats(width=32, allow_nan=True), max_size=60)
#: Training refuses infinite features.
USUAL = st.lists(st.one_of(st.just(float("nan")), st.floats(-(2.0**99), 2.0**99, width=32)), max_size=60)


def watched(*columns):
    """Columns that are all numbers; the last stands for the score."""
    made = [Bins.of_numbers(f"c{i}", np.asarray(column, dtype=np.float32)) for i, column in enumerate(columns)]
    return Watched.of(Reference(rows=len(columns[0]), features=tuple(made[:-1]), prediction=made[-1]))


def cell(value, starts, high):
    """The cell of one value, by the words of the class's docstring."""
    if np.isnan(value):
        return MISSING
    if not starts or value > high:
        return ABOVE
    return FIRST + bisect_right(starts, value) - 1 if value >= starts[0] else BELOW


@settings(deadline=None, max_examples=200)
@given(USUAL, NUMBERS)
def test_each_number_is_in_its_cell(reference, values):
    made = Bins.of_numbers("x", np.array(reference, dtype=np.float32))
    expected = np.zeros(CELLS, np.int64)
    for value in values:
        expected[cell(value, made.starts, made.high)] += 1
    counts = Binning.of([made.starts], [made.high]).count(np.array(values, dtype=np.float32).reshape(-1, 1))
    np.testing.assert_array_equal(counts[0], expected)


def test_the_reference_is_counted_as_the_record_says():
    rng = np.random.default_rng(0)
    seen = pl.DataFrame({"carrier": [f"c{i}" for i in range(300)] * 2, "delay": rng.normal(size=600)})
    held = pl.DataFrame({"carrier": ["c7", "??", None, "c299"] * 25, "delay": [None, *rng.normal(size=99)]})
    signature = Signature.fit(seen, ("carrier", "delay"))
    scores = rng.random(100).astype(np.float32)
    made = Watched.of(Reference.of(held, signature, scores))
    assert made.names == ("carrier", "delay", "score")
    assert made.is_category.tolist() == [True, False, False]
    assert made.counts[0, [MISSING, UNSEEN, BINS]].tolist() == [25, 25, 25]  # 300 categories share 256 bins
    rows = np.column_stack([signature.encode(held), scores])
    np.testing.assert_array_equal(made.binning.count(rows, {0: 25}), made.counts)


def test_batches_add_up_to_the_whole():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(5_000, 3)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.02] = np.nan
    binning = watched(*rows[:2_000].T).binning
    whole = binning.count(rows)
    parts = [binning.count(part) for part in np.array_split(rows, 7)]
    np.testing.assert_array_equal(sum(reversed(parts)), whole)
    np.testing.assert_array_equal(whole.sum(axis=1), 5_000)


@pytest.mark.parametrize("draw", ["normal", "lognormal", "integers"])
def test_the_gap_of_counts_is_the_gap_of_values(draw):
    rng = np.random.default_rng(2)
    make = {
        "normal": lambda n, by: rng.normal(by, 1, n),
        "lognormal": lambda n, by: rng.lognormal(by, 3, n),
        "integers": lambda n, by: np.round(rng.normal(by, 30, n)),
    }[draw]
    reference, window = make(20_000, 0).astype(np.float32), make(1_000, 0.3).astype(np.float32)
    binning = watched(reference).binning
    a, b = (binning.count(v[:, None])[0, : ABOVE + 1].cumsum() / len(v) for v in (reference, window))
    true = ks_2samp(reference, window).statistic
    assert true - 1 / BINS - 1e-9 <= np.abs(a - b).max() <= true + 1e-9


def test_many_rows_are_counted_on_all_cores_and_come_to_the_same(monkeypatch):
    rng = np.random.default_rng(3)
    cuts = np.quantile(rng.normal(size=5_000), np.arange(BINS) / BINS)
    binning = Binning.of([cuts, None, cuts, None, cuts], [3.0, 0.0, 2.0, 0.0, 1.0])
    rows = rng.normal(size=(40_000, 5)).astype(np.float32)
    rows[:, [1, 3]] = rng.integers(0, 9, (40_000, 2))
    rows[rng.random(40_000) < 0.1, 0] = np.nan
    alone = binning.count(rows, {1: 7, 3: 2})
    monkeypatch.setattr("raypipe.stats.bins.MANY", rows.size)
    for cores in (1, 2, 3, 64):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert (binning.count(rows, {1: 7, 3: 2}) == alone).all()
    assert (alone.sum(axis=1) == 40_000).all()
