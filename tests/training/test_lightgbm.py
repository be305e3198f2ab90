import lightgbm
import numpy as np

from raypipe.contracts.signature import Signature
from raypipe.training.trainer import Examples, Task
from raypipe.training.trainers.lightgbm import LightGBM
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


def test_its_text_is_a_lightgbm_model(tmp_path):
    train = frame(500, 0)
    signature = Signature.fit(train, FEATURES)
    x = signature.encode(train)
    model = LightGBM()
    model.fit(Task(Examples(x, train["label"].to_numpy().astype(np.float32)), None, signature, "auc"), dict(PARAMS))
    model.save(tmp_path)
    read = lightgbm.Booster(model_file=tmp_path / "model.txt")
    np.testing.assert_array_equal(read.predict(x).astype(np.float32), model.predict(x))
