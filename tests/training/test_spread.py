"""A network trained by several workers, on rows in memory or in files, with a worker lost on the way."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from msgspec import structs
from safetensors.numpy import load_file

from raypipe import models
from raypipe.spec import Search
from raypipe.training.metrics import measure
from raypipe.training.onnx_model import OnnxModel, difference
from raypipe.training.search import prepare
from raypipe.training.trainer import Task
from raypipe.training.trainers.network import Network
from raypipe.training.trial import Plan, Point
from tests.training import dying, weighing
from tests.training.data import FEATURES, frame, pipeline, training_set

EPOCHS, DIES = 4, dying.EPOCH
PARAMS = {
    "hidden": 16, "layers": 1, "dropout": 0.1, "learning_rate": 0.01, "weight_decay": 0.01, "batch_size": 128,
    "epochs": EPOCHS, "patience": EPOCHS, "workers": 2,
}  # fmt: skip
SPREAD = models.Network(workers=2)


@pytest.fixture
def judged():
    for file in (dying.JUDGED, dying.ARMED):
        file.unlink(missing_ok=True)
    yield dying.JUDGED
    for file in (dying.JUDGED, dying.ARMED):
        file.unlink(missing_ok=True)


def weights(model: Network, folder: Path) -> dict[str, np.ndarray]:
    folder.mkdir()
    model.save(folder)
    return load_file(folder / "model.safetensors")


def learned(record, judged, folder, *, lost: bool) -> tuple[Network, dict[str, object], list[str]]:
    """A network that two workers have trained on rows in files, and the process that judged each epoch."""
    filed = prepare(pipeline(SPREAD), record)
    told = {"scratch": folder / "scratch", "cpus": 0.4, "source": filed.source}
    judged.unlink(missing_ok=True)
    if lost:
        dying.ARMED.touch()
    model = Network()
    settled = model.fit(
        Task(filed.train, filed.tune, filed.signature, "tests.training.dying:auc", 3, **told), dict(PARAMS)
    )
    assert not dying.ARMED.exists()
    assert not list((folder / "scratch").iterdir())
    return model, settled, judged.read_text().split()


def test_a_lost_worker_costs_one_epoch(ray_local, judged, tmp_path):
    record = training_set(tmp_path / "set", rows=3_000)
    model, _, pids = learned(record, judged, tmp_path, lost=True)
    # The epoch was begun twice, by two processes; those before it were not.
    assert len(pids) == EPOCHS + 1
    assert len(set(pids[:DIES])) == len(set(pids[DIES:])) == 1
    assert pids[DIES - 1] != pids[DIES]
    tune = prepare(pipeline(models.Linear()), record).tune
    assert measure("auc", tune.y, model.predict(tune.x)) > 0.7
    weights(model, tmp_path / "lost")
    difference(model, OnnxModel(tmp_path / "lost"), tune.x, "network")


@pytest.mark.long
def test_neither_a_lost_worker_nor_where_rows_come_from_changes_a_bit(ray_local, judged, tmp_path):
    record = training_set(tmp_path / "set", rows=3_000)
    held = prepare(pipeline(models.Linear()), record)
    calm = Network()
    told = {"scratch": tmp_path / "scratch", "cpus": 0.4}
    settled = calm.fit(Task(held.train, held.tune, held.signature, "tests.training.dying:auc", 3, **told), dict(PARAMS))
    assert len(judged.read_text().split()) == EPOCHS
    lost, same, _ = learned(record, judged, tmp_path, lost=True)
    assert same == settled
    one, other = weights(calm, tmp_path / "calm"), weights(lost, tmp_path / "lost")
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_what_a_worker_holds_does_not_grow_with_the_rows(ray_local, tmp_path):
    """Of six times the rows its share would be 64 MB more as a matrix, and far more in the making."""
    peaks, some = [], 100_000
    for times in (8, 48):
        record = training_set(tmp_path / str(times), rows=some)
        train = pl.concat([frame(some, 0)] * times)
        train.write_parquet(tmp_path / str(times) / "train.parquet")
        record = structs.replace(record, rows=record.rows | {"train": train.height})
        filed = prepare(pipeline(SPREAD), record)
        weighing.PEAKS.unlink(missing_ok=True)
        told = {"scratch": tmp_path / "scratch", "cpus": 0.4, "source": filed.source}
        task = Task(filed.train, filed.tune, filed.signature, "tests.training.weighing:auc", 3, **told)
        Network().fit(task, PARAMS | {"epochs": 2, "batch_size": 8_192})
        [_, peak] = weighing.PEAKS.read_text().split()[-2:]
        peaks.append(int(peak))
    share = some * 40 / 2 * (len(FEATURES) + 2) * 4
    assert peaks[1] - peaks[0] < share / 2, [f"{peak / 1e6:.0f} MB" for peak in peaks]


def test_what_is_learned_from_files_is_what_memory_says(tmp_path):
    record = training_set(tmp_path)
    held, filed = prepare(pipeline(models.Linear()), record), prepare(pipeline(SPREAD), record)
    assert (held.signature, held.target, held.folds) == (filed.signature, filed.target, filed.folds)
    source = filed.source
    blocks = [source.read(**block) for block in source.also("tune").blocks(2)]
    for name in ("x", "y"):
        whole = np.concatenate([getattr(held.train, name), getattr(held.tune, name)])
        np.testing.assert_array_equal(np.concatenate([getattr(block, name) for block in blocks]), whole)
    moments, x = source.moments(), held.train.x.astype(float)
    np.testing.assert_allclose(moments.gaps, np.isnan(x).mean(axis=0))
    np.testing.assert_allclose(moments.mean, np.nanmean(x, axis=0), rtol=1e-9)
    np.testing.assert_allclose(moments.deviation, np.nanstd(x, axis=0), rtol=1e-6)
    assert moments.label_mean == pytest.approx(held.train.y.mean())


def test_balanced_classes_weigh_the_same_in_files(tmp_path):
    record = training_set(tmp_path)
    made = []
    for model in (models.Linear(), SPREAD):
        wish = pipeline(model)
        object.__setattr__(wish, "search", Search([model], class_weights="balanced"))
        made.append(prepare(wish, record))
    held, filed = made
    some = filed.source.read(**next(iter(filed.source.blocks(1))))
    np.testing.assert_allclose(some.w, held.train.w[: len(some.w)])


def test_what_is_spread_holds_little_that_its_workers_wait_for():
    plan = Plan(Path(), "auc", 0, models=(models.LightGBM().on(cpus=1), models.Network(workers=2).on(gpus=0.5)))
    assert plan.holds(Point(0, "lightgbm", {}, {})) == {"CPU": 1, "GPU": 0}
    assert plan.holds(Point(1, "network", {"workers": 2}, {})) == {"CPU": 0.01, "GPU": 0}
    assert plan.holds(Point(2, "network", {"workers": 1}, {})) == {"CPU": 0.5, "GPU": 0.5}
    assert plan.holds(Point(3, "ensemble", {"0.workers": 1, "1.workers": 3}, {})) == {"CPU": 0.01, "GPU": 0}
