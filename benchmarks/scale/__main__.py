"""`make bench-scale`: how time, memory and what is kept grow with rows, versions, pipelines and nodes.

Each part first makes sure that what is told is right, then asks how long it takes. Growth is an exponent: ten times as
much of one thing takes ten to that power of another, so 1 is linear and 0 does not grow. `RAYPIPE_BENCH_PARTS=rows`
runs some parts alone.
"""

import os
import sys
from collections.abc import Callable, Iterable
from math import log

from benchmarks.report import QUICK, Aim, Row, versions, write
from benchmarks.scale import commands, nodes, rows, served

#: Of times and sizes; what is written in decimal digits grows a little faster than linearly.
LINEAR = 1.05
LOOKING = 1.0
PARTS: dict[str, Callable[[], Iterable[Row]]] = {
    "rows": rows.measure,
    "versions": commands.of_versions,
    "pipelines": commands.of_pipelines,
    "served": served.measure,
    "nodes": nodes.measure,
}
LOOKS = ("status_s", "models_s", "models_json_s", "lineage_s", "history_s")
GROWING = {
    "rows": ("ingest_s", "gate_s", "features_s", "peak_mb", "metadata_kb"),
    "versions": ("register_s", *LOOKS, "ledger_kb"),
    "pipelines": (*LOOKS, "ledger_kb"),
}
NOTES = """
Rows: three months of a stream, five checks, three windows; each size in a process of its own, without a cluster.
Versions and pipelines: each was champion and answered, after a search of twelve trials on thirty files; times are those
of the program on the command line, the middle one of several. Served: `raypipe deploy` one after the other; memory is
that of Ray, MLflow and all replicas, shared pages counted once. Nodes: those of Ray's `cluster_utils`, one CPU each, on
one machine: more of them than it has cores gain nothing.
"""


def main() -> int:
    # A short run starts no clusters of several nodes.
    usual = [part for part in PARTS if not (QUICK and part == "nodes")]
    wanted = os.environ.get("RAYPIPE_BENCH_PARTS", ",".join(usual)).split(",")
    found: dict[str, list[Row]] = {}
    for part in wanted:
        found[part] = []
        for row in PARTS[part]():
            print(row.case, dict(row.figures), file=sys.stderr, flush=True)
            found[part].append(row)
    aims = [*growth(found), *looking(found), *sharing(found.get("nodes", []))]
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    used = versions("polars", "pyiceberg", "sqlalchemy", "ray")
    write("scale", [row for part in found.values() for row in part], aims, used, f"{NOTES}Load average: {load}.")
    return 0 if all(aim.met for aim in aims) else 1


def exponent(small: float, large: float, times: float) -> float:
    """By which power a figure grows.

    >>> round(exponent(2.0, 20.0, 10), 3), round(exponent(3.0, 3.0, 10), 3)
    (1.0, 0.0)
    """
    return log(large / small) / log(times)


def growth(found: dict[str, list[Row]]) -> Iterable[Aim]:
    """From the middle to the largest, ten times as many."""
    for part, figures in GROWING.items():
        measured = found.get(part, [])
        if len(measured) < 2:
            continue
        for name in figures:
            value = exponent(_number(measured[-2], name), _number(measured[-1], name), 10)
            yield Aim(f"growth of {name} with {part}", value, "at most linear (1)", value <= LINEAR)


def looking(found: dict[str, list[Row]]) -> Iterable[Aim]:
    """What only looks answers within a second at the largest."""
    for part in ("versions", "pipelines", "served"):
        for row in found.get(part, [])[-1:]:
            for name in LOOKS:
                if name in row.figures:
                    value = _number(row, name)
                    yield Aim(f"{name[:-2].replace('_', ' --')}, {row.case}", value, "under 1 s", value < LOOKING)


def sharing(measured: list[Row]) -> Iterable[Aim]:
    """Two nodes on two cores are to gain; four on two cores must not lose."""
    if len(measured) > 1 and nodes.cores() > 1:
        gain = _number(measured[0], "batch_s") / _number(measured[1], "batch_s")
        yield Aim("a batch on 2 nodes against 1, times as fast", gain, "over 1", gain > 1)


def _number(row: Row, name: str) -> float:
    value = row.figures[name]
    assert isinstance(value, float | int), f"{row.case}: {name} is {value}"
    return float(value)


if __name__ == "__main__":
    sys.exit(main())
