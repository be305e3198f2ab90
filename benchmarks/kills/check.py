"""What must hold when all is over, whoever was killed: nothing lost, nothing done twice."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.kills.deaths import Death, deaths, standstill
from benchmarks.kills.traffic import CERTAIN, TICKS
from benchmarks.kills.windows import BACKING_OFF, RELEASED, Case
from benchmarks.kills.world import NAME
from raypipe.clock import SystemClock
from raypipe.ledger import Entry, Ledger
from raypipe.stats.bins import CELLS

_NOT_DECISIONS = {"decision.overtaken", "decision.done"}


#: What may befall an attempt, and what its successor's lease then says of it.
_BEFALLS = {"kill": "ended as failed without a result", "stop": "gave no sign of life"}
_FORGOTTEN = "was forgotten by the cluster"


def faults(workspace: Path, case: Case, written: Mapping[int, int]) -> Iterator[str]:
    """What is wrong with a workspace in which a round has ended, from its rows and files alone.

    Args:
        workspace: of the round.
        case: who was to be killed where.
        written: how many rows replicas counted, by version.
    """
    ledger = Ledger.in_folder(workspace, SystemClock())
    ledger.verify()
    rows, died = ledger.entries(subject=NAME), deaths(workspace)
    ledger.close()
    yield from _died(case, died, rows)
    yield from _decisions(case, rows)
    yield from _counted(workspace, written)
    yield from _rows(case, rows)
    yield from _jobs(Counter(_lines(workspace / "jobs")), rows, died)
    yield from _alarms(case, Counter(_lines(workspace / "heard")), rows, died)
    swaps = _lines(workspace / "swaps")
    if swaps[-1:] != ["1"] or (not _bad(case) and "2" not in swaps):
        yield f"in service: {swaps}"


def _bad(case: Case) -> bool:
    return case.window in BACKING_OFF


def _died(case: Case, died: Sequence[Death], rows: Sequence[Entry]) -> Iterator[str]:
    """Somebody was killed, or hung, at the window that was named; and things went on after it."""
    action = "cluster" if case.role == "cluster" else case.action
    if (case.window, action) not in {(one.window, one.action) for one in died}:
        yield "nobody was killed there"
    for one in died:
        if one.action != "stop" and standstill(one, rows) is None:
            yield f"nothing went on after the death of {one.who}"


def _decisions(case: Case, rows: Sequence[Entry]) -> Iterator[str]:
    """One for each tick, and for each person who asks."""
    decisions = [row for row in rows if row.kind.startswith("decision.") and row.kind not in _NOT_DECISIONS]
    asked = sum(json.loads(row.body)["policy"].startswith("by ") for row in decisions)
    if asked != (case.passes == "person"):
        yield f"{asked} decisions of people"
    moments = Counter(json.loads(row.body)["situation"]["at"] for row in decisions)
    if not CERTAIN <= len(moments) - asked <= len(TICKS):
        yield f"decisions of {len(moments) - asked} ticks, not {CERTAIN} to {len(TICKS)}"
    if twice := [at for at, count in moments.items() if count > 1]:
        yield f"{len(twice)} ticks were decided twice"


def _rows(case: Case, rows: Sequence[Entry]) -> Iterator[str]:
    """What was to happen did, once."""
    bad, kinds = _bad(case), Counter(row.kind for row in rows)
    expected = {
        "decision.train": 1,
        "retrain.begun": 1,
        "retrain.trained": 1,
        "retrain.ended": 1,
        "model.registered": 3 if case.window in RELEASED else 2,
        "model.promoted": 1 if bad else 3,
        "decision.rollback": 0 if bad else 1,
        "decision.done": 0 if bad else 1,
        "decision.overtaken": 0,
    }
    for kind, count in expected.items():
        if kinds[kind] != count:
            yield f"{kinds[kind]} rows {kind}, not {count}"
    promoted = [json.loads(row.body)["version"] for row in rows if row.kind == "model.promoted"]
    challenger = 3 if case.window in RELEASED else 2
    if promoted != ([1] if bad else [1, challenger, 1]):
        yield f"champions {promoted}"


def _counted(workspace: Path, written: Mapping[int, int]) -> Iterator[str]:
    """Every row that replicas counted is in the watcher's state once."""
    state = msgspec.msgpack.decode((workspace / "watch" / f"{NAME}.state").read_bytes())
    for version, rows in written.items():
        ring = msgspec.msgpack.decode(state["monitors"][version])["ring"]
        # The last column is the score, of which every answer has one.
        found = int(np.frombuffer(ring[-1], np.int64).reshape(-1, CELLS)[-1].sum())
        if found != rows:
            yield f"{found} rows of version {version} were counted, not {rows}"


def _jobs(begun: Mapping[str, int], rows: Sequence[Entry], died: Sequence[Death]) -> Iterator[str]:
    """One job for the decision; another one only after something befell the one before, which then writes no more."""
    leases = [row for row in rows if row.kind == "retrain.leased"]
    leased = [json.loads(row.body)["job"] for row in leases]
    forgot = any(one.who == "cluster" for one in died)
    if len(set(leased)) != len(leased) or not set(begun) <= set(leased):
        yield f"jobs {sorted(begun)} for the leases {leased}"
    for job, count in begun.items():
        # A cluster that has forgotten a job which it was not known to have is given it again.
        if count > 1 and not forgot:
            yield f"{job} was begun {count} times"
    for before, after in pairwise(leases):
        if not any(_explains(one, before, after) for one in died):
            yield f"{json.loads(after.body)['job']} was begun, and nothing had befallen the job before"
    yield from _fenced(leases, rows)


def _fenced(leases: Sequence[Entry], rows: Sequence[Entry]) -> Iterator[str]:
    """Who lost its lease writes nothing any more."""
    for row in rows:
        if row.kind in ("retrain.started", "retrain.trained"):
            by = _attempt(row) if row.kind == "retrain.started" else json.loads(row.body)["attempt"]
            newest = max((_attempt(lease) for lease in leases if lease.seq < row.seq), default=0)
            if by != newest:
                yield f"attempt {by} wrote {row.key} while attempt {newest} had the lease"


def _explains(death: Death, before: Entry, after: Entry) -> bool:
    """Whether a death is why an attempt was followed by the next one, as that one's lease says."""
    said = json.loads(after.body)["why"]
    if not before.at < death.at < after.at:
        return False
    if death.who == "cluster":
        return _FORGOTTEN in said
    return death.who == f"trainer-{_attempt(before)}" and _BEFALLS[death.action] in said


def _attempt(row: Entry) -> int:
    return int(row.key.rpartition("/")[2])


def _alarms(case: Case, heard: Mapping[str, int], rows: Sequence[Entry], died: Sequence[Death]) -> Iterator[str]:
    """Each alarm was told, and again only if who had told it died before it could say so."""
    raised = {row.key for row in rows if row.kind == "watch.alarm"}
    if case.passes != "person" and not any(key.startswith("alarm:") for key in raised):
        yield "nobody was told of the drift"
    if not {f"told:{row.key}" for row in rows if row.kind == "decision.rollback"} <= raised:
        yield "nobody was told of the rollback"
    told = {json.loads(row.body)["alarm"] for row in rows if row.kind == "watch.told"}
    if not raised == told == set(heard):
        yield f"alarms {sorted(raised)}, of which {sorted(told)} were told, and {sorted(heard)} heard"
    allowed = sum(one.window == "watch.alarm_after_sending" and one.action == "kill" for one in died)
    if sum(heard.values()) - len(heard) > allowed:
        yield f"alarms were heard {dict(heard)} times"


def _lines(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []
