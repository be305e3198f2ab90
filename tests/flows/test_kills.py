"""A few of the 500 rounds of `make bench-kills`: whoever is killed, nothing is lost and nothing is done twice."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.kills.windows import LEFT_OUT, WINDOWS, Case, in_source, kills, stops
from tests.architecture.source import ROOT

#: Each loop in a process of its own, which is forked when all is imported and the workspace is made.
PLAY = """
import json, os, sys
from pathlib import Path
from benchmarks.kills.__main__ import Case, play, prepared
from tests.flows.broken_loops import BREAKS
folder = prepared()
for name, cases in json.loads(sys.argv[1]).items():
    if not (pid := os.fork()):
        BREAKS.get(name, lambda: None)()
        played = play([Case(*one) for one in cases], folder, name)
        told = {"wrong": played.faults(), "killed": list(played.killed.values()), "again": played.again}
        Path(sys.argv[2], name).write_text(json.dumps(told))
        os._exit(0)
    os.waitpid(pid, 0)
"""
CASES = [
    ("monitor", "decide.after_decision"),
    ("monitor", "watch.alarm_after_sending"),
    ("submitter", "retrain.after_submit"),
    ("submitter", "rollout.after_promotion"),
    ("trainer", "challenge.after_fit"),
    ("cluster", "challenge.after_start"),
]
BROKEN = [
    ("two_jobs_for_each_decision", ("monitor", "watch.before_state"), "nothing had befallen the job before"),
    ("one_job_under_two_names", ("monitor", "watch.before_state"), "for the leases"),
    ("no_fence", ("trainer", "challenge.before_start", "stop"), "while attempt 2 had the lease"),
    ("tells_no_alarm", ("submitter", "retrain.after_lease"), "nobody was told of the drift"),
    ("nobody_dies", ("submitter", "retrain.after_lease"), "nobody was killed there"),
]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """What came of a loop, by its name; ``whole``: of the one that is not broken."""
    folder = tmp_path_factory.mktemp("kills")
    loops = {"whole": CASES} | {broken: [case] for broken, case, _ in BROKEN}
    # A process of its own makes the others: threads of this one would not survive that.
    command = [sys.executable, "-c", PLAY, json.dumps(loops), str(folder)]
    there = os.environ | {"TMPDIR": str(folder)}  # the workspace of a round that went wrong is kept
    done = subprocess.run(command, cwd=ROOT, env=there, capture_output=True, text=True, timeout=580, check=False)

    def read(name: str) -> dict[str, Any]:
        assert (folder / name).is_file(), done.stderr
        return json.loads((folder / name).read_text())

    return read


@pytest.mark.slow
@pytest.mark.timeout(600)  # on a busy machine
def test_nothing_is_lost_and_nothing_is_done_twice(told: Callable[[str], dict[str, Any]]) -> None:
    found = told("whole")
    assert found["wrong"] == []
    assert min(found["killed"]) >= 1
    assert set(found["again"]) == {"monitor", "submitter", "trainer", "cluster"}
    # Long before a lease of production's runs out: who died is known as dead.
    assert max(found["again"].values()) < 30


@pytest.mark.slow
@pytest.mark.timeout(600)  # it may be the first
@pytest.mark.parametrize(("broken", "fault"), [(broken, fault) for broken, _, fault in BROKEN])
def test_a_broken_loop_is_found(broken: str, fault: str, told: Callable[[str], dict[str, Any]]) -> None:
    """Without the check that finds it, rounds of a loop that is broken in this way would be taken for good ones."""
    found = told(broken)["wrong"]
    assert any(fault in one for one in found), found


def test_every_crash_window_of_the_loop_is_killed_at_or_says_why_not() -> None:
    named = [name for names in WINDOWS.values() for name in names]
    assert len(named) == len(set(named))
    assert set(named) | set(LEFT_OUT) == in_source()
    assert not set(named) & set(LEFT_OUT)
    assert {case.window for case in kills() if case.role == "cluster"} == set(named)
    assert {case.window for case in kills() if case.role != "cluster"} == set(named)
    assert {case.window for case in stops()} == set(WINDOWS["trainer"])


@pytest.mark.parametrize(
    ("role", "window", "said"),
    [
        ("monitor", "no.such.window", "monitor passes no window 'no.such.window'"),
        ("trainer", "challenge.after_strat", "did you mean challenge.after_start?"),
        ("trainer", "retrain.after_lease", "trainer passes no window"),
        ("clutser", "retrain.after_lease", "clutser passes no window"),
        ("submitter", "", "submitter passes no window ''"),
    ],
)
def test_a_window_that_nobody_passes_is_refused(role: str, window: str, said: str) -> None:
    with pytest.raises(ValueError, match="passes no window") as refused:
        Case(role, window)
    assert said in str(refused.value)
