"""`make bench-kills`: SIGKILL whoever decides, submits, trains, and the cluster's memory, at every crash window.

Each round is a workspace of its own: a watcher takes in what replicas counted and has a policy decide on each tick; one
asks for a training; the challenger goes through shadow and shares, takes over, fails, and is rolled back. Somebody is
killed on the way. Beside these rounds there are a few in which a trainer hangs, and goes on when it was replaced.
``QUICK=1`` plays each case once.
"""

import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.kills import world
from benchmarks.kills.deaths import deaths, standstill
from benchmarks.kills.round import Round, wait
from benchmarks.kills.traffic import lay_out
from benchmarks.kills.windows import Case, kills, stops
from benchmarks.kills.world import NAME, Home, in_child
from benchmarks.report import QUICK, Aim, Row, versions, write
from raypipe.contracts import bundle, counts
from raypipe.contracts.bins import Reference
from raypipe.contracts.watched import Watched
from raypipe.flows.retrain import LEASE, START
from raypipe.flows.watching.actor import DRIVE_SECONDS, LOOK_SECONDS
from raypipe.spec import to_json

ROUNDS = 500
RUNNING_AGAIN = 10.0


def template(folder: Path) -> None:
    """A workspace with a champion, and challengers that wait to be registered."""
    # Not at the top: it works with Polars, whose threads do not survive the making of children.
    import numpy as np

    from tests.contracts.bundles import SIGNATURE
    from tests.flows.watched import asked, scored
    from tests.registry.making import lineage_of, make_candidate

    home, rng = Home(folder / "home", 0), np.random.default_rng(0)
    reference = Reference.of(rows := asked(rng, 20_000), SIGNATURE, scored(rows).astype(np.float32))
    watched = Watched.of(reference)
    for number in (1, 2, 3):
        made = make_candidate(folder / f"made-{number}", float(number), training_set=f"set-{number}")
        files = Path(made.folder)
        (files / bundle.BINS).write_text(reference.to_json())
        (files / bundle.PIPELINE).write_text(to_json(world.policy(bundle.pipeline(files))))
        bundle.seal(files)
        lineage = lineage_of(made, bundle.pipeline(Path(made.folder)))
        if number == 1:
            home.registry.register(made, lineage)
            home.registry.promote(NAME, 1, expect=None, why="the first", who="a test")
        else:
            (folder / "home" / f"candidate-{number}.json").write_text(made.to_json())
            (folder / "home" / f"lineage-{number}.json").write_text(lineage.to_json())
    ticks = {name: asked(rng, world.ROWS, by) for name, by in (("calm", 0.0), ("moved", 3.0))}
    cells = {name: watched.count(SIGNATURE, rows, scored(rows).astype(np.float32)) for name, rows in ticks.items()}
    lay_out(folder / "home", {name: counts.pack(one) for name, one in cells.items()})


class Played:
    """What came of the rounds so far, by case and by who died."""

    def __init__(self) -> None:
        self.wrong: dict[str, list[str]] = {}
        self.rounds: dict[str, int] = {}
        self.killed: dict[str, int] = {}
        self.waited: dict[str, float] = {}
        self.again: dict[str, float] = {}

    def add(self, case: Case, workspace: Path, wrong: Sequence[str]) -> None:
        """One round."""
        died = [one for one in deaths(workspace) if one.action != "stop"]
        rows = Home(workspace, 0).ledger.entries(subject=NAME)
        self.rounds[case.name] = self.rounds.get(case.name, 0) + 1
        self.wrong.setdefault(case.name, []).extend(wrong)
        self.killed[case.name] = self.killed.get(case.name, 0) + len(died)
        for one in died:
            pause = standstill(one, rows) or 0.0
            self.waited[case.name] = max(pause, self.waited.get(case.name, 0.0))
            self.again[one.role] = max(pause, self.again.get(one.role, 0.0))

    def rows(self) -> list[Row]:
        """One for each case. Where a trainer hangs there is no SIGKILL to count from."""
        return [
            Row(
                "raypipe",
                name,
                {
                    "rounds": rounds,
                    "killed": self.killed[name],
                    "faults": len(self.wrong[name]),
                    "standstill_s": self.waited.get(name),
                },
            )
            for name, rounds in self.rounds.items()
        ]

    def faults(self) -> list[str]:
        """All that went wrong."""
        return [f"{name}: {one}" for name, wrong in self.wrong.items() for one in wrong]


def prepared() -> Path:
    """A folder for rounds, with what each of them begins with."""
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    if wait(in_child(lambda: template(folder), folder, "template")):
        raise RuntimeError("the workspace was not made")
    return folder


def play(cases: Sequence[Case], folder: Path, name: str = "round") -> Played:
    """Play cases, each in a workspace of its own; that of a round that went wrong stays.

    Args:
        cases: in their order.
        folder: as it was prepared.
        name: of the workspaces, where others play in the same folder.
    """
    played = Played()
    for number, case in enumerate(cases):
        workspace = folder / f"{name}-{number}"
        shutil.copytree(folder / "home", workspace)
        wrong = Round(case, workspace).run()
        played.add(case, workspace, wrong)
        for one in wrong:
            print(f"{case.name}: {one} ({workspace})", file=sys.stderr)
        if not wrong:
            shutil.rmtree(workspace)
    return played


def on_ray() -> dict[str, float]:
    """What `benchmarks.kills.real` has measured."""
    command = [sys.executable, "-m", "benchmarks.kills.real"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> int:
    cases = kills() if QUICK else list(itertools.islice(itertools.cycle(kills()), ROUNDS))
    folder = prepared()
    played = play([*cases, *stops()], folder)
    again, wrong = on_ray(), played.faults()
    if not wrong:
        shutil.rmtree(folder)
    killed = len(cases) - sum("nobody was killed" in one for one in wrong)
    aims = [
        Aim("lost or doubled decisions, jobs, promotions, alarms", len(wrong), "0", not wrong),
        *(_goes_on(role, seconds) for role, seconds in sorted(played.again.items())),
        *(_goes_on(f"on Ray, {who}", seconds) for who, seconds in again.items()),
        Aim("rounds with a SIGKILL", killed, f"{ROUNDS}", killed >= ROUNDS),
    ]
    rows = [*played.rows(), *(Row("raypipe on Ray", who, {"standstill_s": time}) for who, time in again.items())]
    write("kills", rows, aims, versions("sqlalchemy", "ray"), NOTES)
    return 0 if all(aim.met for aim in aims) or QUICK else 1


def _goes_on(who: str, seconds: float) -> Aim:
    return Aim(f"seconds until it goes on: {who}", seconds, f"at most {RUNNING_AGAIN:g}", seconds <= RUNNING_AGAIN)


NOTES = f"""
What is real: watcher, ledger, registry, decision, outbox, lease, fence, rollout and the steps of a training, each in
processes of their own that SIGKILL ends. What stands for something: **cluster** is one HTTP server in the place of
Ray's head, with the Jobs API and its memory (GCS): it keeps each job once under its name, and forgets all when it is
killed, while what it had started lives on. **monitor** and **submitter** are two processes that are started anew at
once; in production both are threads of one Ray actor. **trainer** is a forked process whose challenger was made
before; **person** is `raypipe retrain --why`. Traffic, Serve and receivers of alarms are made up.

Where somebody is killed the constants are production's: a lease of {LEASE / 1e6:g} s, a start of {START / 1e6:g} s.
Nobody waits for them: a job that died is known as dead by its state. Only where a trainer hangs ("stopped") they are
{world.LEASE / 1e6:g} s and {world.START / 1e6:g} s. Processes look every 20 ms; production's looks for ticks every
{LOOK_SECONDS:g} s and drives trainings every {DRIVE_SECONDS:g} s, which comes on top.

"raypipe on Ray" is Ray itself with all of production's times, beside the rounds: the watcher's actor killed three
times, until it decides on what is counted after its death, and once when it has decided on a training, until the job
is submitted; the driver of that job twice; and Ray's real GCS once. That one takes Ray's head with it, and nothing on
one machine brings a head back but `raypipe up`, given here at once: the time goes into the libraries of the driver that
asks for it, the start of Ray's head, a chain in which each process waits for the one before, and the libraries of the
actor.

`killed` counts processes that left a note at the window and were seen to end by SIGKILL; a round without one is a
fault. `standstill_s` is the longest time from a SIGKILL to the next row of the ledger by what goes on in its place:
after a monitor's, a decision or an alarm; after any other's, a step of the training.
"""


if __name__ == "__main__":
    sys.exit(main())
