"""A few of the 500 rounds of `make bench-kills`: whoever is killed, nothing is lost and nothing is done twice."""

import json
import subprocess
import sys

import pytest

from tests.architecture.source import ROOT

PLAY = """
import json, sys
from benchmarks.kills.__main__ import Case, play
rows, wrong, waited = play([Case(*one) for one in json.loads(sys.argv[1])])
print(json.dumps({"wrong": wrong, "restarts": sum(row.figures["restarts"] for row in rows), "waited": waited}))
"""
CASES = [
    ("monitor", "decide.after_decision"),
    ("monitor", "watch.before_state"),
    ("submitter", "retrain.after_submit"),
    ("submitter", "rollout.after_promotion"),
    ("trainer", "challenge.after_start", "stop"),
    ("cluster", "", "kill", 0.2),
]


@pytest.mark.slow
@pytest.mark.timeout(400)  # on a busy machine
def test_nothing_is_lost_and_nothing_is_done_twice() -> None:
    # A process of its own makes the others: threads of this one would not survive that.
    command = [sys.executable, "-c", PLAY, json.dumps(CASES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=380, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["wrong"] == []
    assert told["restarts"] >= len(CASES)
    assert told["waited"] < 60
