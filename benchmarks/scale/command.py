"""raypipe as a user has it: the program on the command line, in a workspace of its own."""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.report import QUICK

PROGRAM = Path(sys.executable).with_name("raypipe")
PORTS = ("RAYPIPE_SERVE_PORT", "RAYPIPE_DASHBOARD_PORT", "RAYPIPE_MLFLOW_PORT")
#: The middle one of so many calls counts.
CALLS = 1 if QUICK else 5
#: No command of ours takes as long; a service that hangs must not hold up the others.
SECONDS = 300.0
T = TypeVar("T")


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@dataclass(frozen=True)
class Home:
    """A workspace, and the settings by which the program finds it."""

    workspace: Path
    settings: dict[str, str] = field(
        default_factory=lambda: {name: str(port) for name, port in zip(PORTS, free_ports(3), strict=True)}
    )

    def call(self, *words: str) -> str:
        """What the program prints; raises RuntimeError with its complaint when it fails."""
        # Settings of whoever runs this are not those of the workspace.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAYPIPE_")}
        environment |= {"RAYPIPE_WORKSPACE": str(self.workspace), **self.settings}
        done = subprocess.run(
            [PROGRAM, *words],
            env=environment,
            cwd=self.workspace,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"raypipe {' '.join(words)}: {done.stderr[-2000:]}{done.stdout[-2000:]}")
        return done.stdout

    def json(self, *words: str) -> Any:
        """The document that the program prints."""
        return json.loads(self.call(*words, "--json"))

    def seconds(self, *words: str) -> float:
        """How long a user waits for the program, from its start to its end."""
        return statistics.median(timed(lambda: self.call(*words))[1] for _ in range(CALLS))


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What something comes to, and the seconds it takes."""
    began = time.perf_counter()
    found = work()
    return found, time.perf_counter() - began
