"""What Prometheus, the log and the traces are told of each piece of work that a flow does on the cluster."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from time import perf_counter
from typing import NamedTuple

from ray.util.metrics import Counter

from raypipe import observe
from raypipe.contracts.records import Candidate, GateReport, Ingested, Record, TrainingSet

logger = logging.getLogger(__name__)


class _Counters(NamedTuple):
    runs: Counter
    seconds: Counter
    rows: Counter


@cache
def _counters() -> _Counters:
    # Counters alone: Ray's agent adds up what ended processes counted, but forgets their gauges.
    return _Counters(
        Counter("raypipe_stage_runs", "Stages that were run, by how they ended", ("pipeline", "stage", "outcome")),
        Counter("raypipe_stage_seconds", "Seconds that stages took", ("pipeline", "stage")),
        Counter("raypipe_stage_rows", "What stages made, in rows or pieces", ("pipeline", "stage", "what")),
    )


@contextmanager
def stage_told(pipeline: str, stage: str) -> Iterator[None]:
    """Tell how the block, one stage of a pipeline, begins, and how it ends and after how long."""
    began = perf_counter()
    outcome = "failed"
    with observe.about(pipeline=pipeline, stage=stage), observe.span(f"{pipeline}: {stage}") as span:
        logger.info("begun")
        try:
            yield
            outcome = "done"
        except BaseException as error:
            observe.failed(span, str(error))
            logger.info("failed: %s", error)
            raise
        finally:
            seconds = perf_counter() - began
            _counters().runs.inc(1, {"pipeline": pipeline, "stage": stage, "outcome": outcome})
            _counters().seconds.inc(max(seconds, 1e-9), {"pipeline": pipeline, "stage": stage})
        logger.info("done in %.1f s", seconds)


def reused(pipeline: str, stage: str) -> None:
    """Tell that a stage was not run, because its work had been done before."""
    _counters().runs.inc(1, {"pipeline": pipeline, "stage": stage, "outcome": "reused"})


def made(pipeline: str, stage: str, record: Record) -> None:
    """Tell how much a stage made."""
    for what, count in counts(record).items():
        if count:  # of nothing, Ray makes an error
            _counters().rows.inc(count, {"pipeline": pipeline, "stage": stage, "what": what})


def counts(record: Record) -> Mapping[str, int]:
    """What is worth counting of a record, by name.

    >>> counts(Ingested(snapshots=()))
    {'new': 0, 'repeated': 0}
    """
    match record:
        case Ingested():
            found = [one for one in record.snapshots if one.table not in record.waiting]
            return {"new": sum(one.added for one in found), "repeated": sum(one.repeated for one in found)}
        case GateReport():
            failed = sum(not result.passed for result in record.results)
            return {"passed": len(record.results) - failed, "failed": failed, "set_aside": record.quarantined}
        case TrainingSet():
            return record.rows | {"left_out": sum(record.left_out.values())}
        case Candidate():
            return {"trials": len(record.trials)}
        case _:
            return {}
