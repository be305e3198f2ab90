"""A version on its own: the exported scorer, run where nothing but onnxruntime and numpy can be imported."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from raypipe.contracts import bundle
from raypipe.contracts.bundle import Card
from raypipe.contracts.records import ModelVersion
from raypipe.contracts.signature import Signature
from raypipe.errors import RegistryError, WorkspaceError
from raypipe.registry.edge import export
from raypipe.training.trainer import Examples, Params, Task
from raypipe.training.trainers import trainer
from tests.training.data import FEATURES, frame, pipeline

PARAMS: dict[str, Params] = {
    "lightgbm": {"num_iterations": 30, "early_stopping_round": 10, "num_leaves": 15, "learning_rate": 0.1},
    "linear": {"C": 1.0, "max_iter": 200},
    "network": {
        "epochs": 2,
        "patience": 2,
        "hidden": 16,
        "layers": 1,
        "dropout": 0.0,
        "learning_rate": 0.01,
        "weight_decay": 0.0,
        "batch_size": 256,
    },
}
#: What may be imported beside the standard library; what onnxruntime itself brings, it may bring.
ALONE = """
import runpy, sys
ours = {"raypipe", "polars", "msgspec", "lightgbm", "torch", "sklearn", "onnx", "pandas", "ray", "pyarrow", "scipy"}
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ours:
            raise ImportError(name + " is not installed here")
sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def alone(scorer: Path, *words: str, said: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-c", ALONE, str(scorer), *words]
    return subprocess.run(command, input=said, capture_output=True, text=True, timeout=60, check=False)


def made(folder: Path, algorithm: str) -> tuple[ModelVersion, np.ndarray, pl.DataFrame]:
    """A version, rows, and the scores of the trainer itself for them."""
    train, rows = frame(800, 0), frame(200, 1)
    signature = Signature.fit(train, FEATURES)
    examples = [Examples(signature.encode(part), part["label"].to_numpy().astype(np.float32)) for part in (train, rows)]
    model = trainer(algorithm)
    model.fit(Task(examples[0], examples[1], signature, "auc", seed=3), dict(PARAMS[algorithm]))
    folder.mkdir()
    model.save(folder)
    scores = model.predict(examples[1].x)
    card = Card(algorithm=algorithm, params={}, metrics={}, threshold=0.5, seed=3)
    golden = rows.select(FEATURES).with_columns(score=scores)
    bundle.write(folder, signature=signature, pipeline=pipeline(), card=card, golden=golden)
    version = ModelVersion(
        name="late",
        version=4,
        aliases=(),
        algorithm=algorithm,
        metrics={},
        created=0,
        digest=bundle.seal(folder),
        folder=str(folder),
        lineage=None,  # type: ignore[arg-type]  # where it comes from does not matter here
    )
    return version, scores, rows


@pytest.mark.parametrize("algorithm", list(PARAMS))
def test_it_scores_as_the_trainer_does(tmp_path: Path, algorithm: str) -> None:
    version, scores, rows = made(tmp_path / "bundle", algorithm)
    model, scorer = export(version, tmp_path / "edge")
    assert sorted(path.name for path in (tmp_path / "edge").iterdir()) == ["model.onnx", "scorer.py"]
    assert model.read_bytes() == (tmp_path / "bundle" / "model.onnx").read_bytes()
    told = alone(scorer, "--check")
    assert (told.returncode, told.stdout.split(",")[0]) == (0, "late/4: 200 rows"), told.stderr
    lines = "\n".join(json.dumps(row) for row in rows.select(FEATURES).to_dicts())
    answered = [float(line) for line in alone(scorer, said=lines).stdout.split()]
    assert np.abs(np.array(answered) - scores).max() <= 1e-6


def test_what_is_no_version_is_not_exported(tmp_path: Path) -> None:
    version, _, _ = made(tmp_path / "bundle", "linear")
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match="cannot be written"):
        export(version, tmp_path / "file")
    (tmp_path / "bundle" / "model.onnx").write_bytes(b"")
    with pytest.raises(RegistryError, match="truncated"):
        export(version, tmp_path / "edge")
    assert not (tmp_path / "edge").exists()
