"""``make chaos``: every scenario on a cluster of three nodes, its verdict, and the table of all of them.

``make chaos ONLY='node lost,disk'`` plays those whose names hold one of the words. Bounded: a scenario that takes
longer than `COMMAND_SECONDS` a command fails. One cluster at a time, on free ports of this machine.
"""

import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from raypipe.services.ray_head import QUIET

os.environ.update(QUIET)  # Ray reads it when it is imported: all of it stays on 127.0.0.1

from benchmarks.report import QUICK, Aim, Row, markdown, versions, write
from raypipe.services.config import ServicesConfig
from tests.chaos import trips
from tests.chaos.nodes import nodes
from tests.chaos.place import Place, verdict
from tests.chaos.scenarios import SCENARIOS, Scenario
from tests.chaos.stores import stores

SHORT = ("nothing", "node lost: ingest")


def main() -> int:
    only = os.environ.get("ONLY", "").split(",")
    chosen = {
        name: play
        for name, play in SCENARIOS.items()
        if any(words in name for words in only) and (not QUICK or name in SHORT)
    }
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
    data = folder / "data"
    trips.ship(data)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    serve, dashboard, mlflow, redis = _free(4)
    config = ServicesConfig(folder / "w", serve_port=serve, dashboard_port=dashboard, mlflow_port=mlflow, cpus=3)
    try:
        with stores(folder / "stores", redis) as kept, nodes(config, **kept.environment) as cluster:
            rows = [
                _played(name, play, Place(cluster, kept, folder / f"s{number}", data, f"trips{number}"))
                for number, (name, play) in enumerate(chosen.items())
            ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    lost, doubled, other = (sum(int(row.figures[what] or 0) for row in rows) for what in ("lost", "doubled", "other"))
    aims = [
        Aim("lost", lost, "0", lost == 0),
        Aim("doubled", doubled, "0", doubled == 0),
        Aim("wrong, invented or broken", other, "0", other == 0),
    ]
    notes = """`other`: wrong, invented, or broken in itself. That the checker notices, builds that are broken on
purpose show: tests/chaos/test_chaos.py."""
    if len(chosen) < len(SCENARIOS) and not QUICK:  # some of them are no result to keep
        print(markdown("chaos", rows, aims, versions("ray"), notes))
    else:
        write("chaos", rows, aims, versions("ray"), notes)
    return 0 if all(aim.met for aim in aims) else 1


def _played(name: str, play: Scenario, place: Place) -> Row:
    place.workspace.mkdir()
    failed, began = "", time.monotonic()
    with place.closing:
        try:
            play(place)
        except Exception as error:  # noqa: BLE001  # one scenario must not hide the others
            failed = f"{type(error).__name__}: {error}"[:200]
        took = time.monotonic() - began
        found = verdict(place)
    place.nodes.clear()
    other = len(found.wrong) + len(found.invented) + len(found.broken) + bool(failed)
    print(f"{name}: {found} {failed} {place.notes} {took:.0f} s", file=sys.stderr, flush=True)
    return Row(
        "raypipe",
        name,
        {
            "told": found.told,
            "kept": found.kept,
            "lost": len(found.lost),
            "doubled": len(found.doubled),
            "other": other,
            "refused": sum(place.history.errors.values()),
            "commands": place.tries,
            "seconds": round(took, 1),
            "notes": "; ".join(filter(None, [failed or str(found), *place.notes])).replace("|", "/"),
        },
    )


def _free(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


if __name__ == "__main__":
    sys.exit(main())
