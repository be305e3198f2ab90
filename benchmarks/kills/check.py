"""What must hold when all is over, whoever was killed: nothing lost, nothing done twice."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.kills.traffic import CERTAIN, TICKS
from benchmarks.kills.world import NAME
from raypipe.clock import SystemClock
from raypipe.ledger import Ledger
from raypipe.stats.bins import CELLS

_NOT_DECISIONS = {"decision.overtaken", "decision.done"}


def faults(workspace: Path, written: Mapping[int, int], *, bad: bool) -> Iterator[str]:
    """What is wrong with a workspace in which a round has ended, from its rows and files alone.

    Args:
        workspace: of the round.
        written: how many rows replicas counted, by version.
        bad: whether the challenger was to back off.
    """
    ledger = Ledger.in_folder(workspace, SystemClock())
    ledger.verify()
    rows = ledger.entries(subject=NAME)
    kinds = Counter(row.kind for row in rows)
    decisions = [row for row in rows if row.kind.startswith("decision.") and row.kind not in _NOT_DECISIONS]
    moments = Counter(json.loads(row.body)["situation"]["at"] for row in decisions)
    if not CERTAIN <= len(moments) <= len(TICKS):
        yield f"decisions of {len(moments)} ticks, not {CERTAIN} to {len(TICKS)}"
    yield from _counted(workspace, written)
    if twice := [at for at, count in moments.items() if count > 1]:
        yield f"{len(twice)} ticks were decided twice"
    expected = {
        "decision.train": 1,
        "retrain.begun": 1,
        "retrain.trained": 1,
        "retrain.ended": 1,
        "model.registered": 2,
        "model.promoted": 1 if bad else 3,
        "decision.rollback": 0 if bad else 1,
        "decision.done": 0 if bad else 1,
        "decision.overtaken": 0,
    }
    for kind, count in expected.items():
        if kinds[kind] != count:
            yield f"{kinds[kind]} rows {kind}, not {count}"
    yield from _jobs(workspace, ledger, kinds)
    promoted = [json.loads(row.body)["version"] for row in rows if row.kind == "model.promoted"]
    if promoted != ([1] if bad else [1, 2, 1]):
        yield f"champions {promoted}"
    swaps = _lines(workspace / "swaps")
    if swaps[-1:] != ["1"] or (not bad and "2" not in swaps):
        yield f"in service: {swaps}"
    ledger.close()


def _counted(workspace: Path, written: Mapping[int, int]) -> Iterator[str]:
    """Every row that replicas counted is in the watcher's state once."""
    state = msgspec.msgpack.decode((workspace / "watch" / f"{NAME}.state").read_bytes())
    for version, rows in written.items():
        ring = msgspec.msgpack.decode(state["monitors"][version])["ring"]
        # The last column is the score, of which every answer has one.
        found = int(np.frombuffer(ring[-1], np.int64).reshape(-1, CELLS)[-1].sum())
        if found != rows:
            yield f"{found} rows of version {version} were counted, not {rows}"


def _jobs(workspace: Path, ledger: Ledger, kinds: Counter[str]) -> Iterator[str]:
    """One job an attempt, and another attempt only after the one before could write nothing any more."""
    jobs = Counter(_lines(workspace / "jobs"))
    for job, count in jobs.items():
        attempt = int(job.rsplit("-", 1)[1])
        after_lease = ledger.get(f"retrain/{NAME}/1/leased/{attempt}")
        if after_lease is None:
            yield f"{job} has no lease"
        # A cluster that forgot a job it was not known to have is given it again: the one process is told by the ledger.
        if count > 1 and ledger.get(f"retrain/{NAME}/1/started/{attempt}") is None and kinds["retrain.leased"] == 1:
            yield f"{job} was begun {count} times"
    if kinds["retrain.leased"] > 3 or kinds["retrain.started"] > kinds["retrain.leased"]:
        yield f"{kinds['retrain.started']} processes for {kinds['retrain.leased']} leases"


def _lines(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []
