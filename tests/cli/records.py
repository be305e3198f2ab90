"""Records as a run of the flights example makes them."""

from raypipe.contracts.records import (
    Candidate,
    Deployment,
    GateReport,
    Ingested,
    Lineage,
    ModelVersion,
    Snapshot,
    Trial,
)

MADE = 1_372_809_600_000_000


def snapshot(table: str, rows: int) -> Snapshot:
    return Snapshot(table=table, snapshot_id=7, definition="d", rows=rows, added=0, repeated=rows, files=())


INGESTED = Ingested(snapshots=(snapshot("airports", 1_458), snapshot("flights", 336_776)))
REPORT = GateReport(pipeline="flights", as_of=MADE, snapshots=INGESTED.snapshots, results=())


def trial(number: int, algorithm: str, auc: float, *, error: str = "") -> Trial:
    metrics = {"auc": auc, "log_loss": 1 - auc, "ece": 0.0123, "p50_ms_1": 0.25, "p99_ms_1": 0.5 + number}
    metrics |= {"p50_ms_1000": 12.34, "bytes": 1_234_567.0, "money_per_million": 0.00123}
    return Trial(
        number=number,
        algorithm=algorithm,
        params={"n": number},
        status="failed" if error else "finished",
        metrics={} if error else metrics,
        seconds=3.2 * number,
        error=error,
    )


TRIALS = (
    trial(1, "linear", 0.701),
    trial(2, "lightgbm", 0.7712),
    trial(3, "network", 0.0, error="TrainingError: the loss is not a number after 3 epochs"),
    trial(4, "lightgbm", 0.7604),
)
CANDIDATE = Candidate(
    pipeline="flights",
    training_set="t",
    algorithm="lightgbm",
    params={"n": 2},
    seed=0,
    folder="f",
    metrics={"auc": 0.7688, "log_loss": 0.4321, "extra": 9.0},
    trials=TRIALS,
    reason="lightgbm (trial 2) 0.7712 has the highest auc on the tuning period; after it lightgbm (trial 4) 0.7604",
    experiment="e",
)
LINEAGE = Lineage(
    commit="a1076aad3394261c",
    dirty=True,
    pipeline_definition="p",
    feature_definition="f",
    training_set="t",
    as_of=MADE,
    snapshots={"flights": 7},
    files=(),
    params={"n": 2},
    seed=0,
    lock={"ray": "2.60.0"},
    run_id="r",
)


def version(number: int, *aliases: str) -> ModelVersion:
    return ModelVersion(
        name="flights",
        version=number,
        aliases=aliases,
        algorithm="lightgbm",
        metrics={"auc": 0.76 + number / 1_000, "log_loss": 0.43, "ece": 0.01},
        created=MADE,
        digest="d",
        folder="f",
        lineage=LINEAGE,
    )


DEPLOYMENT = Deployment(name="flights", version=2, digest="d", url="http://127.0.0.1:8000/flights/predict", at=MADE)
