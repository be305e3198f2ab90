import numpy as np
import skops.io

from raypipe.contracts.signature import Signature
from raypipe.training.trainer import Examples, Task
from raypipe.training.trainers.linear import TRUSTED, Linear
from tests.training.data import FEATURES, frame
from tests.training.trainer_contract import TrainerContract

PARAMS = {"C": 0.5, "max_iter": 200}


class TestLinear(TrainerContract):
    make = Linear
    params = PARAMS


def test_its_skops_file_is_a_scikit_learn_model(tmp_path):
    train = frame(500, 0)
    signature = Signature.fit(train, FEATURES)
    x = signature.encode(train)
    model = Linear()
    task = Task(Examples(x, train["label"].to_numpy().astype(np.float32)), None, signature, "auc")
    model.fit(task, {"C": 1.0, "max_iter": 100})
    model.save(tmp_path)
    assert skops.io.get_untrusted_types(file=tmp_path / "model.skops") == list(TRUSTED)
    read = skops.io.load(tmp_path / "model.skops", trusted=list(TRUSTED))
    np.testing.assert_array_equal(read.predict_proba(x)[:, 1].astype(np.float32), model.predict(x))
