"""Who can be killed where: the crash windows of the loop, and the cases that are made of them.

The cluster's memory is killed by whoever passes a window, so that it dies at each of them, too.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import raypipe

#: What decides, trains, and lets answer, and the registry that all of it writes to; in the package.
PLACES = (
    "flows/decide.py",
    "flows/retrain.py",
    "flows/rollout.py",
    "flows/released.py",
    "flows/challenge.py",
    "flows/stage.py",
    "flows/watching",
    "registry",
)
WINDOWS = {
    "monitor": (
        "decide.after_decision",
        "decide.after_begun",
        "watch.before_state",
        "watch.after_state",
        "watch.after_removal",
        "watch.alarm_before_sending",
        "watch.alarm_after_sending",
    ),
    "person": ("decide.after_asked",),
    # Trainers drive as well when they are done: whoever comes there first is killed.
    "submitter": (
        "retrain.after_lease",
        "retrain.after_submit",
        "retrain.after_submitted",
        "retrain.after_next_lease",
        "rollout.after_release",
        "rollout.after_served",
        "rollout.after_given_up",
        "rollout.after_back_off",
        "rollout.after_promotion",
        "rollout.after_swap",
        "released.after_served",
        "released.after_back_off",
        "registry.after_promotion",
        "retrain.before_end",
        "retrain.after_end",
        "retrain.after_rollback",
    ),
    "trainer": (
        "challenge.before_start",
        "challenge.after_start",
        "challenge.after_gate",
        "stage.before_ledger",
        "challenge.after_fit",
        "registry.before_rename",
        "registry.after_copy",
        "registry.after_ledger",
        "registry.after_mlflow",
        "challenge.before_trained",
        "challenge.after_trained",
    ),
}
#: Failpoints of these places that nobody is killed at here, and why not.
LEFT_OUT = {
    "registry.after_mlflow_files": "no MLflow runs beside a round: tests/registry/test_kill.py kills there",
}
#: Passed only when a challenger backs off, and when one does that a person has released.
BACKING_OFF = ("rollout.after_given_up", "rollout.after_back_off", "released.after_back_off")
RELEASED = ("released.after_back_off",)


@dataclass(frozen=True)
class Case:
    """Who is killed where.

    Attributes:
        role: ``monitor``, ``person``, ``submitter``, ``trainer``; or ``cluster``, when another one passes the window.
        window: a failpoint's name.
        action: ``kill``, or ``stop``: it is let go on when it was replaced.

    Raises:
        ValueError: the role passes no such window.
    """

    role: str
    window: str
    action: str = "kill"

    def __post_init__(self) -> None:
        known = [name for names in WINDOWS.values() for name in names] if self.role == "cluster" else []
        known += WINDOWS.get(self.role, ())
        if self.window not in known:
            near = "".join(f"; did you mean {name}?" for name in get_close_matches(self.window, known, 1))
            raise ValueError(f"{self.role} passes no window {self.window!r}{near}")

    @property
    def name(self) -> str:
        """As the table says."""
        return f"{self.role}: {self.window}{' (stopped)' if self.action == 'stop' else ''}"

    @property
    def passes(self) -> str:
        """The role that passes the window."""
        return next(role for role, names in WINDOWS.items() if self.window in names)

    @property
    def failpoint(self) -> str:
        """What that role does there."""
        return f"{self.window}={'cluster' if self.role == 'cluster' else self.action}"


def kills() -> list[Case]:
    """Every crash window of every role, and the cluster at each of them."""
    own = [Case(role, window) for role, windows in WINDOWS.items() for window in windows]
    return [*own, *(Case("cluster", case.window) for case in own)]


def stops() -> list[Case]:
    """A trainer that hangs, at each of its windows."""
    return [Case("trainer", window, "stop") for window in WINDOWS["trainer"]]


def in_source() -> set[str]:
    """Every failpoint that stands in the source of these places."""
    return set(_in_source())


def _in_source() -> Iterator[str]:
    root = Path(raypipe.__file__).parent
    for place in PLACES:
        files = [root / place] if place.endswith(".py") else sorted((root / place).rglob("*.py"))
        for file in files:
            yield from re.findall(r'failpoint\("([^"]+)"\)', file.read_text())
