"""Runs every system on every case, each in a process of its own with a cap on time and memory, and reports.

The answers to a sample of questions are compared with an oracle; a system that is too slow or too large for a case is
not run on a larger one.
"""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic, sleep

import msgspec
import psutil
import pyarrow.parquet as pq

from benchmarks.features import data, oracle
from benchmarks.memory import take_memory
from benchmarks.report import QUICK, RESULTS, Aim, Figure, Row, versions, write

HOME = Path(__file__).parents[2]
WORK = HOME / ".raypipe-bench"
PEERS = ("polars", "duckdb", "pandas")
SPREAD = "raypipe, Ray Data"
#: Our ways, and what they are called in `ours.py`.
OURS = {"raypipe": "raypipe", SPREAD: "ray-data"}
ENVIRONMENTS = {"peers": ("duckdb", "pandas>=3", "polars", "pyarrow"), "feast": ("feast==0.67.0",)}
SECONDS, MEGABYTES = 60.0, 12_000.0
#: Feast is given longer, so that it can be told how much faster others are; and the way of many machines on one.
LONGER = {"feast": 300.0, SPREAD: 120.0}
#: What takes less than so many seconds is run so often, and the run in the middle counts.
AGAIN, RUNS = (0.0, 1) if QUICK else (10.0, 3)
#: In the place of a spread, where there is one run.
ONCE = "once"
#: A cluster of this machine alone, whose workers are served like everybody, with one reader of footers.
RAY = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DATA_PARQUET_FOOTER_NUM_ACTORS": "1",
    "RAY_worker_niceness": "0",
}
#: Only the cases with this in their name are run; the others keep what an earlier run saw.
ONLY = os.environ.get("ONLY", "")
#: What reading and updating must reach: store, what is done, figure, target, and whether less is better.
ONLINE = (
    ("LMDB", "read 1, after an update", "p99_ms", 0.5, True),
    ("LMDB", "read 100, after an update", "p99_ms", 10.0, True),
    ("Redis", "read 1, after an update", "p99_ms", 2.0, True),
    ("Redis", "read 100, after an update", "p99_ms", 15.0, True),
    ("LMDB", "read 1, cold", "p99_ms", 0.5, True),
    ("LMDB", "read 100, cold", "p99_ms", 10.0, True),
    ("Redis", "read 1, cold", "p99_ms", 2.0, True),
    ("Redis", "read 100, cold", "p99_ms", 15.0, True),
    ("LMDB", "update", "events_per_s", 200_000.0, False),
)
#: So many answers are compared with the oracle, at most.
ASKED = 3_000
#: Late data: a share of the events, and by how many microseconds.
LATE = {"2 % late by 6 h": (0.02, 6 * 3_600_000_000), "all published 5 minutes later": (1.0, 300_000_000)}


@dataclass(frozen=True)
class Case:
    """One table of events and its questions; ``work`` is what is done with it."""

    name: str
    work: str
    make: Callable[[Path], None]
    systems: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where its files are; those of QUICK are smaller, under the same names."""
        kept = "features-quick" if QUICK else "features"
        return WORK / kept / self.name.replace(" ", "-").replace("#", "-").replace(",", "").replace("%", "percent")


def cases() -> list[Case]:
    """What is run, the small before the large."""
    sizes = ((50_000, 50_000),) if QUICK else ((1_000_000, 1_000_000), (10_000_000, 1_000_000), (50_000_000, 1_000_000))
    found = []
    for events, asked in sizes:
        make = partial(data.windows, events=events, questions=asked)
        found.append(Case(f"windows, {events // 1000:,}k events", "windows", make, (SPREAD, *PEERS)))
    events, asked = sizes[0]
    for name, late in LATE.items():
        make = partial(data.windows, events=events, questions=asked, late=late)
        found.append(Case(f"windows, {events // 1000:,}k events, {name}", "windows", make, ()))
    rows = 50_000 if QUICK else 2_000_000
    found.append(Case("feast#2331", "as-of", partial(data.itself, rows=rows), (*PEERS, "feast")))
    wide = partial(data.wide, views=2, questions=2_000) if QUICK else data.wide
    return [*found, Case("feast#3003", "as-of", wide, (*PEERS, "feast"))]


def main() -> None:
    """Every case in turn."""
    pythons = {name: _environment(name, packages) for name, packages in ENVIRONMENTS.items()}
    rows: list[Row] = []
    known = _rows_before()
    given_up: set[tuple[str, str]] = set()
    for case in cases():
        if ONLY not in case.name:
            rows += known.get(case.name, [])
            given_up |= {(row.system, case.work) for row in known.get(case.name, []) if "seconds" not in row.figures}
            continue
        if not case.folder.exists():
            draft = case.folder.with_suffix(".draft")
            case.make(draft)
            draft.rename(case.folder)
        truth = (oracle.windows if case.work == "windows" else oracle.as_of)(case.folder, ASKED)
        for system in ("raypipe", *case.systems):
            if (system, case.work) in given_up:
                rows.append(Row(system, case.name, {"result": "not run: the smaller case was too much"}))
                continue
            figures = _runs(system, case, pythons, truth)
            if "seconds" not in figures:
                given_up.add((system, case.work))
            rows.append(Row(system, case.name, figures))
            print(system, case.name, dict(figures), file=sys.stderr)
    mine = {case.name for case in cases()}
    if ONLY and ONLY != "online":
        rows += [row for name, many in known.items() if name not in mine for row in many]
    else:
        rows += _online()
    used = versions("polars", "numpy", "pyarrow", "lmdb", "redis") | _peers(pythons)
    write("features", rows, [*_aims(rows), *_online_aims(rows)], used, NOTES)


def _online() -> list[Row]:
    """Reading and updating what is stored, in a process of their own."""
    command = [sys.executable, "-m", "benchmarks.features.online"]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=HOME)
    found = json.loads(child.stdout.strip().splitlines()[-1])
    return [
        Row(f"raypipe, {store}", f"online: {done}", figures)
        for store, all_ in found.items()
        for done, figures in all_.items()
    ]


def _online_aims(rows: list[Row]) -> Iterator[Aim]:
    took = {(row.system, row.case): row.figures for row in rows}
    for store, done, figure, target, less in ONLINE:
        value = took.get((f"raypipe, {store}", f"online: {done}"), {}).get(figure)
        if isinstance(value, float):
            met = value < target if less else value >= target
            name, unit = f"{store}: {done}, 50 features", figure.replace("_", " ")
            yield Aim(name, value, f"{'under' if less else 'at least'} {target:,g} {unit}", met)


def _rows_before() -> dict[str, list[Row]]:
    """By case, what an earlier run saw, for a run of some cases."""
    path = RESULTS / "features.json"
    if not ONLY or not path.exists():
        return {}
    found: dict[str, list[Row]] = {}
    for row in msgspec.convert(json.loads(path.read_text())["rows"], list[Row]):
        found.setdefault(row.case, []).append(row)
    return found


NOTES = """
Each system runs alone in its process, from the Parquet files to all features in the order of the questions; what it
needs to be told of the features (definitions, `feast apply`) is not timed. Windows are exact, `[q - W, q)`: count,
sum, mean, min and max over 1 h, 1 d and 30 d, of 100,000 keys with Zipf's law (1.1). `wrong` is how many of the
answers that were `compared` differ from an oracle in plain Python by more than 1e-9: 3,000 of 1 M events, fewer where
the oracle takes longer. raypipe's are compared in a run of their own before anything is timed; a peer that is wrong
is not the one to beat.
Late: every row says when it was published, and each question is answered by what was known; no peer is run, for none
of these ways can tell what was not known yet. The way of Ray Data is behind one process, and behind Polars, at every
size that one machine holds: it is there for what one machine does not hold, and has no aim. What takes less than 10 s
is run three times: `seconds`, CPU and memory are those of the run in the middle; what takes longer is run once.
`raypipe, Ray Data` is the way for histories beyond one machine, here on a Ray cluster of two cores that is up before,
with its workers: its memory is what all its processes together have for themselves, outside Ray's store. feast#2331:
a table asked for at each of its own rows. feast#3003: ten views of a hundred columns, 17,000 questions. Both ask for
rows that are there: Polars', DuckDB's and pandas' own joins are faster at the first, and Polars' as fast at the
second. Caps: 60 s (Feast: 300 s, Ray Data: 120 s) and 12 GB.
Online: fifty features (30 of a user, 10 of a shop, 10 of row logic) of 1 M events, users by Zipf's law, so that every
ninth question is about one user with 110,000 events. After an update: users as they come, the first question about
each reads its state from the store and decodes it; warm: the same questions again; cold: all states are read and
decoded anew for each call, as the first calls after each update of the store are. Answers are first compared with
those of the way that training takes, one by one and together. An update merges 400,000 new events into both groups
and commits, crash-safe; events count once. Loads, updates and each kind of read are timed three times: figures are
those of the one in the middle, by events a second or by the 99th percentile, beside the least and the greatest of the
three.
"""


def _runs(system: str, case: Case, pythons: dict[str, str], truth: list[oracle.Answer]) -> dict[str, Figure]:
    """One run after another; the one in the middle counts, the spread is told."""
    if system in OURS:
        _require_right(system, case, pythons, truth)
    take_memory(int(MEGABYTES))
    found = [_run(system, case, pythons, truth)]
    while len(found) < RUNS and isinstance(took := found[-1].get("seconds"), float) and took < AGAIN:
        found.append(_run(system, case, pythons, truth))
    if bad := [figures for figures in found if "seconds" not in figures]:
        return bad[0]
    found.sort(key=lambda figures: float(figures["seconds"] or 0))
    spread: dict[str, Figure] = {"fastest_s": ONCE, "slowest_s": ONCE}
    if len(found) > 1:
        spread = {"fastest_s": found[0]["seconds"], "slowest_s": found[-1]["seconds"]}
    worst = {name: max(int(figures[name] or 0) for figures in found) for name in ("wrong", "missing_rows")}
    return found[len(found) // 2] | spread | worst


def _require_right(system: str, case: Case, pythons: dict[str, str], truth: list[oracle.Answer]) -> None:
    """Raises AssertionError when our answers to the oracle's questions are not its own; before anything is timed."""
    sample = replace(case, name=f"{case.name}, sample")
    sample.folder.mkdir(exist_ok=True)
    for path in case.folder.glob("*.parquet"):
        (sample.folder / path.name).unlink(missing_ok=True)
        (sample.folder / path.name).symlink_to(path)
    (sample.folder / "questions.parquet").unlink()
    asked = pq.read_table(case.folder / "questions.parquet").slice(0, len(truth))
    pq.write_table(asked, sample.folder / "questions.parquet")
    figures = _run(system, sample, pythons, truth)
    if "seconds" in figures and not _right(figures):
        raise AssertionError(f"{system}: {case.name}: {figures['wrong']} of {len(truth)} answers are not the oracle's")


def _run(system: str, case: Case, pythons: dict[str, str], truth: list[oracle.Answer]) -> dict[str, Figure]:
    out = case.folder / f"{system}.answers"
    out.unlink(missing_ok=True)
    if system in OURS:
        command = [sys.executable, "-m", "benchmarks.features.ours", OURS[system]]
    else:
        python = pythons["feast" if system == "feast" else "peers"]
        command = [python, str(Path(__file__).with_name("peers.py")), system]
    command += [case.work, str(case.folder), str(out)]
    # Feast leaves a data base where it runs.
    where = os.environ | RAY | {"PYTHONPATH": str(HOME)}
    with (case.folder / "log.txt").open("w+") as log:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=case.folder, env=where)
        why = _watched(child, LONGER.get(system, SECONDS))
        said = child.stdout.read() if child.stdout else ""
        if why:
            return {"result": why}
        if child.returncode:
            log.seek(0)
            return {
                "result": f"failed: {next((x for x in reversed(log.read().splitlines()) if 'Error' in x), '')[:120]}"
            }
    took = json.loads(said.strip().splitlines()[-1])
    found = pq.read_table(out).to_pylist()
    by_row = {row["row"]: row for row in found}
    answered = [by_row.get(i, {}) for i in range(len(truth))]
    missing = pq.read_metadata(case.folder / "questions.parquet").num_rows - took["rows"]
    wrong = oracle.wrong(answered, truth)
    figures = {"seconds": took["seconds"], "cpu_s": took["cpu_s"], "peak_rss_mb": took["rss_mb"]}
    return figures | {"wrong": wrong, "compared": len(truth), "missing_rows": missing}


def _watched(child: "subprocess.Popen[str]", seconds: float) -> str:
    """Wait for a process; why it was ended, if it was."""
    began, process = monotonic(), psutil.Process(child.pid)
    while child.poll() is None:
        sleep(0.1)
        try:
            size = process.memory_info().rss / 2**20
        except psutil.NoSuchProcess:
            break
        why = "over 12 GB" if size > MEGABYTES else f"over {seconds:.0f} s" if monotonic() - began > seconds else ""
        if why:
            child.kill()
            child.wait()
            return why
    child.wait()
    return ""


def _environment(name: str, packages: tuple[str, ...]) -> str:
    """A Python with these packages, made once; none of them comes into the project's."""
    folder = WORK / f"venv-{name}"
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        (folder / "made").touch()
    return str(python)


def _peers(pythons: dict[str, str]) -> dict[str, str]:
    script = "import sys; from importlib.metadata import version; print(*(version(n) for n in sys.argv[1:]))"
    found: dict[str, str] = {}
    for environment, names in (("peers", ("duckdb", "pandas")), ("feast", ("feast",))):
        said = subprocess.run([pythons[environment], "-c", script, *names], capture_output=True, text=True, check=True)
        found |= dict(zip(names, said.stdout.split(), strict=True))
    return found


def _aims(rows: list[Row]) -> list[Aim]:
    took = {(row.case, row.system): row.figures for row in rows}
    aims = []
    for case in cases():
        if (case.name, "raypipe") not in took:
            continue
        mine = took[case.name, "raypipe"].get("seconds")
        peers = {name: took.get((case.name, name), {}) for name in PEERS}
        others = {s: v for s, f in peers.items() if not f.get("wrong") and isinstance(v := f.get("seconds"), float)}
        if not isinstance(mine, float):
            aims.append(Aim(case.name, str(took[case.name, "raypipe"].get("result")), "done", met=False))
        elif not case.systems:
            pass  # late data: nobody to compare with
        elif case.work == "windows":
            best = min(others.values(), default=None)
            value = f"{best / mine:.1f} times as fast" if best else "no peer got through"
            aims.append(Aim(f"{case.name}: against the fastest peer", value, "no slower", best is None or best >= mine))
        else:
            done = isinstance(feast := took[case.name, "feast"].get("seconds"), float)
            feast = feast if isinstance(feast, float) else LONGER["feast"]
            value = f"{'' if done else 'over '}{feast / mine:.1f} times as fast"
            aims.append(Aim(f"{case.name}: against Feast", value, "at least 20 times as fast", feast >= 20 * mine))
        aims.append(
            Aim(
                f"{case.name}: answers",
                took[case.name, "raypipe"].get("wrong"),
                "none wrong",
                _right(took[case.name, "raypipe"]),
            )
        )
    sizes = [
        took.get((case.name, "raypipe"), {}).get("peak_rss_mb")
        for case in cases()
        if case.work == "windows" and case.systems
    ]
    if len(sizes) > 1 and isinstance(large := sizes[-1], float) and isinstance(small := sizes[-2], float):
        aims.append(Aim("memory, 10M to 50M events", large / small, "less than 1.5 times", large < 1.5 * small))
    return aims


def _right(figures: object) -> bool:
    return isinstance(figures, dict) and figures.get("wrong") == 0 and figures.get("missing_rows") == 0


if __name__ == "__main__":
    main()
