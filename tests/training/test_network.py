import json

import numpy as np
import torch
from safetensors.torch import load_file

from raypipe.contracts.signature import Signature
from raypipe.training.trainer import Examples, Task
from raypipe.training.trainers.network import Net, Network, Shape, mixed
from tests.training.data import FEATURES, frame
from tests.training.trainer_contract import TrainerContract

PARAMS = {
    "hidden": 16,
    "layers": 2,
    "dropout": 0.1,
    "learning_rate": 0.01,
    "weight_decay": 0.01,
    "batch_size": 128,
    "epochs": 8,
    "patience": 3,
}


class TestNetwork(TrainerContract):
    make = Network
    params = PARAMS


def small(rows=300):
    train = frame(rows, 0)
    signature = Signature.fit(train, FEATURES)
    return Task(Examples(signature.encode(train), train["label"].to_numpy().astype(np.float32)), None, signature, "auc")


def test_its_weights_and_shape_are_the_whole_network(tmp_path):
    task = small()
    model = Network()
    model.fit(task, PARAMS | {"epochs": 2})
    model.save(tmp_path)
    net = Net(Shape(**json.loads((tmp_path / "model.json").read_text())))
    net.load_state_dict(load_file(tmp_path / "model.safetensors"))
    with torch.inference_mode():
        scores = torch.sigmoid(net.eval()(torch.tensor(task.train.x)))
    np.testing.assert_allclose(scores.numpy(), model.predict(task.train.x), rtol=0, atol=1e-6)


def test_it_leaves_torch_as_it_was():
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    Network().fit(small(), PARAMS | {"epochs": 1})
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_last_batch_of_one_row_does_no_harm():
    task = small(rows=129)
    model = Network()
    model.fit(task, PARAMS | {"batch_size": 128, "epochs": 1})
    assert np.isfinite(model.predict(task.train.x)).all()


def test_layers_compute_in_bfloat16_on_a_gpu_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "autocast", lambda kind, **options: asked.append((kind, options)))
    mixed(torch.device("cuda", 0))
    mixed(torch.device("cpu"))
    assert asked == [
        ("cuda", {"dtype": torch.bfloat16, "enabled": True}),
        ("cpu", {"dtype": torch.bfloat16, "enabled": False}),
    ]


def test_on_a_cpu_nothing_is_computed_in_half():
    with mixed(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    # The same with the device's own name, to show that what is asked for is not in vain.
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=True):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
