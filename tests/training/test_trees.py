"""ONNX and LightGBM are held against each other where they could differ: at split points, and one float32 off them."""

import lightgbm
import numpy as np
import onnx
import pytest

from raypipe.contracts.bundle import MODEL
from raypipe.contracts.signature import Signature
from raypipe.errors import TrainingError
from raypipe.training.onnx_model import OnnxModel
from raypipe.training.trainers.trees import as_onnx
from tests.training.data import FEATURES, frame

BASE = {"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 31, "min_data_in_leaf": 5}
EXACT = 1e-6


def boosted(x, y, categories=(), rounds=60, **params):
    data = lightgbm.Dataset(x, y, categorical_feature=list(categories), free_raw_data=False)
    return lightgbm.train(BASE | params, data, rounds)


def served(booster, folder, x):
    onnx.save(as_onnx(booster.model_to_string()), folder / MODEL)
    return OnnxModel(folder).predict(x)


def splits(booster):
    found = []

    def walk(node):
        if "split_feature" in node:
            if node["decision_type"] == "<=":
                found.append((node["split_feature"], node["threshold"]))
            walk(node["left_child"])
            walk(node["right_child"])

    for tree in booster.dump_model()["tree_info"]:
        walk(tree["tree_structure"])
    return found


def edges(booster, x):
    """Rows with a value at a threshold, or at one of the float32 numbers next to it."""
    rows = []
    for column, threshold in splits(booster):
        near = np.float32(threshold)
        for value in (near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))):
            row = x[len(rows) % len(x)].copy()
            row[column] = value
            rows.append(row)
    return np.stack(rows)


@pytest.fixture(scope="module")
def rides():
    train = frame(3_000, 0)
    signature = Signature.fit(train, FEATURES)
    return signature.encode(train), train["label"].to_numpy().astype(np.float32), signature.categories


def test_it_decides_as_lightgbm_does_at_every_split_point(rides, tmp_path):
    x, y, categories = rides
    booster = boosted(x, y, categories)
    rows = edges(booster, x)
    assert len(rows) > 1_000
    assert np.abs(served(booster, tmp_path, rows) - booster.predict(rows)).max() < EXACT


def test_there_are_thresholds_that_rounding_to_the_nearest_would_get_wrong(rides, tmp_path):
    """Else the test above shows nothing: some thresholds lie just below the float32 that they would be rounded to."""
    x, y, categories = rides
    values = np.array([threshold for _, threshold in splits(boosted(x, y, categories))])
    assert (values.astype(np.float32) > values).any()


def test_a_gap_where_training_had_none_goes_where_zero_goes(rides, tmp_path):
    x, y, categories = rides
    x = x.copy()
    wind = FEATURES.index("wind")
    x[:, wind] -= 10.0  # thresholds on both sides of zero
    booster = boosted(x, y, categories)
    gap, zero = x.copy(), x.copy()
    gap[:, wind], zero[:, wind] = np.nan, 0.0
    answers = served(booster, tmp_path, gap)
    assert np.abs(answers - booster.predict(gap)).max() < EXACT
    assert np.abs(answers - booster.predict(zero)).max() < EXACT
    assert {threshold > 0 for column, threshold in splits(booster) if column == wind} == {True, False}


def test_a_gap_where_training_had_some_goes_where_it_learned(rides, tmp_path):
    x, y, categories = rides
    booster = boosted(x, y, categories)
    gap = x.copy()
    gap[:, FEATURES.index("delay")] = np.nan
    assert np.abs(served(booster, tmp_path, gap) - booster.predict(gap)).max() < EXACT


def test_sets_of_categories_are_exact_beyond_one_word_of_bits(tmp_path):
    rng = np.random.default_rng(0)
    x = np.stack([rng.integers(0, 200, 6_000), rng.normal(size=6_000)], axis=1).astype(np.float32)
    y = (rng.random(6_000) < (x[:, 0] % 7 < 3) * 0.6 + 0.2).astype(np.float32)
    booster = boosted(x, y, [0], max_cat_threshold=64, cat_smooth=1.0, min_data_per_group=5)
    every = np.stack([np.arange(260), np.zeros(260)], axis=1).astype(np.float32)
    assert np.abs(served(booster, tmp_path, every) - booster.predict(every)).max() < EXACT


def test_a_tree_without_a_split_is_a_constant(rides, tmp_path):
    x, y, categories = rides
    booster = boosted(x, y, categories, rounds=3, min_data_in_leaf=100_000)
    assert np.abs(served(booster, tmp_path, x) - y.mean()).max() < EXACT


def test_the_steepness_of_the_sigmoid_counts(rides, tmp_path):
    x, y, categories = rides
    booster = boosted(x, y, categories, sigmoid=2.0)
    assert np.abs(served(booster, tmp_path, x) - booster.predict(x)).max() < EXACT


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"zero_as_missing": True}, "zero_as_missing and linear_tree cannot be expressed"),
        ({"linear_tree": True}, "zero_as_missing and linear_tree cannot be expressed"),
        ({"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, "a random forest cannot be expressed"),
    ],
)
def test_what_onnx_cannot_express_is_refused(rides, params, said):
    x, y, _ = rides
    with pytest.raises(TrainingError, match=said):
        as_onnx(boosted(x, y, rounds=5, **params).model_to_string())


@pytest.mark.parametrize("boosting", ["dart", "gbdt"])
def test_other_ways_to_boost_are_exact(rides, tmp_path, boosting):
    x, y, categories = rides
    booster = boosted(x, y, categories, boosting=boosting, rounds=30)
    assert np.abs(served(booster, tmp_path, x) - booster.predict(x)).max() < EXACT
