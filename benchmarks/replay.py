"""`make replay`: half a year of flights, and the car loan whose rule breaks, under several retraining policies.

It starts what `raypipe replay` starts; in each case all policies begin with the same model. ``QUICK=1`` lives through
two weeks, which shows that it works and nothing else.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from benchmarks import car_loan
from benchmarks.report import QUICK, Aim, Row, versions, write
from benchmarks.scale.command import PORTS, free_ports

WEEKLY = 'name = "weekly"\nany = [{schedule = "0 0 * * MON"}]\ncooldown_days = 0\nnew_rows = 0\n'
#: The preset with other triggers, to show how much depends on its own.
HYBRID = 'name = "{0}"\nany = [{1}, {{age_days = 90}}]\ncooldown_days = 3\ndaily_cap = 1\n'
#: How long one schedule over half a year may take.
MINUTES = 10
SHOWN = ("rows", "loss", "trainings", "won", "seconds", "alarms", "recovery_days")

Results: TypeAlias = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Case:
    """A history that policies live through.

    Attributes:
        name: what it is called in the table.
        pipeline: the file.
        days: the first, the last, and the last when it is to be quick.
        others: names and triggers of policies beside the preset.
        least: of weekly retraining's gain, the share that a policy is to keep.
        judged: which policy that is.
        settings: of the workspace.
    """

    name: str
    pipeline: str
    days: tuple[str, str, str]
    others: dict[str, str]
    least: float
    settings: dict[str, str] = field(default_factory=dict)
    judged: str = "hybrid"

    def replayed(self, *policies: str) -> Results:
        """What each policy came to, and none at all, by name."""
        first, last, soon = self.days
        dates = ["--from", first, "--to", soon if QUICK else last]
        given = [word for policy in policies for word in ("--policy", policy)]
        done = raypipe("replay", self.pipeline, *dates, *given, "--no-daily", "--json", settings=self.settings)
        if done.returncode:
            sys.exit(done.stdout or done.returncode)
        return {str(result["policy"]): result for result in json.loads(done.stdout)["policies"]}

    def hybrids(self, folder: Path) -> list[str]:
        """The preset, and files of the policies beside it."""
        others = self.others.items()
        return ["hybrid", *(written(folder / f"{name}.toml", HYBRID.format(name, any_of)) for name, any_of in others)]

    def told(self, results: Results) -> tuple[list[Row], list[Aim]]:
        """The table's rows, and how much of weekly retraining the judged policy keeps."""
        rows = [Row(name, self.name, {key: result[key] for key in SHOWN}) for name, result in results.items()]
        frozen, weeks, mixed = (results[name] for name in ("never", "weekly", self.judged))
        gain = frozen["loss"] - weeks["loss"]
        kept = (frozen["loss"] - mixed["loss"]) / gain if gain > 0 else float("nan")
        share = mixed["trainings"] / max(weeks["trainings"], 1)
        return rows, [
            Aim(
                f"{self.name}: weekly retraining's gain that {self.judged} keeps, share",
                kept,
                f"at least {self.least}",
                kept >= self.least,
            ),
            Aim(f"{self.name}: of its trainings, share", share, "at most 0.25", share <= 0.25),
        ]


FLIGHTS = Case(
    "flights from July",
    "examples/flights/pipeline.py",
    ("2013-07-01", "2013-12-31", "2013-07-14"),
    others={"regret or age": "{regret = 90}"},
    least=0.8,
)
#: What `retrain.hybrid(rise=0.25)` is: the loans' world stands still between its changes.
BREAKS = "hybrid, breaks"
BESIDE = {
    BREAKS: "{regret = 90}, {errors = 0.25}, {relearn = 1.25}",
    "regret or age": "{regret = 90}",
    "monthly": '{schedule = "0 0 1 * *"}',
}
#: Its second half begins on the first of these days, and what it follows changes on 2019-03-31.
LOANS = ("2018-10-31", "2019-08-28", "2018-11-13")


def main() -> int:
    with tempfile.TemporaryDirectory() as temp, loans() as settings:
        folder = Path(temp)
        weekly = written(folder / "weekly.toml", WEEKLY)
        began = time.perf_counter()
        results = FLIGHTS.replayed(weekly)
        minutes = (time.perf_counter() - began) / 60
        rows, aims = FLIGHTS.told(FLIGHTS.replayed(*FLIGHTS.hybrids(folder)) | results)
        took = "minutes for one schedule, and no retraining beside it"
        aims.append(Aim(took, minutes, f"at most {MINUTES}", minutes <= MINUTES))
        loan = Case("car loan", car_loan.__file__, LOANS, BESIDE, least=0.95, settings=settings, judged=BREAKS)
        more = loan.told(loan.replayed(weekly, *loan.hybrids(folder)))
    aims += more[1]
    write("replay", [*rows, *more[0]], aims, versions("lightgbm", "polars"))
    return 0 if QUICK or all(aim.met for aim in aims) else 1


@contextmanager
def loans() -> Iterator[dict[str, str]]:
    """The settings of an empty workspace for the car loans, of which nothing stays."""
    car_loan.write()
    with tempfile.TemporaryDirectory(prefix="raypipe-loans-") as folder:
        ports = {name: str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}
        settings = {"RAYPIPE_WORKSPACE": folder, **ports}
        try:
            yield settings
        finally:
            raypipe("down", settings=settings)


def raypipe(*words: str, settings: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "raypipe.cli", *words]
    return subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, env={**os.environ, **settings})


def written(file: Path, text: str) -> str:
    file.write_text(text)
    return str(file)


if __name__ == "__main__":
    sys.exit(main())
