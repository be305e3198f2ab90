"""What every trainer must do. Subclass `TrainerContract`, name the trainer, and pytest runs all of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raypipe.contracts import bundle
from raypipe.contracts.signature import Signature
from raypipe.training.metrics import measure
from raypipe.training.onnx_model import OnnxModel
from raypipe.training.trainer import STEPS, Examples, Params, Task, Trainer
from tests.training.data import FEATURES, frame

ROWS = {"train": 1_500, "tune": 700, "fresh": 700}


class TrainerContract:
    """The contract of `raypipe.training.Trainer`."""

    #: The trainer's class.
    make: Callable[[], Trainer]
    #: All its parameters by name, small enough for a quick test.
    params: Params

    @pytest.fixture(scope="class")
    @classmethod
    def frames(cls):
        return {name: frame(rows, seed) for seed, (name, rows) in enumerate(ROWS.items())}

    @pytest.fixture(scope="class")
    @classmethod
    def signature(cls, frames):
        return Signature.fit(frames["train"], FEATURES)

    @pytest.fixture(scope="class")
    @classmethod
    def sets(cls, frames, signature):
        made = {}
        for name, content in frames.items():
            x, y = signature.encode(content), content["label"].to_numpy().astype(np.float32)
            x.flags.writeable = y.flags.writeable = False  # as they come out of Ray's object store
            made[name] = Examples(x, y)
        return made

    @pytest.fixture(scope="class")
    @classmethod
    def task(cls, sets, signature):
        return Task(sets["train"], sets["tune"], signature, "auc", seed=3)

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, task):
        model = cls.make()
        model.fit(task, dict(cls.params))
        return model

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, fitted, tmp_path_factory):
        folder = tmp_path_factory.mktemp("model")
        fitted.save(folder)
        return folder

    def hard_rows(self, sets, signature) -> np.ndarray:
        """Fresh rows, rows with nothing known, rows whose categories were never seen, and far-off numbers."""
        fresh = sets["fresh"].x.copy()
        nothing, unseen, far = fresh[:40].copy(), fresh[40:80].copy(), fresh[80:160].copy()
        numbers = [i for i in range(fresh.shape[1]) if i not in signature.categories]
        nothing[:, numbers] = np.nan
        for column in range(fresh.shape[1]):
            if column in signature.categories:
                nothing[:, column] = unseen[:, column] = 0.0
        far[:40, numbers] = 1e9
        far[40:, numbers] = -1e9
        one_gap = np.repeat(fresh[:1], len(numbers), axis=0)
        one_gap[np.arange(len(numbers)), numbers] = np.nan
        return np.concatenate([fresh, nothing, unseen, far, one_gap])

    def test_it_learns(self, fitted, sets):
        assert measure("auc", sets["fresh"].y, fitted.predict(sets["fresh"].x)) > 0.7

    def test_it_gives_float32_probabilities(self, fitted, sets, signature):
        scores = fitted.predict(self.hard_rows(sets, signature))
        assert scores.dtype == np.float32
        assert scores.ndim == 1
        assert np.isfinite(scores).all()
        assert ((scores >= 0) & (scores <= 1)).all()

    def test_its_onnx_file_answers_the_same_on_any_row(self, fitted, folder, sets, signature):
        x = self.hard_rows(sets, signature)
        served = OnnxModel(folder).predict(x)
        assert served.dtype == np.float32
        assert np.abs(served - fitted.predict(x)).max() < 1e-6

    def test_its_onnx_file_answers_one_row_as_it_answers_many(self, folder, sets):
        model, x = OnnxModel(folder), sets["fresh"].x[:20]
        alone = np.concatenate([model.predict(x[i : i + 1]) for i in range(len(x))])
        np.testing.assert_allclose(alone, model.predict(x), rtol=0, atol=1e-6)

    def test_the_same_seed_gives_the_same_bytes(self, task, fitted, folder, tmp_path):
        again = self.make()
        again.fit(task, dict(self.params))
        again.save(tmp_path)
        files = sorted(path.name for path in folder.iterdir())
        assert files == sorted(path.name for path in tmp_path.iterdir())
        for name in files:
            assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name

    def test_it_writes_what_a_bundle_may_hold(self, folder):
        names = {path.name for path in folder.iterdir()}
        assert bundle.MODEL in names
        assert len(names) > 1, "the algorithm's own format is missing"
        assert all(bundle.ALLOWED.fullmatch(name) for name in names)

    def test_what_it_found_fits_again_without_a_tuning_period(self, task, sets, signature):
        model = self.make()
        found = model.fit(task, dict(self.params))
        again = self.make()
        assert again.fit(Task(sets["train"], None, signature, "auc", seed=3), self.params | found) == found
        np.testing.assert_array_equal(model.predict(sets["fresh"].x), again.predict(sets["fresh"].x))

    def test_it_reports_its_steps_in_order_and_lets_itself_be_stopped(self, task, sets, signature):
        steps: list[int] = []

        def report(step: int, value: float) -> None:
            steps.append(step)
            assert 0.0 <= value <= 1.0
            if len(steps) == 2:
                raise InterruptedError

        watched = Task(task.train, task.tune, signature, "auc", seed=3, report=report)
        try:
            self.make().fit(watched, dict(self.params))
        except InterruptedError:
            assert len(steps) == 2
        assert steps == sorted(set(steps))
        assert all(1 <= step <= STEPS for step in steps)

    @pytest.mark.parametrize("metric", ["auc", "log_loss", "brier", "average_precision"])
    def test_it_stops_early_on_every_metric(self, metric, sets, signature):
        model = self.make()
        model.fit(Task(sets["train"], sets["tune"], signature, metric), dict(self.params))
        assert measure("auc", sets["fresh"].y, model.predict(sets["fresh"].x)) > 0.7

    def test_it_does_without_categories_and_without_numbers(self, frames, tmp_path):
        for name, features in (("numbers", ("delay", "wind", "hour")), ("categories", ("carrier", "route"))):
            signature = Signature.fit(frames["train"], features)
            x, y = signature.encode(frames["train"]), frames["train"]["label"].to_numpy().astype(np.float32)
            model = self.make()
            model.fit(Task(Examples(x, y), None, signature, "auc"), dict(self.params))
            folder: Path = tmp_path / name
            folder.mkdir()
            model.save(folder)
            assert np.abs(OnnxModel(folder).predict(x) - model.predict(x)).max() < 1e-6
