"""The winner of a search on the holdout, beside what every algorithm does without one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import QUICK, Aim, Row
from raypipe.contracts import bundle
from raypipe.contracts.records import Candidate, TrainingSet
from raypipe.spec import Pipeline
from raypipe.training.data import ASKED_AT, LABEL, examples, read, together
from raypipe.training.intervals import DRAWS, binary, blocks_of
from raypipe.training.metrics import measure
from raypipe.training.onnx_model import OnnxModel
from raypipe.training.search import prepare
from raypipe.training.space import DEFAULTS
from raypipe.training.trainer import Params, Scores, Task, Vector
from raypipe.training.trainers import trainer
from raypipe.training.trainers.several import unpack

#: By how much the winner must beat what every algorithm does without a search, in AUC.
MARGIN = 0.001


def defaults(wish: Pipeline, rows: TrainingSet, trees: int, epochs: int) -> dict[str, Scores]:
    """What each algorithm without a search says of the holdout: stopped early on tune, then fitted again with it."""
    data = prepare(wish, rows)
    held_out = examples(read(rows, "holdout"), data.signature, data.target)
    first = Task(data.train, data.tune, data.signature, "auc", wish.search.seed)
    both = replace(first, train=together(data.train, data.tune), tune=None)
    found: dict[str, Scores] = {}
    for name, space in DEFAULTS.items():
        params: Params = {key: default.first for key, default in space.items()}
        params |= {"lightgbm": {"num_iterations": trees}, "network": {"epochs": epochs}}.get(name, {})
        model = trainer(name)
        settled = model.fit(first, dict(params))
        model.fit(both, params | settled)
        found[name] = model.predict(held_out.x)
    return found


def margin(y: Vector, own: Scores, other: Scores, asked_at: NDArray[np.int64]) -> tuple[float, float, float]:
    """By how much the first scores' AUC is above the second's, with its 95 % interval: the same days drawn for both."""
    first, second = (binary(y, scores)["auc"] for scores in (own, other))
    block, rng = blocks_of(asked_at, len(y)), np.random.default_rng(0)
    days = int(block.max()) + 1
    drawn = []
    for _ in range(DRAWS):
        weights = np.bincount(rng.integers(0, days, days), minlength=days)[block].astype(float)
        drawn.append(first(weights) - second(weights))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return first(np.ones(len(y))) - second(np.ones(len(y))), float(low), float(high)


def judged(candidate: Candidate, rows: TrainingSet, alone: dict[str, Scores]) -> tuple[list[Row], list[Aim]]:
    """The winner on the holdout, beside what every algorithm does without a search."""
    folder, month = Path(candidate.folder), "March" if QUICK else "June"
    evaluation, holdout = bundle.evaluation(folder), read(rows, "holdout", (ASKED_AT,))
    assert evaluation is not None
    auc, signature = evaluation.metrics["auc"], bundle.signature(folder)
    y, asked_at = holdout[LABEL].to_numpy().astype(np.float32), holdout[ASKED_AT].to_physical().to_numpy()
    won = OnnxModel(folder).predict(signature.encode(holdout.select(rows.features)))
    assert abs(measure("auc", y, won) - auc.value) < 1e-6, "what was judged is what is served"
    found = []
    for name, scores in alone.items():
        above, low, high = margin(y, won, scores, asked_at)
        figures = {"auc": measure("auc", y, scores), "winner_above": above, "above_low": low, "above_high": high}
        found.append(Row("raypipe", f"{name}, defaults, on {month}", figures))
    above = auc.value - max(measure("auc", y, scores) for scores in alone.values())
    winner = {"auc": auc.value, "low": auc.low, "high": auc.high}
    found.append(Row("raypipe", f"winner ({_made_of(candidate)}), on {month}", winner))
    aims = [
        Aim(f"AUC of the winner on {month}", auc.value, "at least 0.775", auc.value >= 0.775),
        Aim("above every algorithm's defaults", above, f"at least {MARGIN}", above >= MARGIN),
    ]
    return found, aims


def _made_of(candidate: Candidate) -> str:
    """The algorithm; of a mean its members by algorithm, with their shares."""
    shares: dict[str, float] = {}
    for part in unpack(candidate.params):
        shares[str(part["algorithm"])] = shares.get(str(part["algorithm"]), 0.0) + float(part.get("share", 0.0))
    told = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
    return f"{candidate.algorithm}: {told}" if told else candidate.algorithm
