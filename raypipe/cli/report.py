"""What a run came to: the trials, the winner and why, where everything is, and a question to try."""

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from typing import TypeVar

import msgspec
from rich.text import Text

from raypipe.cli.output import Output
from raypipe.cli.tables import model_document, trials_table, winner_sentences
from raypipe.contracts.records import Candidate, Deployment, Ingested, ModelVersion, Record, Trial
from raypipe.flows import Platform, Run, StageResult
from raypipe.flows.question import question

R = TypeVar("R", bound=Record)


def report(run: Run, results: Sequence[StageResult], out: Output) -> None:
    """Tell people how the run ended; give programs one document of it."""
    candidate, deployment = _last(results, Candidate), _last(results, Deployment)
    if candidate is not None:
        out.say("", trials_table(candidate), *winner_sentences(candidate))
    if deployment is not None:
        _ways_in(deployment, _example(run, _last(results, Ingested)), run.platform, out)
    out.result(as_document(run.pipeline.name, results))


def as_document(pipeline: str, results: Sequence[StageResult]) -> dict[str, object]:
    """A run as ``raypipe run --json`` prints it."""
    candidate, version = _last(results, Candidate), _last(results, ModelVersion)
    deployment = _last(results, Deployment)
    return {
        "pipeline": pipeline,
        "stages": [
            {"stage": r.stage, "line": r.line, "seconds": round(r.seconds, 3), "reused": r.reused} for r in results
        ],
        "trials": None if candidate is None else [_trial(trial) for trial in candidate.trials],
        "model": None if version is None else model_document(version),
        "url": None if deployment is None else deployment.url,
    }


def _trial(trial: Trial) -> dict[str, object]:
    shown = ("number", "algorithm", "params", "status", "metrics", "seconds", "error")
    return {name: getattr(trial, name) for name in shown}


def _ways_in(deployment: Deployment, question: dict[str, object], platform: Platform, out: Output) -> None:
    at = platform.services
    places = {"Service": deployment.url, "Ray dashboard": at.dashboard_url, "MLflow": at.mlflow_url}
    out.say("", *(Text.assemble(f"{name:<15}", (url, "cyan")) for name, url in places.items()))
    out.say("", Text("Ask it", "bold"))
    body = shlex.quote(msgspec.json.encode(question).decode())
    out.copyable(f"curl {deployment.url} -H 'Content-Type: application/json' -d {body}")
    if not at.ray_address:
        out.say("", Text("Stop everything", "bold"))
        out.copyable(f"{_program()} down")


def _program() -> str:
    """This program as it can be typed here: by its name when it is on the path."""
    return "raypipe" if shutil.which("raypipe") else os.path.relpath(sys.argv[0])


def _example(run: Run, ingested: Ingested | None) -> dict[str, object]:
    snapshots = () if ingested is None else ingested.snapshots
    return question(run.platform, run.pipeline, snapshots, run.as_of)


def _last(results: Sequence[StageResult], kind: type[R]) -> R | None:
    return next((r.record for r in reversed(results) if isinstance(r.record, kind)), None)
