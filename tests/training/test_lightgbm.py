import lightgbm
import numpy as np
import pytest

from raypipe.contracts.signature import Signature
from raypipe.training.onnx_model import OnnxModel
from raypipe.training.trainer import Examples, Task
from raypipe.training.trainers.lightgbm import LightGBM, decide_in_float32
from tests.training.data import FEATURES, frame
from tests.training.trainer_contract import TrainerContract

PARAMS = {
    "learning_rate": 0.1,
    "num_leaves": 15,
    "min_data_in_leaf": 20,
    "num_iterations": 40,
    "early_stopping_round": 10,
}


class TestLightGBM(TrainerContract):
    make = LightGBM
    params = PARAMS


@pytest.fixture(scope="module")
def booster():
    train = frame(3_000, 0)
    signature = Signature.fit(train, FEATURES)
    own = {"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 31, "min_data_in_leaf": 5}
    x = signature.encode(train)
    data = lightgbm.Dataset(x, train["label"].to_numpy(), categorical_feature=list(signature.categories))
    return lightgbm.train(own, data, 60), x


def thresholds(booster):
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


def test_rounding_changes_no_decision_on_float32(booster):
    """Values at every threshold and one float32 to each side of it, the places where rounding could show."""
    original, x = booster
    rounded = lightgbm.Booster(model_str=decide_in_float32(original.model_to_string()))
    rows = []
    for column, threshold in thresholds(original):
        near = np.float32(threshold)
        for value in (near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))):
            row = x[len(rows) % len(x)].copy()
            row[column] = value
            rows.append(row)
    edges = np.stack(rows)
    np.testing.assert_array_equal(rounded.predict(edges), original.predict(edges))
    np.testing.assert_array_equal(rounded.predict(x), original.predict(x))


def test_rounding_leaves_only_float32_thresholds(booster):
    rounded = lightgbm.Booster(model_str=decide_in_float32(booster[0].model_to_string()))
    values = np.array([value for _, value in thresholds(rounded)])
    np.testing.assert_array_equal(values, values.astype(np.float32))
    assert len(values) == len(thresholds(booster[0]))


def test_a_gap_where_training_had_none_goes_where_zero_goes(booster):
    """LightGBM itself takes such a NaN for zero; the ONNX file must as well."""
    original, x = booster
    rounded = lightgbm.Booster(model_str=decide_in_float32(original.model_to_string()))
    wind = FEATURES.index("wind")
    gap, zero = x[:500].copy(), x[:500].copy()
    gap[:, wind], zero[:, wind] = np.nan, 0.0
    np.testing.assert_array_equal(rounded.predict(gap), original.predict(gap))
    np.testing.assert_array_equal(rounded.predict(gap), original.predict(zero))


def test_the_onnx_file_is_exact_at_the_split_points(booster, tmp_path):
    """The plain conversion rounds thresholds to the nearest float32, and answers otherwise there."""
    train = frame(3_000, 0)
    signature = Signature.fit(train, FEATURES)
    x = signature.encode(train)
    model = LightGBM()
    model.fit(Task(Examples(x, train["label"].to_numpy().astype(np.float32)), None, signature, "auc"), dict(PARAMS))
    model.save(tmp_path)
    edges = []
    for column, threshold in thresholds(lightgbm.Booster(model_file=tmp_path / "model.txt")):
        for value in (np.float32(threshold), np.nextafter(np.float32(threshold), np.float32(np.inf))):
            row = x[len(edges) % len(x)].copy()
            row[column] = value
            edges.append(row)
    assert np.abs(OnnxModel(tmp_path).predict(np.stack(edges)) - model.predict(np.stack(edges))).max() < 1e-6


def test_its_text_is_a_lightgbm_model(tmp_path):
    train = frame(500, 0)
    signature = Signature.fit(train, FEATURES)
    x = signature.encode(train)
    model = LightGBM()
    model.fit(Task(Examples(x, train["label"].to_numpy().astype(np.float32)), None, signature, "auc"), dict(PARAMS))
    model.save(tmp_path)
    read = lightgbm.Booster(model_file=tmp_path / "model.txt")
    np.testing.assert_array_equal(read.predict(x).astype(np.float32), model.predict(x))
