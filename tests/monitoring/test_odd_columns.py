"""No column can crash the report, or make a figure of it that is no number, whatever it holds or lacks."""

import json
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.contracts.bins import Bins, Reference
from raypipe.contracts.watched import Watched
from raypipe.monitoring import Monitor, Plan
from raypipe.monitoring.diagnosis import diagnose

ODD = {
    "constant": lambda rng, n: np.full(n, 7.0),
    "missing": lambda _, n: np.full(n, np.nan),
    "infinite": lambda rng, n: np.where(rng.random(n) < 0.5, np.inf, -np.inf),
    "some infinite": lambda rng, n: np.where(rng.random(n) < 0.1, np.inf, rng.normal(size=n)),
    "huge": lambda rng, n: rng.normal(size=n) * 1e38,
    "tiny": lambda rng, n: rng.normal(size=n) * 1e-42,
    "two values": lambda rng, n: rng.integers(0, 2, n).astype(float),
    "plain": lambda rng, n: rng.normal(size=n),
    "heavy": lambda rng, n: rng.standard_cauchy(n) * 1e6,
}


def judged(rng, names, rows):
    columns = []
    for i, name in enumerate(names):
        with np.errstate(over="ignore"):
            columns.append(Bins.of_numbers(f"{i} {name}", ODD[name](rng, rows).astype(np.float32)))
    score = Bins.of_numbers("score", rng.random(rows).astype(np.float32))
    return Reference(rows=rows, features=tuple(columns), prediction=score)


@settings(max_examples=15)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(ODD)), st.sampled_from(sorted(ODD))), min_size=1, max_size=4),
    st.integers(0, 10_000),
    st.sampled_from([1, 3, 500]),
    st.sampled_from([0, 1, 300]),
)
def test_whatever_a_column_becomes_it_is_told_in_numbers(pairs, seed, known, rows):
    rng = np.random.default_rng(seed)
    made = judged(rng, [before for before, _ in pairs], known)
    text = made.to_json()
    again = Watched.of(Reference.from_json(text))
    monitor = Monitor("m", 1, again, Plan(least=1))
    for tick in range(3):
        with np.errstate(over="ignore"):
            now = [ODD[after](rng, rows).astype(np.float32) for _, after in pairs]
        monitor.add(again.binning.count(np.column_stack([*now, rng.random(rows).astype(np.float32)])))
        report = monitor.close(tick)
    for column in report.columns:
        told = (column.excess, column.distance, column.psi, column.jensen_shannon, column.wasserstein)
        assert all(math.isfinite(figure) for figure in told), column
    assert diagnose(report).text
    assert json.loads(msgspec.json.encode(report))["rows"] == rows


@pytest.mark.parametrize("unseen", [0, 5])
def test_a_category_that_is_all_new_is_told(unseen):
    codes = np.array([1, 1, 2, 2] * 100, dtype=np.float32)
    columns = (
        Bins.of_categories("zone", ("a", "b"), codes, 0),
        Bins.of_categories("none", (), np.zeros(400, "f4"), 400),
    )
    score = Bins.of_numbers("score", np.linspace(0, 1, 400, dtype=np.float32))
    made = Watched.of(Reference(rows=400, features=columns, prediction=score))
    monitor = Monitor("m", 1, made, Plan(least=1))
    rows = np.column_stack([np.zeros(300), np.zeros(300), np.linspace(0, 1, 300)]).astype(np.float32)
    monitor.add(made.binning.count(rows, {0: 300 - unseen}))
    report = monitor.close(0)
    assert "zone" in [column.column for column in report.raised]
    assert report.breaks
