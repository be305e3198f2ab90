"""Candidates and their lineage, as a search and a flow would hand them to the registry."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from raypipe.contracts.records import Candidate, Lineage, Snapshot, SourceFile, TrainingSet, Trial
from raypipe.registry import capture
from raypipe.spec import Pipeline
from tests.contracts.bundles import make_bundle

AS_OF = 1_372_636_800_000_000


def make_candidate(folder: Path, weight: float = 1.0, auc: float = 0.7, training_set: str = "set-1") -> Candidate:
    """A candidate with its bundle in ``folder / "bundle"``."""
    make_bundle(folder / "bundle", weight, {"auc": auc})
    params = {"weight": weight}
    other = Trial(number=0, algorithm="lightgbm", params={}, status="done", metrics={}, seconds=1.0, run_id="run-0")
    return Candidate(
        pipeline="rides",
        training_set=training_set,
        algorithm="linear",
        params=params,
        seed=7,
        folder=str(folder / "bundle"),
        metrics={"auc": auc, "log_loss": 0.5},
        trials=(other, Trial(number=1, algorithm="linear", params=params, status="done", metrics={}, seconds=1.0)),
        reason="best",
        experiment="rides",
    )


def make_training_set(digest: str = "set-1", snapshot: int = 11) -> TrainingSet:
    file = SourceFile(path="rides.csv", digest="ab", rows=9)
    tables = {"zones": 5, "rides": snapshot}
    return TrainingSet(
        pipeline="rides",
        definition="features-1",
        as_of=AS_OF,
        snapshots=tuple(
            Snapshot(table=name, snapshot_id=number, definition="", rows=9, added=9, repeated=0, files=(file,))
            for name, number in tables.items()
        ),
        folder="",
        digest=digest,
        features=("zone", "fare", "hour"),
        rows={},
        positives={},
        left_out={},
    )


def lineage_of(candidate: Candidate, pipeline: Pipeline, snapshot: int = 11) -> Lineage:
    file = Path(candidate.folder).parent / "definition" / "pipeline.py"
    return capture(pipeline, file, candidate, make_training_set(candidate.training_set, snapshot))


@contextmanager
def loader() -> Iterator[Callable[[str, str], object]]:
    """MLflow's own loader, pointed at a server; MLflow keeps that for the whole process, so it is taken back."""
    import mlflow

    def load(tracking_uri: str, model_uri: str) -> object:
        mlflow.set_tracking_uri(tracking_uri)
        return mlflow.pyfunc.load_model(model_uri)

    try:
        yield load
    finally:
        mlflow.set_tracking_uri("")
        os.environ.pop("MLFLOW_TRACKING_URI", None)
