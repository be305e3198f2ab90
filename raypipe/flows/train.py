"""From tables to the best model: features as known at the time, then one search over all algorithms."""

from raypipe import features, training
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Candidate, Snapshot, TrainingSet
from raypipe.flows.model_gates import gate_training
from raypipe.flows.platform import Platform
from raypipe.spec import Pipeline
from raypipe.words import amount


def build(
    platform: Platform,
    progress: Progress,
    *,
    pipeline: Pipeline,
    snapshots: tuple[Snapshot, ...],
    as_of: int,
    bypass: str = "",
) -> TrainingSet:
    """One row for each prediction that could have been asked, with its features as known then; past its gate.

    Raises:
        GateError: a check before training failed, and ``bypass`` gives no reason to go on.
    """
    by_name = {snapshot.table: snapshot for snapshot in snapshots}
    folder = platform.workspace / "training_sets"
    lake = platform.lake
    made = features.build_training_set(
        pipeline, by_name, lake.frame, folder, as_of, progress, scan=lake.dataset, laid=lake.portions
    )
    return gate_training(platform, progress, pipeline=pipeline, training_set=made, bypass=bypass)


def build_line(record: TrainingSet) -> str:
    """What came of it, in one line."""
    # A record that was read back has its keys in alphabetical order.
    rows = ", ".join(f"{name} {record.rows[name]:,}" for name in ("train", "tune", "holdout"))
    return f"{amount(len(record.features), 'feature')}; rows: {rows}; {_left_out(record)}"


def _left_out(record: TrainingSet) -> str:
    """How many rows are no examples, and for which reason most of them."""
    left = {reason: rows for reason, rows in record.left_out.items() if rows}
    told = ", ".join(f"{rows:,} {reason}" for reason, rows in sorted(left.items(), key=lambda one: -one[1]))
    return f"{sum(left.values()):,} left out" + (f" ({told})" if told else "")


def train(platform: Platform, progress: Progress, *, pipeline: Pipeline, training_set: TrainingSet) -> Candidate:
    """Search for the best model and judge it once on the holdout."""
    folder = platform.workspace / "searches"
    return training.search(pipeline, training_set, folder, platform.tracking_uri, platform.cpus, progress)


def train_line(record: Candidate) -> str:
    """What came of it, in one line."""
    shown = "AUC" if record.metric == "auc" else record.metric
    found = f"holdout {shown} {record.metrics[record.metric]:.3f}"
    return f"{record.algorithm} wins of {amount(len(record.trials), 'trial')}: {found}"
