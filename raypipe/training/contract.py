"""What every trainer must do, as a check that whoever writes one can run: a test of one line.

def test_my_trainer_keeps_the_contract():
    check(Forest, {"depth": 4})
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from raypipe.contracts import bundle
from raypipe.contracts.signature import Column, Signature
from raypipe.errors import TrainingError
from raypipe.training.metrics import measure
from raypipe.training.onnx_model import OnnxModel, difference
from raypipe.training.trainer import STEPS, Examples, Params, Task, Trainer

ROWS = 1_200


def check(make: Callable[[], Trainer], params: Params) -> None:
    """Fit a trainer on rows with a known truth, and hold it against every sentence of `Trainer`.

    Args:
        make: gives a fresh trainer; the class itself, as a rule.
        params: all its parameters by name, small enough for a quick test.

    Raises:
        TrainingError: the first sentence that it does not keep.
    """
    task, fresh = _task()
    model = make()
    settled = model.fit(task, dict(params))
    scores = model.predict(fresh.x)
    _hold(scores.dtype == np.float32 and scores.shape == (len(fresh.x),), "it gives float32 scores, one a row")
    _hold(bool(((scores >= 0) & (scores <= 1)).all()), "it gives probabilities, also of rows with gaps")
    _hold(measure("auc", fresh.y, scores) > 0.7, "it learns: AUC above 0.7 where 0.85 can be reached")
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        model.save(Path(one))
        names = sorted(path.name for path in Path(one).iterdir())
        _hold(bundle.MODEL in names and len(names) > 1, "it writes model.onnx, and its own format beside it")
        wrong = [name for name in names if not bundle.ALLOWED.fullmatch(name)]
        _hold(not wrong, f"it writes only formats that run no code, not {', '.join(wrong)}")
        difference(model, OnnxModel(Path(one)), fresh.x, "contract")
        again = make()
        again.fit(task, dict(params))
        again.save(Path(other))
        same = all((Path(one) / name).read_bytes() == (Path(other) / name).read_bytes() for name in names)
        _hold(same, "the same seed gives the same bytes")
    refitted = make()
    refitted.fit(replace(task, tune=None), dict(params) | settled)
    _hold(np.array_equal(refitted.predict(fresh.x), scores), "what it settled fits the same model without tuning rows")
    _stop(make(), task, params)


def _stop(model: Trainer, task: Task, params: Params) -> None:
    steps: list[int] = []

    def report(step: int, _: float) -> None:
        steps.append(step)
        raise InterruptedError

    try:
        model.fit(replace(task, report=report), dict(params))
    except InterruptedError:
        _hold(len(steps) == 1, "it lets itself be stopped by a report that raises")
    _hold(all(1 <= step <= STEPS for step in steps), f"it reports steps from 1 to {STEPS}")


def _task() -> tuple[Task, Examples]:
    """A category, two numbers, one with gaps, and a label that depends on all; read-only, as Ray's store gives them."""
    rng = np.random.default_rng(0)
    kind, a, b = rng.integers(0, 4, 2 * ROWS), rng.normal(size=2 * ROWS), rng.normal(size=2 * ROWS)
    odds = 1.5 * a - b + np.where(kind == 2, 1.5, 0.0)
    y = (rng.random(2 * ROWS) < 1 / (1 + np.exp(-odds))).astype(np.float32)
    x = np.stack([kind, np.where(rng.random(2 * ROWS) < 0.1, np.nan, a), b], axis=1).astype(np.float32)
    x.flags.writeable = y.flags.writeable = False
    columns = (Column(name="kind", vocabulary=("p", "q", "r")), Column(name="a"), Column(name="b"))
    parts = [Examples(x, y).rows(start, end) for start, end in ((0, 900), (900, ROWS), (ROWS, 2 * ROWS))]
    return Task(parts[0], parts[1], Signature(columns=columns), "auc", seed=3), parts[2]


def _hold(kept: bool, sentence: str) -> None:
    if not kept:
        raise TrainingError(f"does not keep this: {sentence}", where="trainer", cure="See `raypipe.training.Trainer`")
