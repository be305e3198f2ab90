"""Versions across algorithms, registered and made again from their records."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import msgspec

from benchmarks.report import QUICK, Aim, Row
from raypipe import training
from raypipe.clock import SystemClock
from raypipe.contracts import bundle
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Candidate, ModelVersion, TrainingSet
from raypipe.flows import Platform
from raypipe.flows.reproduce import reproduce
from raypipe.lake import Lake
from raypipe.ledger import Ledger
from raypipe.registry import Registry, capture
from raypipe.spec import Pipeline, Search, changed, models
from raypipe.training.space import DEFAULTS
from raypipe.training.trainer import Params
from raypipe.training.trainers.several import pack

HERE = Path(__file__).parents[2]
EACH = {"lightgbm": 1, "segments": 1} if QUICK else {
    "lightgbm": 3, "network": 2, "linear": 3, "ensemble": 1, "segments": 1,
}  # fmt: skip


def made_again(home: Path, wish: Pipeline, rows: TrainingSet) -> tuple[list[Row], list[Aim]]:
    """How many versions of each algorithm were identical, to the bit."""
    ledger = Ledger.in_folder(home, SystemClock())
    registry = Registry(home / "registry", ledger, "")
    platform = msgspec.defstruct("Opened", [("workspace", object), ("lake", object)])(home, Lake(home / "lake"))
    found = []
    for version in _registered(home, registry, wish, rows):
        made = reproduce(cast("Platform", platform), version, HERE, Silent())
        found.append((version.algorithm, made.identical))
        if not made.identical:
            print(made.because, [result for result in made.results if not result.same])
    ledger.close()
    same = sum(identical for _, identical in found)
    shown = {name: f"{sum(i for a, i in found if a == name)} of {many}" for name, many in EACH.items()}
    row = Row(
        "raypipe", f"{len(found)} versions made again", {"identical": ", ".join(f"{n} {s}" for n, s in shown.items())}
    )
    return [row], [Aim("versions made again identical", f"{same} of {len(found)}", "all", same == len(found))]


def _registered(home: Path, registry: Registry, pipeline: Pipeline, rows: TrainingSet) -> Iterator[ModelVersion]:
    for algorithm, many in EACH.items():
        for seed in range(many):
            wish = changed(pipeline, search=Search([models.Linear()], seed=seed))
            params, folder = _small(algorithm, seed), home / "made" / f"{algorithm}-{seed}"
            training.refit(wish, rows, algorithm, params, {}, folder)
            candidate = Candidate(
                pipeline=wish.name, training_set=rows.digest, algorithm=algorithm, params=params, seed=seed,
                folder=str(folder), metrics=bundle.card(folder).metrics, trials=(), reason="", experiment="",
            )  # fmt: skip
            yield registry.register(candidate, capture(wish, HERE / "examples/flights/pipeline.py", candidate, rows))


def _small(algorithm: str, seed: int) -> Params:
    """Parameters of a model that is fitted in seconds; of those made of models, with their parts."""
    if algorithm == "ensemble":
        return pack({"algorithm": name, "share": 0.5, **_small(name, seed)} for name in ("lightgbm", "linear"))
    if algorithm == "segments":
        first, own = ({"algorithm": name, **_small(name, seed)} for name in ("lightgbm", "linear"))
        return {"by": "origin", **pack([first, {"value": "JFK", **own}])}
    params = {name: default.first for name, default in DEFAULTS[algorithm].items()}
    fewer: dict[str, Params] = {
        "lightgbm": {"num_iterations": 30 + seed},
        "network": {"epochs": 1},
        "linear": {"C": 0.1 * (seed + 1)},
    }
    return params | fewer[algorithm]
