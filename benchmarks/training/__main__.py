"""`make bench-training`: a search against the same trials by hand, the June holdout, reproduction, and a race.

Everything runs on two cores and one local Ray cluster. QUICK=1 learns from January alone, tries 4 trials of few rounds,
reproduces 2 versions and races for 20 rounds.
"""

import json
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import ray
from mlflow import MlflowClient

from benchmarks.report import QUICK, Aim, Row, versions, write
from benchmarks.training.holdout import defaults, judged
from benchmarks.training.made_again import made_again
from examples.flights.pipeline import NEW_YORK, pipeline
from raypipe import features, training
from raypipe.clock import SystemClock
from raypipe.contracts import bundle
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Candidate, TrainingSet
from raypipe.lake import Lake
from raypipe.ledger import Ledger
from raypipe.registry import Registry
from raypipe.spec import Finish, Pipeline, Search, changed, models, periods
from raypipe.training.limits import NICE
from raypipe.training.outcome import FINISHED, STOPPED, Outcome
from raypipe.training.trainer import STEPS, Params
from tests.registry.making import lineage_of, make_candidate
from tests.registry.racing import CLIENTS

HERE = Path(__file__).parents[2]
TRIALS, TREES, EPOCHS = (4, 40, 1) if QUICK else (40, 400, 10)
RACES = 20 if QUICK else 200
#: Versions are made again from fewer months; a short run has no others.
FEW = periods(train="2013-01", tune="2013-02", holdout="2013-03", zone=NEW_YORK)


def build(home: Path, wish: Pipeline) -> TrainingSet:
    """A training set, through the lake."""
    lake = Lake(home / "lake")
    snapshots = [lake.ingest(source, Silent()) for source in wish.sources]
    lake.publish(tuple(snapshots))
    assert wish.as_of is not None
    as_of = int(wish.as_of.timestamp()) * 1_000_000
    by_name = {snapshot.table: snapshot for snapshot in snapshots}
    return features.build_training_set(wish, by_name, lake.frame, home / "training_sets", as_of, Silent())


class Timed:
    """Progress that notes when each step was over."""

    def __init__(self, name: str = "", ended: dict[str, float] | None = None) -> None:
        self._name, self.ended = name, {} if ended is None else ended

    def step(self, name: str, total: float | None = None) -> "Timed":
        """A step that is timed."""
        return Timed(name, self.ended)

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        """Steps within a step are not timed."""

    def __enter__(self) -> "Timed":
        return self

    def __exit__(self, *error: object) -> None:
        self.ended[self._name] = perf_counter()


def searched(home: Path, name: str, wish: Pipeline, rows: TrainingSet) -> tuple[Candidate, list[Outcome], float]:
    """The winner, what came of the trials, and their wall time: from the rows' files to the last trial in MLflow."""
    progress, began = Timed(), perf_counter()
    candidate = training.search(wish, rows, home / name, f"sqlite:///{home}/mlflow.db", 2, progress)
    files = (home / name).glob("*/trials/*/outcome.json")
    outcomes = sorted((Outcome.from_json(file.read_bytes()) for file in files), key=lambda each: each.trial.number)
    assert [outcome.trial.status for outcome in outcomes] == [t.status for t in candidate.trials[: len(outcomes)]]
    return candidate, outcomes, progress.ended["trials"] - began


def asked(outcome: Outcome) -> Params:
    """The same trial for somebody else: as many trees at most as it may have had, fewer if it was stopped."""
    most = TREES if outcome.trial.status != STOPPED else max(step for step, _ in outcome.curve) * TREES // STEPS
    return {**outcome.trial.params, "num_iterations": most}


def by_hand(rows: TrainingSet, outcomes: Sequence[Outcome]) -> dict[str, float]:
    """The best AUC and the wall time of a script that fits the same trials."""
    points = json.dumps([asked(outcome) for outcome in outcomes])
    # As our trials: whatever else runs on the machine takes from both alike.
    command = ["nice", "-n", str(NICE), sys.executable, "-m", "benchmarks.training.peer", rows.folder, points]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def against(outcomes: Sequence[Outcome], seconds: float, peer: dict[str, float]) -> tuple[list[Row], list[Aim]]:
    """How the search did against the script."""
    finished = [outcome.trial for outcome in outcomes if outcome.trial.status == FINISHED]
    best = max(trial.metrics["auc"] for trial in finished)
    assert abs(best - peer["best"]) < 1e-6, "both must fit the same models"
    # What two cores had, less what they fitted: proposals, imports, export to ONNX, timing, MLflow, and waiting.
    fitting = sum(outcome.trial.metrics.get("fit_seconds", outcome.trial.seconds) for outcome in outcomes)
    framework, ratio = (2 * seconds - fitting) / len(outcomes), seconds / peer["seconds"]
    within = (sum(outcome.trial.seconds for outcome in outcomes) - fitting) / len(outcomes)
    case = f"{len(outcomes)} trials, {len(finished)} of them to their end"
    rows = [
        Row(
            "raypipe",
            case,
            {"wall_s": seconds, "tune_auc": best, "framework_s_per_trial": framework, "of_that_in_trials_s": within},
        ),
        Row("Optuna + LightGBM by hand", case, {"wall_s": peer["seconds"], "tune_auc": peer["best"]}),
    ]
    aims = [
        Aim("wall time of the search against a script", ratio, "at most 1.15 times", ratio <= 1.15),
        Aim("framework time a trial, s of one core", framework, "under 0.5 s", framework < 0.5),
    ]
    return rows, aims


def raced(home: Path) -> tuple[list[Row], list[Aim]]:
    """Sixteen processes that promote at once, round after round."""
    ledger = Ledger.in_folder(home, SystemClock())
    registry = Registry(home / "registry", ledger, "")
    for number in range(3):
        candidate = make_candidate(home / f"candidate-{number}", weight=1.0 + number)
        registry.register(candidate, lineage_of(candidate, bundle.pipeline(Path(candidate.folder))))
    ledger.close()
    began = perf_counter()
    command = [sys.executable, "-m", "tests.registry.racing", str(home), str(RACES)]
    done = json.loads(subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True).stdout)
    each = (perf_counter() - began) / RACES
    assert done["exits"] == [0] * CLIENTS
    single = sum(len(won) == 1 for won in done["won"])
    row = Row(
        "raypipe", f"promotion, {CLIENTS} clients, {RACES} rounds", {"one_winner": single, "round_ms": each * 1e3}
    )
    return [row], [Aim("rounds with one winner", single, f"{RACES} of {RACES}", single == RACES)]


def main() -> None:
    """Run all, write the results."""
    home = Path(tempfile.mkdtemp(prefix="rpb-", dir="/tmp"))
    trees = Search([models.LightGBM(num_iterations=TREES)], trials=TRIALS, metric="auc")
    everybody = [*trees.models, models.Network(epochs=EPOCHS), models.Linear()]
    whole = Search(everybody, trials=TRIALS, metric="auc", ensemble=True)
    few = changed(pipeline, split=FEW)
    wish = changed(few if QUICK else pipeline, search=trees, finish=Finish())
    try:
        data = build(home, wish)
        few_rows = data if QUICK else build(home, few)
        # Its tables are made once, by `raypipe up`, not by a search.
        MlflowClient(f"sqlite:///{home}/mlflow.db").search_experiments()
        ray.init(
            address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
            object_store_memory=500_000_000, _temp_dir=str(home / "ray"),
        )  # fmt: skip
        _, outcomes, seconds = searched(home, "trees", wish, data)
        candidate, _, _ = searched(home, "all", changed(wish, search=whole), data)
        ray.shutdown()
        parts = [against(outcomes, seconds, by_hand(data, outcomes))]
        parts.append(judged(candidate, data, defaults(wish, data, TREES, EPOCHS)))
        parts.append(made_again(home, few, few_rows))
        (home / "race").mkdir()
        parts.append(raced(home / "race"))
        rows, aims = [row for made, _ in parts for row in made], [aim for _, made in parts for aim in made]
        write("training", rows, aims, versions("lightgbm", "optuna", "ray", "torch", "scikit-learn"), NOTES)
    finally:
        ray.shutdown()
        shutil.rmtree(home, ignore_errors=True)


NOTES = """
The script fits the same parameters on the same rows, in two processes on two cores, and stores nothing; a trial that
raypipe stopped, because it had fallen behind its peers, gets as many trees there as it had. raypipe also exports each
model to ONNX, compares the two, times it, and writes it to MLflow. Both begin with the training set's files and end
with the last AUC; Ray runs before.

Framework time is what two cores had beyond fitting, divided by the trials, the start of worker processes included.
The winner is that of another search of as many trials over all three algorithms: its best trial, or a mean of the best,
chosen on the tuning period. It is fitted again on train and tune; so are the defaults. Its interval is drawn over days,
and so is that of how far it is above each default, both on the same days. Versions that are made again learn from
January.
"""

if __name__ == "__main__":
    main()
