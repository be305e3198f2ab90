"""A small pipeline under any name, a model of it without a training, and what a run of it leaves in the ledger."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import polars as pl

from raypipe.contracts import bundle
from raypipe.contracts.records import (
    Candidate,
    CheckResult,
    GateReport,
    Lineage,
    Snapshot,
    SourceFile,
    TrainingSet,
    Trial,
)
from raypipe.contracts.signature import Signature
from raypipe.registry import capture
from raypipe.spec import load
from tests.contracts.bundles import ROWS, write_onnx

AS_OF = 1_372_636_800_000_000
DAY = 86_400_000_000
FEATURES = ("zone", "hour", "fare")
GOLDEN = ROWS.select(FEATURES)
SIGNATURE = Signature.fit(GOLDEN.filter(pl.col("zone").is_in(["a", "b"])), FEATURES)
#: The golden rows as the model sees them: categories by their number, missing values as 0.
ENCODED = np.array([[1, 1, 1.5], [2, 23, 0], [0, 0, -3], [0, 12, 0.25], [1, 0, 0]])
TRIALS, CHECKS, FILES = 12, 10, 30
TEXT = '''"""Will this ride be tipped?"""

from datetime import datetime

import polars as pl

from raypipe import Pipeline, Search, Stream, agg, csv, days, hours, models, periods, request

rides = Stream(
    "rides",
    csv("{folder}/rides.csv"),
    id=["ride"],
    time="asked_at",
    columns={{str: "ride zone", float: "fare tip", datetime: "asked_at done_at"}},
    reveals={{"done_at": ["fare", "tip"]}},
)
pipeline = Pipeline(
    "{name}",
    ask=rides.before("asked_at"),
    inputs=[
        request("ride", "zone", "asked_at").with_features(zone="zone", hour=pl.col("asked_at").dt.hour()),
        rides.at("done_at").by("zone").features(fare=agg.mean("fare", hours(3))),
    ],
    label=rides.label(pl.col("tip") > 0, settled_after=days(1)),
    split=periods(train="2013-01..2013-03", tune="2013-04", holdout="2013-05"),
    search=Search([models.Linear()], trials=1),
    as_of="2013-07-01",
)
'''


def definition(folder: Path, name: str) -> Path:
    """The pipeline's file, and the rides that it reads."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "rides.csv").exists():
        days = [f"2013-{n % 6 + 1:02}-{n % 28 + 1:02}" for n in range(600)]
        lines = [
            f"r{n},{'ab'[n % 2]},{n % 40}.5,{n % 3}.0,{day}T09:00:00Z,{day}T09:30:00Z" for n, day in enumerate(days)
        ]
        (folder / "rides.csv").write_text("\n".join(["ride,zone,fare,tip,asked_at,done_at", *lines, ""]))
    file = folder / f"{name}.py"
    file.write_text(TEXT.format(folder=folder, name=name))
    return file


def candidate(folder: Path, name: str, number: int) -> tuple[Candidate, Lineage]:
    """The ``number``-th model of a pipeline, as its search hands it to the registry: one more logistic model."""
    file = definition(folder, name)
    made, weight = folder / f"{name}-{number}", 1 + number / 1_000
    made.mkdir()
    pipeline = load(file)
    write_onnx(made / bundle.MODEL, weight)
    (made / "model.txt").write_text(f"logistic {weight}")
    chosen = chosen_of(name, number, str(made))
    scores = 1 / (1 + np.exp(-ENCODED @ np.array([0.5, 0.25, -0.125]) * weight))
    bundle.write(
        made,
        signature=SIGNATURE,
        pipeline=pipeline,
        card=bundle.Card(
            algorithm=chosen.algorithm, params=chosen.params, metrics=chosen.metrics, threshold=0.5, seed=chosen.seed
        ),
        golden=GOLDEN.with_columns(score=pl.Series(scores)),
    )
    bundle.seal(made)
    return chosen, capture(pipeline, file, chosen, set_of(name, number))


def chosen_of(name: str, number: int, folder: str) -> Candidate:
    """What a search of twelve trials comes to."""
    trials = tuple(
        Trial(
            number=trial,
            algorithm="linear",
            params={"weight": 1 + number / 1_000 + trial, "l2": trial / 10},
            status="finished",
            metrics={"auc": 0.7 - trial / 100, "log_loss": 0.5, "ece": 0.01, "p99_ms_1": 0.1, "p99_ms_100": 0.4},
            seconds=1.25,
            run_id=f"{number:028}{trial:04}",
        )
        for trial in range(TRIALS)
    )
    return Candidate(
        pipeline=name,
        training_set=f"{name}-set-{number}",
        algorithm="linear",
        params=trials[0].params,
        seed=7,
        folder=folder,
        metrics={"auc": 0.7, "log_loss": 0.5, "ece": 0.01},
        trials=trials,
        reason="linear (trial 0) 0.7 has the highest auc on the tuning period",
        experiment=name,
    )


def set_of(name: str, number: int) -> TrainingSet:
    """What the model was learned from: a month of daily files, on the ``number``-th day."""
    files = tuple(
        SourceFile(path=f"rides/{number + day:05}.csv", digest=sha256(b"%d" % (number + day)).hexdigest(), rows=1_000)
        for day in range(FILES)
    )
    snapshot = Snapshot(
        table="rides",
        snapshot_id=10_000 + number,
        definition="rides-1",
        rows=30_000,
        added=1_000,
        repeated=0,
        files=files,
    )
    return TrainingSet(
        pipeline=name,
        definition="features-1",
        as_of=AS_OF + number * DAY,
        snapshots=(snapshot,),
        folder="",
        digest=f"{name}-set-{number}",
        features=FEATURES,
        rows={"train": 20_000, "tune": 5_000, "holdout": 5_000},
        positives={"train": 10_000, "tune": 2_500, "holdout": 2_500},
        left_out={"not settled": 3},
    )


def report_of(name: str, number: int) -> GateReport:
    """The gate that its rows passed."""
    results = tuple(
        CheckResult(
            table="rides",
            check=f"between(column_{check}, 0..500)",
            columns=(f"column_{check}",),
            passed=True,
            rows=1_000,
            failed=0,
            detail="",
            where=f"pipeline.py:{check}",
        )
        for check in range(CHECKS)
    )
    made = set_of(name, number)
    return GateReport(pipeline=name, as_of=made.as_of, snapshots=made.snapshots, results=results)
