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
from raypipe.contracts import target as targets
from raypipe.contracts.signature import Column, Signature
from raypipe.contracts.target import Target
from raypipe.errors import TrainingError
from raypipe.spec.search import TASK_METRICS
from raypipe.training.metrics import measure
from raypipe.training.onnx_model import OnnxModel, difference
from raypipe.training.trainer import STEPS, Examples, Params, Scores, Task, Trainer

ROWS = 1_200


#: What a model of each task is judged by here, and how much better than a constant answer it must be.
LEARNS = {
    "binary": ("brier", 0.9),
    "multiclass": ("log_loss", 0.9),
    "regression": ("rmse", 0.8),
    "quantile": ("pinball", 0.8),
    "count": ("poisson_deviance", 0.8),
}


def check(make: Callable[[], Trainer], params: Params, task: targets.Task = "binary") -> None:
    """Fit a trainer on rows with a known truth, and hold it against every sentence of `Trainer`.

    Args:
        make: gives a fresh trainer; the class itself, as a rule.
        params: all its parameters by name, small enough for a quick test.
        task: what is predicted: ``binary``, ``multiclass`` (three classes), ``regression``, ``quantile`` (of 0.8) or
            ``count``. A trainer for several is checked for each.

    Raises:
        TrainingError: the first sentence that it does not keep.
    """
    asked, fresh = _task(task)
    model = make()
    settled = model.fit(asked, dict(params))
    scores = model.predict(fresh.x)
    _answers(asked, fresh, scores)
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        model.save(Path(one))
        names = sorted(path.name for path in Path(one).iterdir())
        _hold(bundle.MODEL in names and len(names) > 1, "it writes model.onnx, and its own format beside it")
        wrong = [name for name in names if not bundle.ALLOWED.fullmatch(name)]
        _hold(not wrong, f"it writes only formats that run no code, not {', '.join(wrong)}")
        difference(model, OnnxModel(Path(one)), fresh.x, "contract", asked.target)
        again = make()
        again.fit(asked, dict(params))
        again.save(Path(other))
        same = all((Path(one) / name).read_bytes() == (Path(other) / name).read_bytes() for name in names)
        _hold(same, "the same seed gives the same bytes")
    refitted = make()
    refitted.fit(replace(asked, tune=None), dict(params) | settled)
    _hold(np.array_equal(refitted.predict(fresh.x), scores), "what it settled fits the same model without tuning rows")
    _stop(make(), asked, params)


def _answers(asked: Task, fresh: Examples, scores: Scores) -> None:
    """The scores are what the task asks for, and better than a constant answer."""
    target = asked.target
    shape, each = ((len(target.classes),), "one a row and class") if target.classes else ((), "one a row")
    _hold(scores.dtype == np.float32 and scores.shape == (len(fresh.x), *shape), f"it gives float32 scores, {each}")
    if not target.numeric:
        _hold(bool(((scores >= 0) & (scores <= 1)).all()), "it gives probabilities, also of rows with gaps")
    if target.classes:
        _hold(np.allclose(scores.sum(axis=1), 1, atol=1e-4), "the probabilities of a row's classes add up to one")
    if target.task == "count":
        _hold(bool((scores >= 0).all()), "it gives counts, which are never below zero, also of rows with gaps")
    _hold(bool(np.isfinite(scores).all()), "it gives numbers, also of rows with gaps")
    metric, share = LEARNS[target.task]
    constant = measure(metric, fresh.y, _constant(asked, len(fresh.y)), target)
    reached = measure(metric, fresh.y, scores, target)
    _hold(reached < share * constant, f"it learns: {metric} below {share * constant:.3g}, {share:g} of a constant's")


def _constant(asked: Task, rows: int) -> Scores:
    """The best answer that is the same for every row."""
    y, target = asked.train.y, asked.target
    if target.classes:
        shares = np.bincount(y.astype(int), minlength=len(target.classes)) / len(y)
        return np.tile(shares.astype(np.float32), (rows, 1))
    best = y.mean() if target.quantile is None else np.quantile(y, target.quantile)
    return np.full(rows, best, dtype=np.float32)


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


def _task(task: targets.Task) -> tuple[Task, Examples]:
    """A category, two numbers, one with gaps, and a label that depends on all; read-only, as Ray's store gives them."""
    rng = np.random.default_rng(0)
    kind, a, b = rng.integers(0, 4, 2 * ROWS), rng.normal(size=2 * ROWS), rng.normal(size=2 * ROWS)
    odds = 1.5 * a - b + np.where(kind == 2, 1.5, 0.0)
    y = {
        "binary": lambda: rng.random(2 * ROWS) < 1 / (1 + np.exp(-odds)),
        "multiclass": lambda: np.digitize(odds + rng.logistic(size=2 * ROWS), [-1.0, 1.0]),
        "count": lambda: rng.poisson(np.exp(odds / 2)),
    }.get(task, lambda: 3 * odds + rng.normal(size=2 * ROWS))().astype(np.float32)
    target = Target(
        task=task,
        classes=("early", "fair", "late") if task == "multiclass" else (),
        quantile=0.8 if task == "quantile" else None,
    )
    x = np.stack([kind, np.where(rng.random(2 * ROWS) < 0.1, np.nan, a), b], axis=1).astype(np.float32)
    x.flags.writeable = y.flags.writeable = False
    columns = (Column(name="kind", vocabulary=("p", "q", "r")), Column(name="a"), Column(name="b"))
    parts = [Examples(x, y).rows(start, end) for start, end in ((0, 900), (900, ROWS), (ROWS, 2 * ROWS))]
    return Task(parts[0], parts[1], Signature(columns=columns), TASK_METRICS[task][0], 3, target=target), parts[2]


def _hold(kept: bool, sentence: str) -> None:
    if not kept:
        raise TrainingError(f"does not keep this: {sentence}", where="trainer", cure="See `raypipe.training.Trainer`")
